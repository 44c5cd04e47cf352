//! Invitations: a code that works once, for a week, and is locked after five wrong tries.

use crate::domain::error::{Refusal, RuleCode};
use doorward_protocol::wire::{Bytes, Hash, Id, Timestamp, UNAMBIGUOUS_ALPHABET, hash};

/// How long an invitation waits to be accepted, in seconds.
pub const LAPSES_AFTER: u64 = 7 * 86400;
/// Wrong codes until it is locked.
pub const TRIES: u32 = 5;

/// Characters of a code: 50 bits.
const LENGTH: usize = 10;

/// A code as its recipient gets it; the ledger keeps its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InviteCode(String);

impl InviteCode {
    /// A code from random bytes.
    #[must_use]
    pub fn new(random: &[u8; LENGTH]) -> Self {
        let letter = |byte: &u8| char::from(UNAMBIGUOUS_ALPHABET[usize::from(byte % 32)]);
        Self(random.iter().map(letter).collect())
    }

    /// What somebody typed: case and separators do not matter.
    #[must_use]
    pub fn typed(text: &str) -> Self {
        let letters = text.chars().filter(char::is_ascii_alphanumeric);
        Self(letters.take(64).map(|c| c.to_ascii_uppercase()).collect())
    }

    /// The code as it is shown: two groups of five.
    #[must_use]
    pub fn shown(&self) -> String {
        let (first, second) = self.0.split_at(self.0.len() / 2);
        format!("{first}-{second}")
    }

    /// What the ledger keeps.
    #[must_use]
    pub fn hash(&self, invitation: &Bytes<16>) -> Hash {
        hash(format!("doorward invitation v1\n{invitation}\n{}", self.0).as_bytes())
    }
}

/// Where an invitation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvitationState {
    /// Nobody has accepted yet.
    Open,
    /// Accepted.
    Accepted,
    /// The recipient said no.
    Denied,
    /// The sharer took it back.
    Withdrawn,
}

impl InvitationState {
    /// The word in the ledger.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Accepted => "accepted",
            Self::Denied => "denied",
            Self::Withdrawn => "withdrawn",
        }
    }

    /// The stage of a word in the ledger.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [Self::Open, Self::Accepted, Self::Denied, Self::Withdrawn];
        all.into_iter().find(|stage| stage.name() == name)
    }
}

/// An invitation to one recipient, for one share or several made together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// Its id; not a secret.
    pub id: Bytes<16>,
    /// The address that it went to; empty for a link that anybody may bring.
    pub address: String,
    /// Hash of the code.
    pub code: Hash,
    /// Wrong codes so far.
    pub tries: u32,
    /// From this second on it is over.
    pub expires_at: Timestamp,
    /// Where it is.
    pub stage: InvitationState,
    /// Who invites.
    pub by: Id,
    /// Whether an account is made for a guest, who has none.
    pub guest: bool,
}

impl Invitation {
    /// Whether it is still there to be accepted, locked or not.
    ///
    /// # Errors
    /// The rule that says why not.
    pub fn is_open(&self, now: Timestamp) -> Result<(), Refusal> {
        match self.stage {
            InvitationState::Accepted => {
                Err(RuleCode::CodeUsed.because("This invitation was accepted before"))
            }
            InvitationState::Denied | InvitationState::Withdrawn => {
                Err(RuleCode::NoLongerValid.because("This invitation is no longer valid"))
            }
            InvitationState::Open if self.expires_at <= now => {
                Err(RuleCode::NoLongerValid.because("This invitation has lapsed"))
            }
            InvitationState::Open if self.tries >= TRIES => {
                let why = format!("{TRIES} wrong codes were given for this invitation");
                Err(RuleCode::CodeLocked.because(why))
            }
            InvitationState::Open => Ok(()),
        }
    }

    /// Tries a code; a wrong one is counted, and the count has to be kept.
    ///
    /// # Errors
    /// The rule that says why not.
    pub fn try_code(&mut self, code: &InviteCode, now: Timestamp) -> Result<(), Refusal> {
        self.is_open(now)?;
        if code.hash(&self.id) == self.code {
            return Ok(());
        }
        self.tries += 1;
        let left = TRIES - self.tries;
        Err(RuleCode::WrongCode.because(format!("That is not the code; {left} tries are left")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invitation() -> (Invitation, InviteCode) {
        let (id, code) = (
            Bytes([4; 16]),
            InviteCode::new(&[0, 1, 2, 3, 31, 32, 255, 7, 8, 9]),
        );
        let invitation = Invitation {
            code: code.hash(&id),
            id,
            address: "anna@example.org".into(),
            tries: 0,
            expires_at: Timestamp(1000),
            stage: InvitationState::Open,
            by: Id::new("ole").unwrap(),
            guest: false,
        };
        (invitation, code)
    }

    #[test]
    fn s16_after_five_wrong_codes_the_right_one_is_locked_out_too() {
        let (mut invitation, code) = invitation();
        let wrong = InviteCode::typed("WRONG-WRONG");
        for _ in 0..5 {
            let refusal = invitation.try_code(&wrong, Timestamp(0)).unwrap_err();
            assert_eq!(refusal.rule, RuleCode::WrongCode);
        }
        let refusal = invitation.try_code(&code, Timestamp(0)).unwrap_err();
        assert_eq!(refusal.rule, RuleCode::CodeLocked);
    }

    #[test]
    fn s16_the_right_code_counts_however_it_is_typed_and_only_once() {
        let (mut invitation, code) = invitation();
        assert_eq!(code.shown(), "2345Z-2Z9AB");
        let typed = InviteCode::typed(" 2345z 2z9ab\n");
        assert_eq!(invitation.try_code(&typed, Timestamp(999)), Ok(()));
        invitation.stage = InvitationState::Accepted;
        let refusal = invitation.try_code(&code, Timestamp(999)).unwrap_err();
        assert_eq!(refusal.rule, RuleCode::CodeUsed);
    }

    #[test]
    fn s55_what_lapsed_was_denied_or_withdrawn_is_no_longer_valid() {
        let (mut invitation, code) = invitation();
        let rule = |invitation: &mut Invitation, at| {
            invitation.try_code(&code, Timestamp(at)).unwrap_err().rule
        };
        assert_eq!(rule(&mut invitation, 1000), RuleCode::NoLongerValid);
        for stage in [InvitationState::Denied, InvitationState::Withdrawn] {
            invitation.stage = stage;
            assert_eq!(rule(&mut invitation, 0), RuleCode::NoLongerValid);
        }
    }

    #[test]
    fn a_code_of_another_invitation_is_wrong() {
        let (mut invitation, code) = invitation();
        invitation.id = Bytes([5; 16]);
        assert!(invitation.try_code(&code, Timestamp(0)).is_err());
    }
}
