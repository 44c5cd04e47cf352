//! Who owns a device: claims, registrations, plans, handovers, and its end.

use crate::IssuerError;
use crate::domain::RuleCode;
use crate::domain::account::{Account, AccountRole};
use crate::domain::device::{Device, claim_hash};
use crate::domain::share::Termination;
use crate::domain::{Actor, NewRegistration};
use crate::ledger;
use crate::ledger::{Connection, Topic};
use crate::service::platform::Platform;
use doorward_protocol::wire::{Id, KeyBytes, Kind, Plan, Role, Text, Timestamp};

/// A device that its new owner claims with the secret that came with it.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The device.
    pub device: Id,
    /// Its own key.
    pub device_key: KeyBytes,
    /// The one-time secret.
    pub secret: String,
    /// The model.
    pub model: Text,
    /// The site, if any.
    pub site: Option<Id>,
}

impl Platform {
    /// Registers a device, or registers it anew with a higher sequence number, as whoever holds
    /// the issuer's keys. Another owner begins anew: whatever was shared before has ended.
    ///
    /// # Errors
    /// If a rule forbids it or the ledger cannot be used.
    pub async fn register(
        &self,
        new: NewRegistration,
        now: Timestamp,
    ) -> Result<Device, IssuerError> {
        let audience = doorward_protocol::wire::Audience::Device(new.device.clone());
        let mut change = self.ledger.change(&[audience]).await?;
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
        if !ledger::add_account(&mut change, &owner).await? {
            ledger::set_account_key(&mut change, &owner.id, &owner.key).await?;
        }
        let before = ledger::device(&mut change, &new.device).await?;
        let device = Device::new(new, now);
        let device = self
            .put_registration(&mut change, before, device, now)
            .await?;
        change.commit().await?;
        Ok(device)
    }

    /// Gives a device its next number, ends what another owner had shared, signs and keeps it.
    pub(crate) async fn put_registration(
        &self,
        change: &mut Connection,
        before: Option<Device>,
        mut device: Device,
        now: Timestamp,
    ) -> Result<Device, IssuerError> {
        let last = ledger::last_registration(change, &device.id).await?;
        let (seq, made) = last.unwrap_or((0, Timestamp(0)));
        device.seq = seq + 1;
        let same =
            |before: &Device| before.owner == device.owner && before.owner_key == device.owner_key;
        let stays = before.as_ref().is_some_and(same);
        device.since = match &before {
            Some(before) if stays => before.since,
            // It has to be later than whatever the device knows, or it would not take it.
            _ if seq > 0 => now.max(made.plus(1)),
            _ => now,
        };
        self.reissue_site_shares(change, &device, now).await?;
        // A device judges a share by the plan of its day: those that there are were made before,
        // if only in the same second.
        let mut newest = Timestamp(0);
        for audience in device.audiences() {
            newest = newest.max(ledger::newest_token(change, &audience).await?);
        }
        device.made = now.max(device.since).max(newest.plus(1));
        if let Some(before) = before {
            device.operations = before.operations;
            device.applied = before.applied;
            device.seen = before.seen;
        }
        let registration = device.registration(self.name());
        let bytes = self.keys.sign(Role::Registry, &registration)?;
        ledger::put_device(change, &device).await?;
        ledger::put_statement(change, &registration_of(&device), &bytes).await?;
        if !stays && seq > 0 {
            let made = ledger::shares_of(change, &device.audience(), now).await?;
            let live: Vec<_> = made
                .into_iter()
                .filter(|share| share.ended.is_none())
                .collect();
            self.end(
                change,
                &device.audience(),
                &live,
                Termination::Cancelled,
                now,
            )
            .await?;
        }
        Ok(device)
    }

    /// Signs the shares of a site anew for a device that joins it: what was signed before its
    /// ownership began does not count there.
    async fn reissue_site_shares(
        &self,
        change: &mut Connection,
        device: &Device,
        now: Timestamp,
    ) -> Result<(), IssuerError> {
        let Some(site) = device
            .site
            .clone()
            .map(doorward_protocol::wire::Audience::Site)
        else {
            return Ok(());
        };
        for share in ledger::shares_of(change, &site, now).await? {
            let signed = share.is_live(now) && share.recipient.key().is_some();
            if signed && share.signed < device.since {
                let anew = crate::domain::share::ShareRecord {
                    version: share.version.saturating_add(1),
                    signed: device.since,
                    ..share
                };
                self.save_and_publish(change, &anew).await?;
            }
        }
        Ok(())
    }

    /// Keeps the claim secret of a device that will be sold: whoever shows it becomes the owner.
    ///
    /// # Errors
    /// If the ledger cannot be used.
    pub async fn add_claim(&self, device: &Id, secret: &str) -> Result<(), IssuerError> {
        let mut change = self.ledger.begin().await?;
        ledger::add_claim(&mut change, device, &claim_hash(device, secret)).await?;
        change.commit().await?;
        Ok(())
    }

    /// Registers a device to whoever shows its claim secret; a second time it is refused.
    ///
    /// # Errors
    /// If a rule forbids it or the ledger cannot be used.
    pub async fn claim(
        &self,
        owner: &Account,
        claim: Claim,
        now: Timestamp,
    ) -> Result<Device, IssuerError> {
        owner.may_share()?;
        if let Some(site) = &claim.site {
            self.may_join(owner, site).await?;
        }
        let audience = doorward_protocol::wire::Audience::Device(claim.device.clone());
        let mut change = self.ledger.change(&[audience]).await?;
        let before = ledger::device(&mut change, &claim.device).await?;
        let secret = claim_hash(&claim.device, &claim.secret);
        // Only who knows the secret hears whether it has an owner.
        if !ledger::use_claim(&mut change, &claim.device, &secret).await? {
            let why = "No device waits for an owner with that id and secret";
            return Err(RuleCode::WrongClaim.because(why).into());
        }
        if before.is_some() {
            let why = format!("{} has an owner", claim.device);
            return Err(RuleCode::AlreadyOwned.because(why).into());
        }
        let table = doorward_protocol::wire::default_plans();
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
        let device = self
            .put_registration(&mut change, None, device, now)
            .await?;
        change.commit().await?;
        Ok(device)
    }

    /// Changes what is said of a device: its plan, its site, its owner.
    async fn change_device(
        &self,
        actor: Actor<'_>,
        id: &Id,
        may: fn(&Account, &Device) -> bool,
        now: Timestamp,
        with: impl FnOnce(&mut Device),
    ) -> Result<Device, IssuerError> {
        let audience = doorward_protocol::wire::Audience::Device(id.clone());
        let mut change = self.ledger.change(&[audience]).await?;
        let before = ledger::device(&mut change, id).await?;
        let unknown = || RuleCode::Unknown.because(format!("There is no {id} of yours"));
        let before = before.ok_or_else(unknown)?;
        if let Actor::Account(account) = actor
            && !may(account, &before)
        {
            let knows = ledger::knows_of(&mut change, &account.id, &before.audiences()).await?;
            return Err(match knows || before.owner == account.id {
                true if before.owner == account.id => RuleCode::Role
                    .because("That is for operators of the platform")
                    .into(),
                true => RuleCode::NotOwner
                    .because(format!("{id} is not yours"))
                    .into(),
                false => unknown().into(),
            });
        }
        let mut device = before.clone();
        with(&mut device);
        let device = self
            .put_registration(&mut change, Some(before), device, now)
            .await?;
        change.commit().await?;
        Ok(device)
    }

    /// Puts a device on a plan. Shares stay as they are: what the plan lacks rests.
    ///
    /// # Errors
    /// If a rule forbids it or the ledger cannot be used.
    pub async fn set_plan(
        &self,
        actor: Actor<'_>,
        id: &Id,
        plan: Plan,
        now: Timestamp,
    ) -> Result<Device, IssuerError> {
        if !doorward_protocol::wire::default_plans()
            .plans
            .contains(&plan.name)
        {
            return Err(RuleCode::Invalid
                .because(format!("There is no plan {}", plan.name))
                .into());
        }
        let operator = |account: &Account, _: &Device| account.role == AccountRole::Operator;
        self.change_device(actor, id, operator, now, |device| device.plan = plan)
            .await
    }

    /// Moves a device to a site, or out of any: shares of the site reach it from then on.
    ///
    /// # Errors
    /// If a rule forbids it or the ledger cannot be used.
    pub async fn set_site(
        &self,
        actor: Actor<'_>,
        id: &Id,
        site: Option<Id>,
        now: Timestamp,
    ) -> Result<Device, IssuerError> {
        if let (Actor::Account(account), Some(site)) = (actor, &site) {
            self.may_join(account, site).await?;
        }
        let owns = |account: &Account, device: &Device| device.owner == account.id;
        self.change_device(actor, id, owns, now, |device| device.site = site)
            .await
    }

    /// Into a site of somebody else nobody can push a device: the groups there would get it, and
    /// its owner could no longer manage the site alone.
    async fn may_join(&self, account: &Account, site: &Id) -> Result<(), IssuerError> {
        let mut connection = self.ledger.read().await?;
        let audience = doorward_protocol::wire::Audience::Site(site.clone());
        let there = ledger::devices_of(&mut connection, &audience).await?;
        let sites = ledger::sites_of(&mut connection, &account.id).await?;
        match there.is_empty() || sites.contains(site) {
            true => Ok(()),
            false => {
                let why = format!("There is no {site} of yours");
                Err(RuleCode::Unknown.because(why).into())
            }
        }
    }

    /// Gives a device to somebody else: in one step every earlier share has ended.
    ///
    /// # Errors
    /// If a rule forbids it or the ledger cannot be used.
    pub async fn hand_over(
        &self,
        actor: Actor<'_>,
        id: &Id,
        to: &Id,
        now: Timestamp,
    ) -> Result<Device, IssuerError> {
        let account = ledger::account(&mut *self.ledger.read().await?, to).await?;
        let account = account
            .ok_or_else(|| RuleCode::Unknown.because(format!("There is no account {to}")))?;
        account.may_share()?;
        let owns = |account: &Account, device: &Device| device.owner == account.id;
        let device = self
            .change_device(actor, id, owns, now, |device| {
                if device.owner != account.id {
                    device.owner = account.id.clone();
                    device.owner_key = account.key;
                    // A site is the old owner's.
                    device.site = None;
                }
            })
            .await?;
        Ok(device)
    }

    /// Forgets a device. What is on it goes when its owner sends it `device.delete`.
    ///
    /// # Errors
    /// If a rule forbids it or the ledger cannot be used.
    pub async fn delete(
        &self,
        actor: Actor<'_>,
        id: &Id,
        now: Timestamp,
    ) -> Result<(), IssuerError> {
        let owns = |account: &Account, device: &Device| device.owner == account.id;
        self.change_device(actor, id, owns, now, |_| {}).await?;
        let audience = doorward_protocol::wire::Audience::Device(id.clone());
        let mut change = self.ledger.change(std::slice::from_ref(&audience)).await?;
        let shares = ledger::shares_of(&mut change, &audience, now).await?;
        let live: Vec<_> = shares
            .into_iter()
            .filter(|share| share.ended.is_none())
            .collect();
        self.end(&mut change, &audience, &live, Termination::Cancelled, now)
            .await?;
        ledger::delete_device(&mut change, id).await?;
        change.commit().await?;
        Ok(())
    }

    /// Lets somebody approve requests for a site besides the owner of its devices.
    ///
    /// # Errors
    /// If a rule forbids it or the ledger cannot be used.
    pub async fn entrust(&self, actor: Actor<'_>, site: &Id, to: &Id) -> Result<(), IssuerError> {
        let mut change = self.ledger.begin().await?;
        if let Actor::Account(account) = actor {
            let audience = doorward_protocol::wire::Audience::Site(site.clone());
            let devices = ledger::devices_of(&mut change, &audience).await?;
            if devices.is_empty() || devices.iter().any(|device| device.owner != account.id) {
                return Err(RuleCode::Unknown
                    .because(format!("There is no {site} of yours"))
                    .into());
            }
        }
        let admin = ledger::account(&mut change, to).await?;
        admin
            .ok_or_else(|| RuleCode::Unknown.because(format!("There is no account {to}")))?
            .may_share()?;
        ledger::add_site_admin(&mut change, site, to).await?;
        change.commit().await?;
        Ok(())
    }
}

/// Where a registration is kept.
pub(crate) fn registration_of(device: &Device) -> Topic {
    Topic {
        audience: device.audience(),
        kind: Kind::Registration,
        name: String::new(),
    }
}
