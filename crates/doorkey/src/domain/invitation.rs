//! Invitations: a code that can be used once within a week, and is locked after five wrong
//! attempts.

use crate::domain::error::{Refusal, RuleCode};
use doorward_protocol::wire::{Bytes, Hash, Id, Timestamp, UNAMBIGUOUS_ALPHABET, hash};

/// How long an invitation is valid, in seconds.
pub const INVITATION_LIFETIME: u64 = 7 * 86400;
/// Wrong codes after which an invitation is locked.
pub const MAX_CODE_TRIES: u32 = 5;

/// Number of characters of a code, which hold 50 bits.
const CODE_LENGTH: usize = 10;

/// An invitation code in clear text, as the recipient gets it. The database stores only its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InviteCode(String);

impl InviteCode {
    /// Makes a code from random bytes.
    #[must_use]
    pub fn new(random: &[u8; CODE_LENGTH]) -> Self {
        let character = |byte: &u8| char::from(UNAMBIGUOUS_ALPHABET[usize::from(byte % 32)]);
        Self(random.iter().map(character).collect())
    }

    /// Reads a code that a user typed; case and separators are ignored.
    #[must_use]
    pub fn from_input(text: &str) -> Self {
        let characters = text.chars().filter(char::is_ascii_alphanumeric);
        Self(
            characters
                .take(64)
                .map(|c| c.to_ascii_uppercase())
                .collect(),
        )
    }

    /// The code as users see it: two groups of five characters.
    #[must_use]
    pub fn formatted(&self) -> String {
        let (first, second) = self.0.split_at(self.0.len() / 2);
        format!("{first}-{second}")
    }

    /// The hash that the database stores.
    #[must_use]
    pub fn hash(&self, invitation: &Bytes<16>) -> Hash {
        hash(format!("doorward invitation v1\n{invitation}\n{}", self.0).as_bytes())
    }
}

/// The state of an invitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvitationState {
    /// Not accepted yet.
    Open,
    /// Accepted.
    Accepted,
    /// Declined by the recipient.
    Denied,
    /// Withdrawn by the sharer.
    Withdrawn,
}

impl InvitationState {
    /// The name in the database.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Accepted => "accepted",
            Self::Denied => "denied",
            Self::Withdrawn => "withdrawn",
        }
    }

    /// The state with a name in the database.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [Self::Open, Self::Accepted, Self::Denied, Self::Withdrawn];
        all.into_iter().find(|state| state.name() == name)
    }
}

/// An invitation to one recipient, for one share or several shares created together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// The invitation's id; not secret.
    pub id: Bytes<16>,
    /// The e-mail address of the recipient, or the name of a guest.
    pub address: String,
    /// Hash of the code.
    pub code: Hash,
    /// Number of wrong codes so far.
    pub tries: u32,
    /// The time from which on it is no longer valid.
    pub expires_at: Timestamp,
    /// The state.
    pub stage: InvitationState,
    /// The account that invites.
    pub by: Id,
    /// Whether the recipient is a guest, who accepts without an account.
    pub guest: bool,
}

impl Invitation {
    /// Checks that the invitation can be accepted.
    ///
    /// # Errors
    /// [`RuleCode::CodeUsed`], [`RuleCode::NoLongerValid`], [`RuleCode::CodeLocked`].
    pub fn check_open(&self, now: Timestamp) -> Result<(), Refusal> {
        match self.stage {
            InvitationState::Accepted => {
                Err(RuleCode::CodeUsed.because("This invitation was already accepted"))
            }
            InvitationState::Denied | InvitationState::Withdrawn => {
                Err(RuleCode::NoLongerValid.because("This invitation is no longer valid"))
            }
            InvitationState::Open if self.expires_at <= now => {
                Err(RuleCode::NoLongerValid.because("This invitation has expired"))
            }
            InvitationState::Open if self.tries >= MAX_CODE_TRIES => {
                let why = format!("This invitation is locked after {MAX_CODE_TRIES} wrong codes");
                Err(RuleCode::CodeLocked.because(why))
            }
            InvitationState::Open => Ok(()),
        }
    }

    /// Checks a code. A wrong code is counted in `tries`, which the caller must then store.
    ///
    /// # Errors
    /// [`RuleCode::WrongCode`], or an error of [`Self::check_open`].
    pub fn try_code(&mut self, code: &InviteCode, now: Timestamp) -> Result<(), Refusal> {
        self.check_open(now)?;
        if code.hash(&self.id) == self.code {
            return Ok(());
        }
        self.tries += 1;
        let left = MAX_CODE_TRIES - self.tries;
        Err(RuleCode::WrongCode.because(format!("Wrong code; {left} attempts left")))
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
        let wrong = InviteCode::from_input("WRONG-WRONG");
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
        assert_eq!(code.formatted(), "2345Z-2Z9AB");
        let typed = InviteCode::from_input(" 2345z 2z9ab\n");
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
