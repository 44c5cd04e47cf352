//! `registration`: the owner, region, site and plan of a device.

use alloc::vec::Vec;

use minicbor::{Decode, Encode};

use crate::wire::{
    Audience, Confirmation, Id, KeyBytes, Kind, Map, Object, Operation, PublicKey, Text, Timestamp,
    WireError, check_device_id,
};

/// The class of an operation, by its possible effect. Leases are set by class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum Class {
    /// Changes nothing.
    #[n(0)]
    Read,
    /// Changes a setting.
    #[n(1)]
    Change,
    /// Disruptive: interrupts service.
    #[n(2)]
    Interrupt,
    /// Critical: may cut power or leave the device unusable.
    #[n(3)]
    Danger,
}

impl Class {
    /// Every class, the least critical first.
    pub const ALL: [Self; 4] = [Self::Read, Self::Change, Self::Interrupt, Self::Danger];

    /// The name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Change => "change",
            Self::Interrupt => "interrupt",
            Self::Danger => "danger",
        }
    }
}

/// The plan of a device.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Plan {
    /// A name from the plan table.
    #[n(0)]
    pub name: Id,
    /// From this time on, the lowest plan of the table applies.
    #[n(1)]
    pub end: Option<Timestamp>,
}

/// The lowest plan that includes each operation. It is part of the signed registration.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PlanTable {
    /// Increases with every change of the table.
    #[n(0)]
    pub version: u32,
    /// Plan names, lowest first.
    #[n(1)]
    pub plans: Vec<Id>,
    /// The index of the lowest plan for each operation, or prefix followed by `*`. The longest
    /// match applies; without a match no plan includes the operation.
    #[n(2)]
    pub minimum: Map<Text, u8>,
}

/// The entry of the plan table for sharing itself.
const SHARING: &str = "share.create";

impl PlanTable {
    /// Returns whether the plan called `plan` includes `operation`.
    #[must_use]
    pub fn includes(&self, plan: &Id, operation: &Operation) -> bool {
        self.is_included(plan, operation.as_str())
    }

    /// Returns whether new shares can be issued under the plan called `plan`.
    #[must_use]
    pub fn includes_sharing(&self, plan: &Id) -> bool {
        self.is_included(plan, SHARING)
    }

    /// The lowest plan, which applies when a device's plan has ended.
    #[must_use]
    pub fn lowest(&self) -> Option<&Id> {
        self.plans.first()
    }

    fn is_included(&self, plan: &Id, operation: &str) -> bool {
        let Some(rank) = self.plans.iter().position(|p| p == plan) else {
            return false;
        };
        let matches = |pattern: &str| match pattern.strip_suffix('*') {
            Some(prefix) => operation.starts_with(prefix),
            None => operation == pattern,
        };
        self.minimum
            .iter()
            .filter(|(pattern, _)| matches(pattern.as_str()))
            .max_by_key(|(pattern, _)| pattern.as_str().len())
            .is_some_and(|(_, &minimum)| rank >= usize::from(minimum))
    }
}

/// The claims of `registration`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Registration {
    /// The platform.
    #[n(1)]
    pub iss: Id,
    /// The owner's account.
    #[n(2)]
    pub sub: Id,
    /// The device.
    #[n(3)]
    pub aud: Audience,
    /// Time of issue.
    #[n(6)]
    pub iat: Timestamp,
    /// The owner's key.
    #[n(8)]
    pub cnf: Confirmation,
    /// The private claim.
    #[n(-65537)]
    pub body: RegistrationBody,
}

/// The private claim of `registration`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RegistrationBody {
    /// Format version: 1.
    #[n(0)]
    pub format: u64,
    /// Sequence number; strictly increases.
    #[n(1)]
    pub seq: u64,
    /// The device's own key, so that holders can verify its receipts.
    #[n(2)]
    pub device: KeyBytes,
    /// Region of the platform.
    #[n(3)]
    pub region: Id,
    /// Model of the device.
    #[n(4)]
    pub model: Text,
    /// The site it belongs to, if any.
    #[n(5)]
    pub site: Option<Id>,
    /// Its plan.
    #[n(6)]
    pub plan: Plan,
    /// The plan table.
    #[n(7)]
    pub table: PlanTable,
    /// Whether this is a demonstration device, which cannot be shared.
    #[n(8)]
    pub demo: bool,
    /// Maximum number of users: of different people or groups with valid shares.
    #[n(9)]
    pub slots: u32,
    /// Offline validity by class, in seconds: the maximum age of the last proof that a share was
    /// not revoked. Every class is present.
    #[n(10)]
    pub leases: Map<Class, u64>,
    /// Start of this ownership; shares issued earlier have ended.
    #[n(11)]
    pub since: Timestamp,
    /// Maximum age of a command by class, in seconds, if that is less than its own lifetime.
    #[n(12)]
    pub ages: Option<Map<Class, u64>>,
}

impl Object for Registration {
    const KIND: Kind = Kind::Registration;

    fn format(&self) -> u64 {
        self.body.format
    }

    fn check(&self) -> Result<(), WireError> {
        let b = &self.body;
        let Audience::Device(device) = &self.aud else {
            return Err(WireError::Malformed("a registration is for one device"));
        };
        check_device_id(device).map_err(WireError::Malformed)?;
        if !b.table.plans.contains(&b.plan.name) {
            return Err(WireError::Malformed("the plan is not in the plan table"));
        }
        if b.table.plans.len() > 8 || b.table.minimum.len() > 64 {
            return Err(WireError::Malformed("the plan table is too large"));
        }
        let valid = |(pattern, rank): (&Text, &u8)| {
            let name = pattern.as_str();
            !name.is_empty()
                && !name.strip_suffix('*').unwrap_or(name).contains('*')
                && usize::from(*rank) < b.table.plans.len()
        };
        if !b.table.minimum.iter().all(valid) {
            return Err(WireError::Malformed("the plan table has an invalid row"));
        }
        if Class::ALL.iter().any(|c| b.leases.get(c).is_none()) {
            return Err(WireError::Malformed("a class has no lease"));
        }
        if self.iat < b.since {
            return Err(WireError::Malformed(
                "the registration was issued before the ownership began",
            ));
        }
        PublicKey::new(&self.cnf.0)?;
        PublicKey::new(&b.device)?;
        Ok(())
    }
}
