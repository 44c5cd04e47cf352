//! Creating and extending shares, and adding devices for an existing recipient.

use crate::IssuerError;
use crate::PerAudience;
use crate::domain::device::{Device, SLOTS};
use crate::domain::invitation::{INVITATION_LIFETIME, Invitation, InvitationState, InviteCode};
use crate::domain::preset;
use crate::domain::share::{Recipient, ShareRecord, check_slot_free};
use crate::domain::{Actor, NewShare, ShareTarget};
use crate::domain::{Refusal, RuleCode};
use crate::ledger;
use crate::ledger::{Connection, StatementId};
use crate::service::platform::Platform;
use doorward_protocol::wire::{Audience, Bytes, Kind, Map, Operation, Permission, Role, Timestamp};
use doorward_transport::files::Doing;
use doorward_transport::random;

/// Shares created together, and the invitation of the recipient if one is needed.
#[derive(Debug)]
pub struct CreatedShares {
    /// The share of each audience, or why there is none.
    pub each: PerAudience<ShareRecord>,
    /// The invitation, with its code, which is stored nowhere.
    pub invitation: Option<(Invitation, InviteCode)>,
}

impl Platform {
    /// Shares devices or sites with one recipient. The refusal of one audience does not affect the
    /// others.
    ///
    /// # Errors
    /// If the request as a whole is invalid, or the database cannot be used.
    pub async fn share(
        &self,
        actor: Actor<'_>,
        audiences: &[Audience],
        new: &NewShare,
        now: Timestamp,
    ) -> Result<CreatedShares, IssuerError> {
        if audiences.is_empty() || audiences.len() > 1000 {
            return Err(RuleCode::Invalid
                .because("Give 1 to 1,000 devices or sites")
                .into());
        }
        if let Actor::Account(account) = actor {
            account.check_may_share()?;
        }
        if new.end <= now {
            return Err(RuleCode::Invalid
                .because("The end of the share is not in the future")
                .into());
        }
        let (recipient, mut invitation) = self.recipient(actor, new, now).await?;
        let mut each = PerAudience::new();
        for audience in audiences {
            let id = invitation.as_ref().map(|(invitation, _)| invitation.id);
            let share = self
                .share_one(actor, audience, &recipient, id, new, now)
                .await;
            if let Err(error @ (IssuerError::Ledger(_) | IssuerError::File(_))) = share {
                return Err(error);
            }
            each.push((audience.clone(), share));
        }
        if each.iter().all(|(_, share)| share.is_err())
            && let Some((mut open, _)) = invitation.take()
        {
            open.stage = InvitationState::Withdrawn;
            let mut tx = self.ledger.begin().await?;
            ledger::put_invitation(&mut tx, &open).await?;
            tx.commit().await?;
        }
        Ok(CreatedShares { each, invitation })
    }

    /// Returns the recipient of the shares, and creates an invitation if one is needed.
    async fn recipient(
        &self,
        actor: Actor<'_>,
        new: &NewShare,
        now: Timestamp,
    ) -> Result<(Recipient, Option<(Invitation, InviteCode)>), IssuerError> {
        let mut tx = self.ledger.begin().await?;
        let (address, guest) = match &new.to {
            ShareTarget::Key(id, key) => {
                doorward_protocol::wire::PublicKey::new(key)?;
                return Ok((Recipient::Account(id.clone(), *key), None));
            }
            ShareTarget::Group(id) => {
                let group = ledger::group(&mut tx, id).await?;
                let unknown = || RuleCode::Unknown.because(format!("There is no group {id}"));
                let group = group.ok_or_else(unknown)?;
                return Ok((Recipient::Group(group.id, group.key), None));
            }
            ShareTarget::Address(email) => (email.as_str().to_owned(), false),
            ShareTarget::Guest(name) => (name.as_str().to_owned(), true),
        };
        let by = match actor {
            Actor::Issuer => self.name().clone(),
            Actor::Account(account) => account.id.clone(),
        };
        let id = Bytes(random().doing("make an id in", &self.issuers_file())?);
        let code = InviteCode::new(&random().doing("make a code in", &self.issuers_file())?);
        let invitation = Invitation {
            code: code.hash(&id),
            id,
            address: address.clone(),
            tries: 0,
            expires_at: now.plus(INVITATION_LIFETIME),
            stage: InvitationState::Open,
            by,
            guest,
        };
        ledger::put_invitation(&mut tx, &invitation).await?;
        tx.commit().await?;
        Ok((Recipient::Invited(address), Some((invitation, code))))
    }

    /// Creates the share of one audience.
    async fn share_one(
        &self,
        actor: Actor<'_>,
        audience: &Audience,
        recipient: &Recipient,
        invitation: Option<Bytes<16>>,
        new: &NewShare,
        now: Timestamp,
    ) -> Result<ShareRecord, IssuerError> {
        let locks = self.lock_set(audience).await?;
        let mut tx = self.ledger.begin_locked(&locks).await?;
        let (by, devices) = self.check_may_manage(&mut tx, actor, audience).await?;
        let offered = offered_by_all(&devices);
        let permissions = preset::expand_permissions(&new.permissions, &offered)?;
        self.check_may_be_shared(&mut tx, &devices, recipient, now)
            .await?;
        let region = devices.first().map_or(&new.region, |device| &device.region);
        let share = ShareRecord {
            id: Bytes(random().doing("make an id in", &self.issuers_file())?),
            audience: audience.clone(),
            recipient: recipient.clone(),
            by,
            approved_by: None,
            permissions: unlimited(permissions),
            description: new.description.clone(),
            made: now,
            start: now,
            end: new.end,
            version: 1,
            signed: now,
            limits: new.limits.clone(),
            region: region.clone(),
            invitation,
            ended: None,
            used: None,
        };
        self.save_and_publish(&mut tx, &share).await?;
        tx.commit().await?;
        Ok(share)
    }

    /// Stores a share, signs its token if the recipient's key is known, and queues it for
    /// publication.
    pub(crate) async fn save_and_publish(
        &self,
        tx: &mut Connection,
        share: &ShareRecord,
    ) -> Result<(), IssuerError> {
        ledger::put_share(tx, share).await?;
        if let Some(token) = share.token(self.name()) {
            let bytes = self.keys.sign(Role::Shares, &token)?;
            ledger::put_statement(tx, &share_statement_id(share), &bytes).await?;
        }
        if let Recipient::Group(id, key) = &share.recipient {
            // A device needs the group's member list to check commands under the share.
            self.publish_roster(tx, id, key, &share.audience).await?;
        }
        Ok(())
    }

    /// The audiences to lock before the shares of an audience are changed: for a site also its
    /// devices, each of which has its own number of users, and for a device also its site.
    pub(crate) async fn lock_set(&self, audience: &Audience) -> Result<Vec<Audience>, IssuerError> {
        let devices = self.devices(audience).await?;
        let mut locks: Vec<Audience> = devices.iter().flat_map(Device::audiences).collect();
        locks.push(audience.clone());
        Ok(locks)
    }

    /// Checks the rules by which devices would refuse the share. For a site it is enough that one
    /// device may be shared.
    async fn check_may_be_shared(
        &self,
        tx: &mut Connection,
        devices: &[Device],
        recipient: &Recipient,
        now: Timestamp,
    ) -> Result<(), IssuerError> {
        let slot = self.slot(tx, recipient).await?;
        check_any_may_be_shared(devices, now)?;
        for device in devices {
            let taken = self.occupied_slots(tx, device, now).await?;
            check_slot_free(&device.id, &slot, &taken, SLOTS)?;
        }
        Ok(())
    }

    /// Identifies a recipient when users are counted. An invited e-mail address with one account
    /// counts as this account.
    async fn slot(
        &self,
        connection: &mut Connection,
        recipient: &Recipient,
    ) -> Result<String, IssuerError> {
        let Recipient::Invited(address) = recipient else {
            return Ok(recipient.slot());
        };
        let Ok(email) = crate::domain::account::Email::new(address) else {
            return Ok(recipient.slot());
        };
        let accounts = ledger::accounts_with_email(connection, &email).await?;
        Ok(match &accounts[..] {
            [one] => one.key.hex(),
            _ => recipient.slot(),
        })
    }

    /// The present users of a device, as [`Self::slot`] identifies them.
    async fn occupied_slots(
        &self,
        connection: &mut Connection,
        device: &Device,
        now: Timestamp,
    ) -> Result<Vec<String>, IssuerError> {
        let mut taken = Vec::new();
        for audience in device.audiences() {
            for share in ledger::shares_of(connection, &audience, now).await? {
                let confirmed = match share.ended {
                    None => false,
                    Some(_) => {
                        let reports =
                            ledger::device_reports_on(connection, (&share.id, &share.audience))
                                .await?;
                        reports
                            .iter()
                            .any(|(id, report)| *id == device.id && report.ended)
                    }
                };
                if share.takes_slot(confirmed, now) {
                    taken.push(self.slot(connection, &share.recipient).await?);
                }
            }
        }
        Ok(taken)
    }

    /// Moves the end of a share by `seconds`, counted from its current end.
    ///
    /// # Errors
    /// If a rule forbids it or the database cannot be used.
    pub async fn extend(
        &self,
        actor: Actor<'_>,
        id: &Bytes<16>,
        seconds: u64,
        now: Timestamp,
    ) -> Result<ShareRecord, IssuerError> {
        let (mut tx, mut share) = self.lock_share_to_change(actor, id).await?;
        share.extend(seconds, now)?;
        // Devices check the plan at the time of an extension, and would suspend the whole share.
        let devices = ledger::devices_of(&mut tx, &share.audience).await?;
        check_any_may_be_shared(&devices, now)?;
        share.signed = now.max(share.signed);
        self.save_and_publish(&mut tx, &share).await?;
        tx.commit().await?;
        Ok(share)
    }

    /// Shares another device or site with the recipient of an existing share: same permissions and
    /// end, a new share id.
    ///
    /// # Errors
    /// If a rule forbids it or the database cannot be used.
    pub async fn add_device(
        &self,
        actor: Actor<'_>,
        like: &Bytes<16>,
        audience: &Audience,
        now: Timestamp,
    ) -> Result<ShareRecord, IssuerError> {
        let (tx, like) = self.lock_share_to_change(actor, like).await?;
        tx.rollback().await?;
        if !like.is_live(now) {
            return Err(RuleCode::Ended.because("This share has ended").into());
        }
        let new = NewShare {
            to: ShareTarget::Guest(
                doorward_protocol::wire::Text::new("unused")
                    .map_err(|_| RuleCode::Invalid.because(""))?,
            ),
            permissions: like
                .permissions
                .iter()
                .map(|(name, _)| name.to_string())
                .collect(),
            end: like.end,
            description: like.description.clone(),
            region: like.region.clone(),
            limits: like.limits.clone(),
        };
        self.share_one(actor, audience, &like.recipient, like.invitation, &new, now)
            .await
    }

    /// Returns a share that the actor may manage, and a transaction that has locked it.
    pub(crate) async fn lock_share_to_change(
        &self,
        actor: Actor<'_>,
        id: &Bytes<16>,
    ) -> Result<(ledger::Transaction, ShareRecord), IssuerError> {
        let unknown = || RuleCode::Unknown.because(format!("You have no share {id}"));
        let found = ledger::share(&mut *self.ledger.read().await?, id).await?;
        let audience = found.ok_or_else(unknown)?.audience;
        let mut tx = self
            .ledger
            .begin_locked(&self.lock_set(&audience).await?)
            .await?;
        let share = ledger::share(&mut tx, id).await?.ok_or_else(unknown)?;
        match self.check_may_manage(&mut tx, actor, &audience).await {
            Ok(_) => Ok((tx, share)),
            // Other callers must not learn whether the share exists.
            Err(IssuerError::Refused(_)) => Err(unknown().into()),
            Err(error) => Err(error),
        }
    }
}

/// Checks that at least one of the devices may be shared. No devices are no reason to refuse: a
/// site may get some later.
pub(crate) fn check_any_may_be_shared(devices: &[Device], now: Timestamp) -> Result<(), Refusal> {
    let mut refused = Ok(());
    for device in devices {
        match device.check_may_be_shared(now) {
            Ok(()) => return Ok(()),
            Err(refusal) => refused = Err(refusal),
        }
    }
    refused
}

/// The operations that all of the devices offer; empty if one of them has not reported any.
fn offered_by_all(devices: &[Device]) -> Vec<Operation> {
    let Some((first, others)) = devices.split_first() else {
        return Vec::new();
    };
    let everywhere = |operation: &&Operation| {
        others
            .iter()
            .all(|device| device.operations.contains(operation))
    };
    first
        .operations
        .iter()
        .filter(everywhere)
        .cloned()
        .collect()
}

/// Grants operations without limits on their arguments.
pub(crate) fn unlimited(operations: Vec<Operation>) -> Map<Operation, Permission> {
    Map::new(
        operations
            .into_iter()
            .map(|name| (name, Permission::default())),
    )
}

/// Identifies the token of a share.
pub(crate) fn share_statement_id(share: &ShareRecord) -> StatementId {
    StatementId {
        audience: share.audience.clone(),
        kind: Kind::Share,
        name: share.id.hex(),
    }
}
