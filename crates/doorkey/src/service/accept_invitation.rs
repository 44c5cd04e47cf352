//! Accepting an invitation: the recipient provides a public key and proves possession of it.

use crate::IssuerError;
use crate::domain::account::{Account, AccountRole, Email};
use crate::domain::group;
use crate::domain::invitation::{Invitation, InvitationState, InviteCode};
use crate::domain::share::{Recipient, ShareRecord, Termination};
use crate::domain::{Refusal, RuleCode};
use crate::ledger;
use crate::service::platform::Platform;
use doorward_protocol::wire::{Bytes, Id, KeyBytes, Kind, PublicKey, Timestamp};

/// The account that accepts, and its key.
#[derive(Debug, Clone)]
pub struct Acceptance {
    /// An existing account, or the name of a new one.
    pub account: Id,
    /// Its public key.
    pub key: KeyBytes,
    /// The enterprise of a new account; by default the name of the account.
    pub enterprise: Option<Id>,
    /// The region of a new account.
    pub region: Id,
    /// The language of messages.
    pub language: String,
    /// Signature over [`accept_message`] with the key.
    pub proof: Bytes<64>,
}

/// The message that a recipient signs to prove possession of the key.
#[must_use]
pub fn accept_message(platform: &Id, invitation: &Bytes<16>, account: &Id) -> String {
    format!("doorward accept v1\n{platform}\n{invitation}\n{account}")
}

/// The accepted shares, each with its pass: the registrations of its devices and the share token,
/// which the recipient's client needs.
pub type Passes = Vec<(ShareRecord, Vec<u8>)>;

impl Platform {
    /// Returns an invitation and its shares that have not ended. The code stays usable.
    ///
    /// # Errors
    /// If a rule forbids it or the database cannot be used.
    pub async fn invitation(
        &self,
        id: &Bytes<16>,
        code: &InviteCode,
        now: Timestamp,
    ) -> Result<(Invitation, Vec<ShareRecord>), IssuerError> {
        let (tx, invitation) = self.try_code(id, code, now).await?;
        tx.commit().await?;
        let shares = ledger::shares_of_invitation(&mut *self.ledger.read().await?, id).await?;
        let live = shares
            .into_iter()
            .filter(|share| share.is_live(now))
            .collect();
        Ok((invitation, live))
    }

    /// Checks a code and returns the invitation, locked in a transaction. A wrong code is counted
    /// in the database before this returns.
    async fn try_code(
        &self,
        id: &Bytes<16>,
        code: &InviteCode,
        now: Timestamp,
    ) -> Result<(ledger::Transaction, Invitation), IssuerError> {
        let mut tx = self.ledger.begin().await?;
        ledger::lock_invitation(&mut tx, id).await?;
        let found = ledger::invitation(&mut tx, id).await?;
        let unknown = || RuleCode::NoLongerValid.because("This invitation is no longer valid");
        let mut invitation = found.ok_or_else(unknown)?;
        if let Err(refusal) = invitation.try_code(code, now) {
            ledger::put_invitation(&mut tx, &invitation).await?;
            tx.commit().await?;
            return Err(refusal.into());
        }
        Ok((tx, invitation))
    }

    /// Accepts an invitation: binds its shares to the key, signs them and queues them for
    /// publication.
    ///
    /// # Errors
    /// If a rule forbids it or the database cannot be used.
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
            .map_err(|_| RuleCode::Session.because("The proof is not signed with this key"))?;
        let (mut tx, mut invitation) = self.try_code(id, code, now).await?;
        let pending: Vec<ShareRecord> = ledger::shares_of_invitation(&mut tx, id)
            .await?
            .into_iter()
            .filter(|share| share.is_live(now) && share.recipient.key().is_none())
            .collect();
        let Some(first) = pending.first() else {
            return Err(RuleCode::NoLongerValid
                .because("The shares of this invitation have ended")
                .into());
        };
        if !invitation.guest {
            self.ensure_account(&mut tx, &invitation, acceptance, &first.region, now)
                .await?;
        } else if ledger::account(&mut tx, &acceptance.account)
            .await?
            .is_some()
        {
            let why = format!(
                "{} is the name of an account; a guest needs another name",
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
            ledger::lock_audiences(&mut tx, std::slice::from_ref(&share.audience)).await?;
            // The plan may have been downgraded since the invitation.
            let devices = ledger::devices_of(&mut tx, &share.audience).await?;
            crate::service::shares::check_any_may_be_shared(&devices, now)?;
            self.save_and_publish(&mut tx, &share).await?;
            passes.push((share.clone(), self.pass(&mut tx, &share).await?));
        }
        invitation.stage = InvitationState::Accepted;
        ledger::put_invitation(&mut tx, &invitation).await?;
        tx.commit().await?;
        Ok(passes)
    }

    /// Finds the account that accepts, or creates it, and checks that it has the invited e-mail
    /// address and is in the region of the shares.
    async fn ensure_account(
        &self,
        tx: &mut ledger::Connection,
        invitation: &Invitation,
        acceptance: &Acceptance,
        region: &Id,
        now: Timestamp,
    ) -> Result<(), IssuerError> {
        let email = Email::new(&invitation.address)?;
        let account = match ledger::account(tx, &acceptance.account).await? {
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
                    language: group::supported_language(&acceptance.language).to_owned(),
                    made: now,
                };
                ledger::add_account(tx, &account).await?;
                account
            }
        };
        let refused = check_may_accept(&account, &email, acceptance, region).err();
        refused.map_or(Ok(()), |refusal| Err(refusal.into()))
    }

    /// Returns the pass of a share: the registrations of its devices and the share token.
    ///
    /// # Errors
    /// If the database cannot be used.
    pub async fn pass_for(&self, share: &ShareRecord) -> Result<Vec<u8>, IssuerError> {
        self.pass(&mut *self.ledger.read().await?, share).await
    }

    async fn pass(
        &self,
        connection: &mut ledger::Connection,
        share: &ShareRecord,
    ) -> Result<Vec<u8>, IssuerError> {
        let mut pass = Vec::new();
        // A bundle holds at most eight statements: seven registrations and the token.
        for device in ledger::devices_of(connection, &share.audience)
            .await?
            .iter()
            .take(7)
        {
            let audience = device.audience();
            let registration =
                ledger::statements(connection, &audience, Kind::Registration).await?;
            pass.extend(registration.concat());
        }
        let token = crate::service::shares::share_statement_id(share);
        pass.extend(
            ledger::statement(connection, &token)
                .await?
                .unwrap_or_default(),
        );
        Ok(pass)
    }

    /// Returns the pass of a share that the account has received.
    ///
    /// # Errors
    /// If the account has no such share, or the database cannot be used.
    pub async fn pass_of(
        &self,
        account: &Account,
        id: &Bytes<16>,
        now: Timestamp,
    ) -> Result<Vec<u8>, IssuerError> {
        let mut connection = self.ledger.read().await?;
        let found = ledger::share(&mut connection, id).await?;
        let mut share = found.filter(|share| share.is_live(now));
        let received = match share.as_ref().map(|share| &share.recipient) {
            Some(Recipient::Account(to, _)) => *to == account.id,
            Some(Recipient::Group(group, _)) => {
                let groups = ledger::groups_of(&mut connection, &account.id).await?;
                groups.iter().any(|mine| mine.id == *group)
            }
            Some(Recipient::Invited(_)) | None => false,
        };
        if !received {
            share = None;
        }
        let unknown = || RuleCode::Unknown.because(format!("You have no share {id}"));
        self.pass(&mut connection, &share.ok_or_else(unknown)?)
            .await
    }

    /// Declines an invitation: nothing is signed, and the sharer sees the status `denied`.
    ///
    /// # Errors
    /// If a rule forbids it or the database cannot be used.
    pub async fn decline(
        &self,
        id: &Bytes<16>,
        code: &InviteCode,
        now: Timestamp,
    ) -> Result<(), IssuerError> {
        let (mut tx, mut invitation) = self.try_code(id, code, now).await?;
        for share in ledger::shares_of_invitation(&mut tx, id).await? {
            ledger::end_share(&mut tx, &share.id, Termination::Denied, now, None).await?;
        }
        invitation.stage = InvitationState::Denied;
        ledger::put_invitation(&mut tx, &invitation).await?;
        tx.commit().await?;
        Ok(())
    }
}

/// Checks that an account may accept an invitation to `email`.
fn check_may_accept(
    account: &Account,
    email: &Email,
    acceptance: &Acceptance,
    region: &Id,
) -> Result<(), Refusal> {
    if account.key != acceptance.key {
        let why = format!("The account {} has another key", account.id);
        return Err(RuleCode::Taken.because(why));
    }
    if account.email.as_ref() != Some(email) {
        let why = format!(
            "{} is not an account of the invited e-mail address",
            account.id
        );
        return Err(RuleCode::Taken.because(why));
    }
    if account.region != *region {
        let why = format!(
            "{} is in region {}, the shares are in {region}",
            account.id, account.region
        );
        return Err(RuleCode::WrongRegion.because(why));
    }
    Ok(())
}
