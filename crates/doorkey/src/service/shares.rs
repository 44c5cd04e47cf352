//! Making shares, extending them, and adding devices to what somebody has.

use crate::IssuerError;
use crate::PerAudience;
use crate::domain::device::{Device, SLOTS};
use crate::domain::invitation::{Invitation, InvitationState, InviteCode, LAPSES_AFTER};
use crate::domain::preset;
use crate::domain::share::{Recipient, ShareRecord, has_slot};
use crate::domain::{Actor, NewShare, ShareTarget};
use crate::domain::{Refusal, RuleCode};
use crate::ledger;
use crate::ledger::{Connection, Topic};
use crate::service::platform::Platform;
use doorward_protocol::wire::{Audience, Bytes, Kind, Map, Operation, Permission, Role, Timestamp};
use doorward_transport::files::Doing;
use doorward_transport::random;

/// Shares made together, and the invitation that the recipient gets if it needs one.
#[derive(Debug)]
pub struct CreatedShares {
    /// For each audience its share, or why there is none.
    pub each: PerAudience<ShareRecord>,
    /// The invitation, with the code that is nowhere else.
    pub invitation: Option<(Invitation, InviteCode)>,
}

impl Platform {
    /// Shares devices or sites with one recipient. Each stands for itself: that one is refused
    /// does not keep the others back.
    ///
    /// # Errors
    /// If nobody could be shared with, or the ledger cannot be used.
    pub async fn share(
        &self,
        actor: Actor<'_>,
        audiences: &[Audience],
        new: &NewShare,
        now: Timestamp,
    ) -> Result<CreatedShares, IssuerError> {
        if audiences.is_empty() || audiences.len() > 1000 {
            return Err(RuleCode::Invalid
                .because("Name 1 to 1,000 devices or sites")
                .into());
        }
        if let Actor::Account(account) = actor {
            account.may_share()?;
        }
        if new.end <= now {
            return Err(RuleCode::Invalid
                .because("The share would end before it begins")
                .into());
        }
        let (recipient, mut invitation) = self.recipient(actor, new, now).await?;
        let mut each = PerAudience::new();
        for audience in audiences {
            let id = invitation.as_ref().map(|(invitation, _)| invitation.id);
            let made = self
                .share_one(actor, audience, &recipient, id, new, now)
                .await;
            if let Err(error @ (IssuerError::Ledger(_) | IssuerError::File(_))) = made {
                return Err(error);
            }
            each.push((audience.clone(), made));
        }
        if each.iter().all(|(_, made)| made.is_err())
            && let Some((mut open, _)) = invitation.take()
        {
            open.stage = InvitationState::Withdrawn;
            let mut change = self.ledger.begin().await?;
            ledger::put_invitation(&mut change, &open).await?;
            change.commit().await?;
        }
        Ok(CreatedShares { each, invitation })
    }

    /// Whom the shares are for, and the invitation if one is needed.
    async fn recipient(
        &self,
        actor: Actor<'_>,
        new: &NewShare,
        now: Timestamp,
    ) -> Result<(Recipient, Option<(Invitation, InviteCode)>), IssuerError> {
        let mut change = self.ledger.begin().await?;
        let (address, guest) = match &new.to {
            ShareTarget::Key(id, key) => {
                doorward_protocol::wire::PublicKey::new(key)?;
                return Ok((Recipient::Account(id.clone(), *key), None));
            }
            ShareTarget::Group(id) => {
                let group = ledger::group(&mut change, id).await?;
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
            expires_at: now.plus(LAPSES_AFTER),
            stage: InvitationState::Open,
            by,
            guest,
        };
        ledger::put_invitation(&mut change, &invitation).await?;
        change.commit().await?;
        Ok((Recipient::Invited(address), Some((invitation, code))))
    }

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
        let mut change = self.ledger.change(&locks).await?;
        let (by, devices) = self.may_manage(&mut change, actor, audience).await?;
        let offered = offered(&devices);
        let permissions = preset::operations(&new.permissions, &offered)?;
        self.may_be_shared(&mut change, &devices, recipient, now)
            .await?;
        let region = devices.first().map_or(&new.region, |device| &device.region);
        let share = ShareRecord {
            id: Bytes(random().doing("make an id in", &self.issuers_file())?),
            audience: audience.clone(),
            recipient: recipient.clone(),
            by,
            approved_by: None,
            permissions: granted(permissions),
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
        self.save_and_publish(&mut change, &share).await?;
        change.commit().await?;
        Ok(share)
    }

    /// Keeps a share, and has its token go out if it has one.
    pub(crate) async fn save_and_publish(
        &self,
        change: &mut Connection,
        share: &ShareRecord,
    ) -> Result<(), IssuerError> {
        ledger::put_share(change, share).await?;
        if let Some(token) = share.token(self.name()) {
            let bytes = self.keys.sign(Role::Shares, &token)?;
            ledger::put_statement(change, &share_topic(share), &bytes).await?;
        }
        if let Recipient::Group(id, key) = &share.recipient {
            // A device needs the group's roster along with the share.
            self.publish_roster(change, id, key, &share.audience)
                .await?;
        }
        Ok(())
    }

    /// What has to be locked to change what is shared of an audience: for a site its devices
    /// too, since each has its own slots, and for a device its site.
    pub(crate) async fn lock_set(&self, audience: &Audience) -> Result<Vec<Audience>, IssuerError> {
        let devices = self.devices(audience).await?;
        let mut locks: Vec<Audience> = devices.iter().flat_map(Device::audiences).collect();
        locks.push(audience.clone());
        Ok(locks)
    }

    /// The rules that make every device refuse it, before anything is signed. Of a site, one that
    /// can be shared is enough.
    async fn may_be_shared(
        &self,
        change: &mut Connection,
        devices: &[Device],
        recipient: &Recipient,
        now: Timestamp,
    ) -> Result<(), IssuerError> {
        let slot = self.slot(change, recipient).await?;
        may_any_be_shared(devices, now)?;
        for device in devices {
            let taken = self.occupied_slots(change, device, now).await?;
            has_slot(&device.id, &slot, &taken, SLOTS)?;
        }
        Ok(())
    }

    /// Whom a recipient's slot is for: an invited person who has an account is that account.
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
        let accounts = ledger::accounts_of(connection, &email).await?;
        Ok(match &accounts[..] {
            [one] => one.key.hex(),
            _ => recipient.slot(),
        })
    }

    /// The slots of a device that are taken.
    async fn occupied_slots(
        &self,
        connection: &mut Connection,
        device: &Device,
        now: Timestamp,
    ) -> Result<Vec<String>, IssuerError> {
        let mut taken = Vec::new();
        for audience in device.audiences() {
            for share in ledger::shares_of(connection, &audience, now).await? {
                let obeyed = match share.ended {
                    None => false,
                    Some(_) => {
                        let words =
                            ledger::reports_on(connection, (&share.id, &share.audience)).await?;
                        words
                            .iter()
                            .any(|(id, word)| *id == device.id && word.ended)
                    }
                };
                if share.takes_slot(obeyed, now) {
                    taken.push(self.slot(connection, &share.recipient).await?);
                }
            }
        }
        Ok(taken)
    }

    /// Moves the end of a share, counted from the end that it has.
    ///
    /// # Errors
    /// If a rule forbids it or the ledger cannot be used.
    pub async fn extend(
        &self,
        actor: Actor<'_>,
        id: &Bytes<16>,
        seconds: u64,
        now: Timestamp,
    ) -> Result<ShareRecord, IssuerError> {
        let (mut change, mut share) = self.change_share(actor, id).await?;
        share.extend(seconds, now)?;
        // A device takes an extension for a share of that day, and would let it rest altogether.
        let devices = ledger::devices_of(&mut change, &share.audience).await?;
        may_any_be_shared(&devices, now)?;
        share.signed = now.max(share.signed);
        self.save_and_publish(&mut change, &share).await?;
        change.commit().await?;
        Ok(share)
    }

    /// Shares another device with somebody as an earlier share does: the same permissions, the
    /// same end, an id of its own.
    ///
    /// # Errors
    /// If a rule forbids it or the ledger cannot be used.
    pub async fn add_device(
        &self,
        actor: Actor<'_>,
        like: &Bytes<16>,
        audience: &Audience,
        now: Timestamp,
    ) -> Result<ShareRecord, IssuerError> {
        let (change, like) = self.change_share(actor, like).await?;
        change.rollback().await?;
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

    /// A share of one's own, locked for a change.
    pub(crate) async fn change_share(
        &self,
        actor: Actor<'_>,
        id: &Bytes<16>,
    ) -> Result<(ledger::Change, ShareRecord), IssuerError> {
        let unknown = || RuleCode::Unknown.because(format!("There is no share {id} of yours"));
        let found = ledger::share(&mut *self.ledger.read().await?, id).await?;
        let audience = found.ok_or_else(unknown)?.audience;
        let mut change = self.ledger.change(&self.lock_set(&audience).await?).await?;
        let share = ledger::share(&mut change, id).await?.ok_or_else(unknown)?;
        match self.may_manage(&mut change, actor, &audience).await {
            Ok(_) => Ok((change, share)),
            // Whether there is such a share is nobody else's business.
            Err(IssuerError::Refused(_)) => Err(unknown().into()),
            Err(error) => Err(error),
        }
    }
}

/// Whether the plan and nature of at least one of the devices let it be shared.
pub(crate) fn may_any_be_shared(devices: &[Device], now: Timestamp) -> Result<(), Refusal> {
    let mut refused = Ok(());
    for device in devices {
        match device.may_be_shared(now) {
            Ok(()) => return Ok(()),
            Err(refusal) => refused = Err(refusal),
        }
    }
    refused
}

/// What every one of the devices offers; nothing if one of them has not said yet.
fn offered(devices: &[Device]) -> Vec<Operation> {
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

/// Permissions without limits on arguments.
pub(crate) fn granted(operations: Vec<Operation>) -> Map<Operation, Permission> {
    Map::new(
        operations
            .into_iter()
            .map(|name| (name, Permission::default())),
    )
}

/// Where a share's token is kept.
pub(crate) fn share_topic(share: &ShareRecord) -> Topic {
    Topic {
        audience: share.audience.clone(),
        kind: Kind::Share,
        name: share.id.hex(),
    }
}
