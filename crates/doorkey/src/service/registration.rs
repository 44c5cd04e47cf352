//! Ownership of devices: claims, registrations, plans, sites, transfers and deletion.

use crate::IssuerError;
use crate::domain::RuleCode;
use crate::domain::account::{Account, AccountRole};
use crate::domain::device::{Device, claim_hash};
use crate::domain::share::Termination;
use crate::domain::{Actor, NewRegistration, check_device};
use crate::ledger;
use crate::ledger::{Connection, StatementId};
use crate::service::platform::Platform;
use doorward_protocol::wire::{
    Audience, Id, KeyBytes, Kind, Plan, Role, Text, Timestamp, default_plans,
};

/// A claim of a device by its new owner, with the secret that came with the device.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The device.
    pub device: Id,
    /// The device's own public key.
    pub device_key: KeyBytes,
    /// The one-time claim secret.
    pub secret: String,
    /// The model.
    pub model: Text,
    /// The site, if any.
    pub site: Option<Id>,
}

impl Platform {
    /// Registers a device, or registers it again with a higher sequence number, as the issuer. If
    /// the owner changes, all earlier shares of the device end.
    ///
    /// # Errors
    /// If a rule forbids it or the database cannot be used.
    pub async fn register(
        &self,
        new: NewRegistration,
        now: Timestamp,
    ) -> Result<Device, IssuerError> {
        check_device(&new.device)?;
        let audience = Audience::Device(new.device.clone());
        let mut tx = self.ledger.begin_locked(&[audience]).await?;
        let owner = Account {
            id: new.owner.clone(),
            email: None,
            key: new.owner_key,
            role: AccountRole::Holder,
            enterprise: new.owner.clone(),
            region: new.region.clone(),
            language: "en".to_owned(),
            made: now,
        };
        if !ledger::add_account(&mut tx, &owner).await? {
            ledger::set_account_key(&mut tx, &owner.id, &owner.key).await?;
        }
        let before = ledger::device(&mut tx, &new.device).await?;
        let device = Device::new(new, now);
        let device = self.put_registration(&mut tx, before, device, now).await?;
        tx.commit().await?;
        Ok(device)
    }

    /// Signs and stores the next registration of a device. If the owner changes, the shares of the
    /// previous owner end.
    pub(crate) async fn put_registration(
        &self,
        tx: &mut Connection,
        before: Option<Device>,
        mut device: Device,
        now: Timestamp,
    ) -> Result<Device, IssuerError> {
        let last = ledger::last_registration(tx, &device.id).await?;
        let (seq, made) = last.unwrap_or((0, Timestamp(0)));
        device.seq = seq + 1;
        let same_owner = before.as_ref().is_some_and(|before| {
            before.owner == device.owner && before.owner_key == device.owner_key
        });
        device.since = match &before {
            Some(before) if same_owner => before.since,
            // Devices accept a new ownership only if it starts after the registration that they
            // have.
            _ if seq > 0 => now.max(made.plus(1)),
            _ => now,
        };
        self.reissue_site_shares(tx, &device, now).await?;
        // Devices check a share against the plan in force when it was issued, so a registration
        // must be newer than all existing shares, also than those issued within the same second.
        let mut newest = Timestamp(0);
        for audience in device.audiences() {
            newest = newest.max(ledger::newest_token(tx, &audience).await?);
        }
        device.made = now.max(device.since).max(newest.plus(1));
        if let Some(before) = before {
            device.operations = before.operations;
            device.applied = before.applied;
            device.seen = before.seen;
        }
        let registration = device.registration(self.name());
        let bytes = self.keys.sign(Role::Registry, &registration)?;
        ledger::put_device(tx, &device).await?;
        ledger::put_statement(tx, &registration_id(&device), &bytes).await?;
        if !same_owner && seq > 0 {
            let shares = ledger::shares_of(tx, &device.audience(), now).await?;
            let live: Vec<_> = shares
                .into_iter()
                .filter(|share| share.ended.is_none())
                .collect();
            self.end_shares(tx, &device.audience(), &live, Termination::Cancelled, now)
                .await?;
        }
        Ok(device)
    }

    /// Issues the shares of a site again for a device that joins it: the device does not accept
    /// shares issued before its current ownership.
    async fn reissue_site_shares(
        &self,
        tx: &mut Connection,
        device: &Device,
        now: Timestamp,
    ) -> Result<(), IssuerError> {
        let Some(site) = device.site.clone().map(Audience::Site) else {
            return Ok(());
        };
        for share in ledger::shares_of(tx, &site, now).await? {
            let signed = share.is_live(now) && share.recipient.key().is_some();
            if signed && share.signed < device.since {
                let reissued = crate::domain::share::ShareRecord {
                    version: share.version.saturating_add(1),
                    signed: device.since,
                    ..share
                };
                self.save_and_publish(tx, &reissued).await?;
            }
        }
        Ok(())
    }

    /// Stores the claim secret of a device that will be sold. Its buyer becomes the owner with it.
    ///
    /// # Errors
    /// If the database cannot be used.
    pub async fn add_claim(&self, device: &Id, secret: &str) -> Result<(), IssuerError> {
        check_device(device)?;
        let mut tx = self.ledger.begin().await?;
        ledger::add_claim(&mut tx, device, &claim_hash(device, secret)).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Registers a device to an account that has its claim secret. A claim works once.
    ///
    /// # Errors
    /// If a rule forbids it or the database cannot be used.
    pub async fn claim(
        &self,
        owner: &Account,
        claim: Claim,
        now: Timestamp,
    ) -> Result<Device, IssuerError> {
        owner.check_may_share()?;
        check_device(&claim.device)?;
        if let Some(site) = &claim.site {
            self.check_may_join_site(owner, site).await?;
        }
        let audience = Audience::Device(claim.device.clone());
        let mut tx = self.ledger.begin_locked(&[audience]).await?;
        let before = ledger::device(&mut tx, &claim.device).await?;
        let secret = claim_hash(&claim.device, &claim.secret);
        // Only a caller with the secret learns whether the device has an owner.
        if !ledger::use_claim(&mut tx, &claim.device, &secret).await? {
            let why = "No unclaimed device has this id and claim secret";
            return Err(RuleCode::WrongClaim.because(why).into());
        }
        if before.is_some() {
            let why = format!("{} already has an owner", claim.device);
            return Err(RuleCode::AlreadyOwned.because(why).into());
        }
        let table = default_plans();
        let Some(lowest) = table.lowest().cloned() else {
            return Err(IssuerError::Rule("The plan table is empty.".into()));
        };
        let new = NewRegistration {
            device: claim.device,
            device_key: claim.device_key,
            owner: owner.id.clone(),
            owner_key: owner.key,
            model: claim.model,
            region: owner.region.clone(),
            site: claim.site,
            plan: Plan {
                name: lowest,
                end: None,
            },
            demo: false,
        };
        let device = Device::new(new, now);
        let device = self.put_registration(&mut tx, None, device, now).await?;
        tx.commit().await?;
        Ok(device)
    }

    /// Changes a device with `apply` and signs a new registration, if `is_allowed` accepts the
    /// account.
    async fn change_device(
        &self,
        actor: Actor<'_>,
        id: &Id,
        is_allowed: fn(&Account, &Device) -> bool,
        now: Timestamp,
        apply: impl FnOnce(&mut Device),
    ) -> Result<Device, IssuerError> {
        let audience = Audience::Device(id.clone());
        let mut tx = self.ledger.begin_locked(&[audience]).await?;
        let before = ledger::device(&mut tx, id).await?;
        let unknown = || RuleCode::Unknown.because(format!("You have no device {id}"));
        let before = before.ok_or_else(unknown)?;
        if let Actor::Account(account) = actor
            && !is_allowed(account, &before)
        {
            let is_known =
                ledger::was_shared_with(&mut tx, &account.id, &before.audiences()).await?;
            return Err(match is_known || before.owner == account.id {
                true if before.owner == account.id => RuleCode::Role
                    .because("Only operators of the platform may do this")
                    .into(),
                true => RuleCode::NotOwner
                    .because(format!("You do not own {id}"))
                    .into(),
                false => unknown().into(),
            });
        }
        let mut device = before.clone();
        apply(&mut device);
        let device = self
            .put_registration(&mut tx, Some(before), device, now)
            .await?;
        tx.commit().await?;
        Ok(device)
    }

    /// Sets the plan of a device. Shares are kept; devices suspend operations outside the plan.
    ///
    /// # Errors
    /// If a rule forbids it or the database cannot be used.
    pub async fn set_plan(
        &self,
        actor: Actor<'_>,
        id: &Id,
        plan: Plan,
        now: Timestamp,
    ) -> Result<Device, IssuerError> {
        if !default_plans().plans.contains(&plan.name) {
            return Err(RuleCode::Invalid
                .because(format!("There is no plan {}", plan.name))
                .into());
        }
        let operator = |account: &Account, _: &Device| account.role == AccountRole::Operator;
        self.change_device(actor, id, operator, now, |device| device.plan = plan)
            .await
    }

    /// Moves a device to a site, or out of its site. Shares of the new site apply to it from then
    /// on.
    ///
    /// # Errors
    /// If a rule forbids it or the database cannot be used.
    pub async fn set_site(
        &self,
        actor: Actor<'_>,
        id: &Id,
        site: Option<Id>,
        now: Timestamp,
    ) -> Result<Device, IssuerError> {
        if let (Actor::Account(account), Some(site)) = (actor, &site) {
            self.check_may_join_site(account, site).await?;
        }
        let owns = |account: &Account, device: &Device| device.owner == account.id;
        self.change_device(actor, id, owns, now, |device| device.site = site)
            .await
    }

    /// Checks that an account may add a device to a site: the site is empty or managed by the
    /// account. Otherwise the site's groups would get access to the device, and the owner of the
    /// site could no longer manage it alone.
    async fn check_may_join_site(&self, account: &Account, site: &Id) -> Result<(), IssuerError> {
        let mut connection = self.ledger.read().await?;
        let audience = Audience::Site(site.clone());
        let devices = ledger::devices_of(&mut connection, &audience).await?;
        let sites = ledger::sites_of(&mut connection, &account.id).await?;
        match devices.is_empty() || sites.contains(site) {
            true => Ok(()),
            false => {
                let why = format!("You manage no site {site}");
                Err(RuleCode::Unknown.because(why).into())
            }
        }
    }

    /// Transfers a device to another account. All earlier shares end in the same transaction.
    ///
    /// # Errors
    /// If a rule forbids it or the database cannot be used.
    pub async fn transfer_ownership(
        &self,
        actor: Actor<'_>,
        id: &Id,
        to: &Id,
        now: Timestamp,
    ) -> Result<Device, IssuerError> {
        let account = ledger::account(&mut *self.ledger.read().await?, to).await?;
        let account = account
            .ok_or_else(|| RuleCode::Unknown.because(format!("There is no account {to}")))?;
        account.check_may_share()?;
        let owns = |account: &Account, device: &Device| device.owner == account.id;
        let device = self
            .change_device(actor, id, owns, now, |device| {
                if device.owner != account.id {
                    device.owner = account.id.clone();
                    device.owner_key = account.key;
                    // The site belongs to the previous owner.
                    device.site = None;
                }
            })
            .await?;
        Ok(device)
    }

    /// Removes a device from the platform and ends its shares. Data on the device itself is deleted
    /// with the command `device.delete`.
    ///
    /// # Errors
    /// If a rule forbids it or the database cannot be used.
    pub async fn delete(
        &self,
        actor: Actor<'_>,
        id: &Id,
        now: Timestamp,
    ) -> Result<(), IssuerError> {
        let owns = |account: &Account, device: &Device| device.owner == account.id;
        self.change_device(actor, id, owns, now, |_| {}).await?;
        let audience = Audience::Device(id.clone());
        let mut tx = self
            .ledger
            .begin_locked(std::slice::from_ref(&audience))
            .await?;
        let shares = ledger::shares_of(&mut tx, &audience, now).await?;
        let live: Vec<_> = shares
            .into_iter()
            .filter(|share| share.ended.is_none())
            .collect();
        self.end_shares(&mut tx, &audience, &live, Termination::Cancelled, now)
            .await?;
        ledger::delete_device(&mut tx, id).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Allows another account to approve requests for a site.
    ///
    /// # Errors
    /// If a rule forbids it or the database cannot be used.
    pub async fn add_site_admin(
        &self,
        actor: Actor<'_>,
        site: &Id,
        to: &Id,
    ) -> Result<(), IssuerError> {
        let mut tx = self.ledger.begin().await?;
        if let Actor::Account(account) = actor {
            let audience = Audience::Site(site.clone());
            let devices = ledger::devices_of(&mut tx, &audience).await?;
            if devices.is_empty() || devices.iter().any(|device| device.owner != account.id) {
                return Err(RuleCode::Unknown
                    .because(format!("You do not own all devices of site {site}"))
                    .into());
            }
        }
        let admin = ledger::account(&mut tx, to).await?;
        admin
            .ok_or_else(|| RuleCode::Unknown.because(format!("There is no account {to}")))?
            .check_may_share()?;
        ledger::add_site_admin(&mut tx, site, to).await?;
        tx.commit().await?;
        Ok(())
    }
}

/// Identifies the registration of a device.
pub(crate) fn registration_id(device: &Device) -> StatementId {
    StatementId {
        audience: device.audience(),
        kind: Kind::Registration,
        name: String::new(),
    }
}
