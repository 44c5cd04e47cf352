//! Accepting an invitation: the recipient brings a key of their own, and proves that they have it.

use crate::IssuerError;
use crate::domain::account::{Account, AccountRole, Email};
use crate::domain::group;
use crate::domain::invitation::{Invitation, InvitationState, InviteCode};
use crate::domain::share::{Recipient, ShareRecord, Termination};
use crate::domain::{Refusal, RuleCode};
use crate::ledger;
use crate::service::platform::Platform;
use doorward_protocol::wire::{Bytes, Id, KeyBytes, Kind, PublicKey, Timestamp};

/// Who accepts.
#[derive(Debug, Clone)]
pub struct Acceptance {
    /// The account: one that there is, or the name of a new one.
    pub account: Id,
    /// Its key.
    pub key: KeyBytes,
    /// The enterprise; the account's own name for somebody who has none.
    pub enterprise: Option<Id>,
    /// The region of a new account.
    pub region: Id,
    /// The language of messages.
    pub language: String,
    /// [`accept_message`], signed with the key.
    pub proof: Bytes<64>,
}

/// What a recipient signs to show that the key is theirs.
#[must_use]
pub fn accept_message(platform: &Id, invitation: &Bytes<16>, account: &Id) -> String {
    format!("doorward accept v1\n{platform}\n{invitation}\n{account}")
}

/// What was accepted: for each share what the recipient's client needs to use it, the
/// registrations of its devices and the token.
pub type Passes = Vec<(ShareRecord, Vec<u8>)>;

impl Platform {
    /// What an invitation is about, for whoever has the code; nothing is used up.
    ///
    /// # Errors
    /// If a rule forbids it or the ledger cannot be used.
    pub async fn invitation(
        &self,
        id: &Bytes<16>,
        code: &InviteCode,
        now: Timestamp,
    ) -> Result<(Invitation, Vec<ShareRecord>), IssuerError> {
        let (change, invitation) = self.try_code(id, code, now).await?;
        change.commit().await?;
        let shares = ledger::shares_of_invitation(&mut *self.ledger.read().await?, id).await?;
        let open = shares
            .into_iter()
            .filter(|share| share.is_live(now))
            .collect();
        Ok((invitation, open))
    }

    /// The invitation, locked, if the code is right. A wrong code is counted, durably.
    async fn try_code(
        &self,
        id: &Bytes<16>,
        code: &InviteCode,
        now: Timestamp,
    ) -> Result<(ledger::Change, Invitation), IssuerError> {
        let mut change = self.ledger.begin().await?;
        ledger::lock_invitation(&mut change, id).await?;
        let found = ledger::invitation(&mut change, id).await?;
        let unknown = || RuleCode::NoLongerValid.because("This invitation is no longer valid");
        let mut invitation = found.ok_or_else(unknown)?;
        if let Err(refusal) = invitation.try_code(code, now) {
            ledger::put_invitation(&mut change, &invitation).await?;
            change.commit().await?;
            return Err(refusal.into());
        }
        Ok((change, invitation))
    }

    /// Accepts an invitation: binds its shares to a key, signs them, and sends them out.
    ///
    /// # Errors
    /// If a rule forbids it or the ledger cannot be used.
    pub async fn accept(
        &self,
        id: &Bytes<16>,
        code: &InviteCode,
        acceptance: &Acceptance,
        now: Timestamp,
    ) -> Result<Passes, IssuerError> {
        let message = accept_message(self.name(), id, &acceptance.account);
        let key = PublicKey::new(&acceptance.key)?;
        key.verify(message.as_bytes(), &acceptance.proof.0)
            .map_err(|_| RuleCode::Session.because("The proof is not signed with that key"))?;
        let (mut change, mut invitation) = self.try_code(id, code, now).await?;
        let pending: Vec<ShareRecord> = ledger::shares_of_invitation(&mut change, id)
            .await?
            .into_iter()
            .filter(|share| share.is_live(now) && share.recipient.key().is_none())
            .collect();
        let Some(first) = pending.first() else {
            return Err(RuleCode::NoLongerValid
                .because("What was shared has ended")
                .into());
        };
        if !invitation.guest {
            self.account_for(&mut change, &invitation, acceptance, &first.region, now)
                .await?;
        } else if ledger::account(&mut change, &acceptance.account)
            .await?
            .is_some()
        {
            let why = format!(
                "{} is somebody's account; a guest has none",
                acceptance.account
            );
            return Err(RuleCode::Taken.because(why).into());
        }
        let mut passes = Passes::new();
        for share in pending {
            let share = ShareRecord {
                recipient: Recipient::Account(acceptance.account.clone(), acceptance.key),
                start: now,
                signed: now,
                ..share
            };
            ledger::lock(&mut change, std::slice::from_ref(&share.audience)).await?;
            // The plan may have fallen since it was offered.
            let devices = ledger::devices_of(&mut change, &share.audience).await?;
            crate::service::shares::may_any_be_shared(&devices, now)?;
            self.save_and_publish(&mut change, &share).await?;
            passes.push((share.clone(), self.pass(&mut change, &share).await?));
        }
        invitation.stage = InvitationState::Accepted;
        ledger::put_invitation(&mut change, &invitation).await?;
        change.commit().await?;
        Ok(passes)
    }

    /// The account that accepts: one of the address that was invited, in the region of what is
    /// shared; made on the way if there is none.
    async fn account_for(
        &self,
        change: &mut ledger::Connection,
        invitation: &Invitation,
        acceptance: &Acceptance,
        region: &Id,
        now: Timestamp,
    ) -> Result<(), IssuerError> {
        let email = Email::new(&invitation.address)?;
        let account = match ledger::account(change, &acceptance.account).await? {
            Some(account) => account,
            None => {
                let account = Account {
                    id: acceptance.account.clone(),
                    email: Some(email.clone()),
                    key: acceptance.key,
                    role: AccountRole::User,
                    enterprise: acceptance
                        .enterprise
                        .clone()
                        .unwrap_or_else(|| acceptance.account.clone()),
                    region: acceptance.region.clone(),
                    language: group::language(&acceptance.language).to_owned(),
                    made: now,
                };
                ledger::add_account(change, &account).await?;
                account
            }
        };
        let refused = may_accept(&account, &email, acceptance, region).err();
        refused.map_or(Ok(()), |refusal| Err(refusal.into()))
    }

    /// What a client needs to use a share: the registrations of its devices, and the token.
    ///
    /// # Errors
    /// If the ledger cannot be used.
    pub async fn pass_for(&self, share: &ShareRecord) -> Result<Vec<u8>, IssuerError> {
        self.pass(&mut *self.ledger.read().await?, share).await
    }

    async fn pass(
        &self,
        connection: &mut ledger::Connection,
        share: &ShareRecord,
    ) -> Result<Vec<u8>, IssuerError> {
        let mut pass = Vec::new();
        // A bundle holds eight statements.
        for device in ledger::devices_of(connection, &share.audience)
            .await?
            .iter()
            .take(7)
        {
            let audience = device.audience();
            let kept = ledger::statements(connection, &audience, Kind::Registration).await?;
            pass.extend(kept.concat());
        }
        let token = crate::service::shares::share_topic(share);
        pass.extend(
            ledger::statement(connection, &token)
                .await?
                .unwrap_or_default(),
        );
        Ok(pass)
    }

    /// The pass of a share that somebody has.
    ///
    /// # Errors
    /// If it is not theirs, or the ledger cannot be used.
    pub async fn pass_of(
        &self,
        account: &Account,
        id: &Bytes<16>,
        now: Timestamp,
    ) -> Result<Vec<u8>, IssuerError> {
        let mut connection = self.ledger.read().await?;
        let found = ledger::share(&mut connection, id).await?;
        let mut share = found.filter(|share| share.is_live(now));
        let theirs = match share.as_ref().map(|share| &share.recipient) {
            Some(Recipient::Account(to, _)) => *to == account.id,
            Some(Recipient::Group(group, _)) => {
                let groups = ledger::groups_of(&mut connection, &account.id).await?;
                groups.iter().any(|mine| mine.id == *group)
            }
            Some(Recipient::Invited(_)) | None => false,
        };
        if !theirs {
            share = None;
        }
        let unknown = || RuleCode::Unknown.because(format!("There is no share {id} of yours"));
        self.pass(&mut connection, &share.ok_or_else(unknown)?)
            .await
    }

    /// Says no to an invitation: nothing is signed, and the sharer sees that it was denied.
    ///
    /// # Errors
    /// If a rule forbids it or the ledger cannot be used.
    pub async fn decline(
        &self,
        id: &Bytes<16>,
        code: &InviteCode,
        now: Timestamp,
    ) -> Result<(), IssuerError> {
        let (mut change, mut invitation) = self.try_code(id, code, now).await?;
        for share in ledger::shares_of_invitation(&mut change, id).await? {
            ledger::end_share(&mut change, &share.id, Termination::Denied, now, None).await?;
        }
        invitation.stage = InvitationState::Denied;
        ledger::put_invitation(&mut change, &invitation).await?;
        change.commit().await?;
        Ok(())
    }
}

/// The rules about who may accept an invitation to an address.
fn may_accept(
    account: &Account,
    email: &Email,
    acceptance: &Acceptance,
    region: &Id,
) -> Result<(), Refusal> {
    if account.key != acceptance.key {
        let why = format!("{} is an account with another key", account.id);
        return Err(RuleCode::Taken.because(why));
    }
    if account.email.as_ref() != Some(email) {
        let why = format!(
            "{} is not the account of the address that was invited",
            account.id
        );
        return Err(RuleCode::Taken.because(why));
    }
    if account.region != *region {
        let why = format!(
            "{} is in region {}, what is shared in {region}",
            account.id, account.region
        );
        return Err(RuleCode::WrongRegion.because(why));
    }
    Ok(())
}
