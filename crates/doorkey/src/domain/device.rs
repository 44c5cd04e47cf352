//! Devices as the platform knows them.

use crate::domain::error::{Refusal, RuleCode};
use crate::domain::requests::NewRegistration;
use doorward_protocol::wire::{
    Audience, Class, Confirmation, Hash, Id, KeyBytes, Operation, Plan, Registration,
    RegistrationBody, Text, Timestamp, check_device_id, hash,
};
use doorward_protocol::wire::{default_leases, default_plans};

/// Maximum number of users of a device: different recipients, people or groups.
pub const SLOTS: u32 = 5;

/// A registered device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The device id.
    pub id: Id,
    /// The device's own public key.
    pub key: KeyBytes,
    /// The owner's account.
    pub owner: Id,
    /// The owner's public key.
    pub owner_key: KeyBytes,
    /// The model.
    pub model: Text,
    /// The region of the platform.
    pub region: Id,
    /// The site, if any.
    pub site: Option<Id>,
    /// The plan.
    pub plan: Plan,
    /// Whether it is a demonstration device, which cannot be shared.
    pub demo: bool,
    /// Sequence number of the registration.
    pub seq: u64,
    /// Start of the current ownership.
    pub since: Timestamp,
    /// When the registration was issued.
    pub made: Timestamp,
    /// The operations that the device offers, from its signed `state`; empty before the first one.
    pub operations: Vec<Operation>,
    /// Sequence number of the registration that the device has confirmed.
    pub applied: u64,
    /// Time of the newest signed `state` of the device; 0 if there is none.
    pub seen: Timestamp,
}

impl Device {
    /// A device that is not registered yet: sequence number 0, no reports.
    #[must_use]
    pub fn new(new: NewRegistration, now: Timestamp) -> Self {
        Self {
            id: new.device,
            key: new.device_key,
            owner: new.owner,
            owner_key: new.owner_key,
            model: new.model,
            region: new.region,
            site: new.site,
            plan: new.plan,
            demo: new.demo,
            seq: 0,
            since: now,
            made: now,
            operations: Vec::new(),
            applied: 0,
            seen: Timestamp(0),
        }
    }

    /// The plan in force at `now`: the lowest plan once the device's own has ended.
    #[must_use]
    pub fn plan_at(&self, now: Timestamp) -> Id {
        let table = default_plans();
        match self.plan.end {
            Some(end) if end <= now => table.lowest().unwrap_or(&self.plan.name).clone(),
            _ => self.plan.name.clone(),
        }
    }

    /// Whether the plan in force at `now` includes an operation.
    #[must_use]
    pub fn includes(&self, operation: &Operation, now: Timestamp) -> bool {
        default_plans().includes(&self.plan_at(now), operation)
    }

    /// Checks that the device may be shared.
    ///
    /// # Errors
    /// [`RuleCode::Demo`], [`RuleCode::Plan`].
    pub fn check_may_be_shared(&self, now: Timestamp) -> Result<(), Refusal> {
        if self.demo {
            let why = format!("{} is a demonstration device and cannot be shared", self.id);
            return Err(RuleCode::Demo.because(why));
        }
        if !default_plans().includes_sharing(&self.plan_at(now)) {
            let why = format!("The plan of {} does not include sharing", self.id);
            return Err(RuleCode::Plan.because(why));
        }
        Ok(())
    }

    /// The registration statement for the device in its present form.
    #[must_use]
    pub fn registration(&self, iss: &Id) -> Registration {
        Registration {
            iss: iss.clone(),
            sub: self.owner.clone(),
            aud: self.audience(),
            iat: self.made.max(self.since),
            cnf: Confirmation(self.owner_key),
            body: RegistrationBody {
                format: 1,
                seq: self.seq,
                device: self.key,
                region: self.region.clone(),
                model: self.model.clone(),
                site: self.site.clone(),
                plan: self.plan.clone(),
                table: default_plans(),
                demo: self.demo,
                slots: SLOTS,
                leases: default_leases(),
                since: self.since,
                ages: None,
            },
        }
    }

    /// The device as an audience.
    #[must_use]
    pub fn audience(&self) -> Audience {
        Audience::Device(self.id.clone())
    }

    /// The audiences whose statements apply to the device: itself, and its site if it has one.
    #[must_use]
    pub fn audiences(&self) -> Vec<Audience> {
        let site = self.site.clone().map(Audience::Site);
        [self.audience()].into_iter().chain(site).collect()
    }
}

/// The longest time that a share stays usable without an update of the revocation list, in
/// seconds: the maximum of the default leases.
#[must_use]
pub(crate) fn longest_lease() -> u64 {
    let leases = default_leases();
    Class::ALL
        .iter()
        .filter_map(|class| leases.get(class).copied())
        .max()
        .unwrap_or(0)
}

/// The hash of a claim secret that the database stores.
#[must_use]
pub fn claim_hash(device: &Id, secret: &str) -> Hash {
    hash(format!("doorward claim v1\n{device}\n{}", secret.trim()).as_bytes())
}

/// Checks that a device can have this id.
///
/// # Errors
/// If the id would be taken for a site.
pub fn check_device(id: &Id) -> Result<(), Refusal> {
    check_device_id(id).map_err(|why| RuleCode::Invalid.because(why))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use doorward_protocol::wire::Bytes;

    pub(crate) fn sample() -> Device {
        Device {
            id: Id::new("ups-7").unwrap(),
            key: Bytes([1; 32]),
            owner: Id::new("ole").unwrap(),
            owner_key: Bytes([2; 32]),
            model: Text::new("Smart-UPS").unwrap(),
            region: Id::new("eu").unwrap(),
            site: None,
            plan: Plan {
                name: Id::new("advanced").unwrap(),
                end: Some(Timestamp(1000)),
            },
            demo: false,
            seq: 1,
            since: Timestamp(10),
            made: Timestamp(10),
            operations: Vec::new(),
            applied: 0,
            seen: Timestamp(0),
        }
    }

    #[test]
    fn s19_s45_a_plan_without_sharing_and_a_demonstration_device_make_no_new_shares() {
        let device = sample();
        assert_eq!(device.check_may_be_shared(Timestamp(999)), Ok(()));
        let refusal = device.check_may_be_shared(Timestamp(1000)).unwrap_err();
        assert_eq!(refusal.rule, RuleCode::Plan);
        let demo = Device {
            demo: true,
            ..device
        };
        assert_eq!(
            demo.check_may_be_shared(Timestamp(0)).unwrap_err().rule,
            RuleCode::Demo
        );
    }

    #[test]
    fn s21_what_basic_lacks_rests_from_the_second_at_which_the_plan_ends() {
        let device = sample();
        let reboot = Operation::new("device.reboot").unwrap();
        let status = Operation::new("status.read").unwrap();
        assert!(device.includes(&reboot, Timestamp(999)));
        assert!(!device.includes(&reboot, Timestamp(1000)));
        assert!(device.includes(&status, Timestamp(1000)));
    }

    #[test]
    fn a_claim_secret_belongs_to_one_device() {
        let id = |name| Id::new(name).unwrap();
        assert_eq!(claim_hash(&id("a"), "x\n"), claim_hash(&id("a"), "x"));
        assert_ne!(claim_hash(&id("a"), "x"), claim_hash(&id("b"), "x"));
    }
}
