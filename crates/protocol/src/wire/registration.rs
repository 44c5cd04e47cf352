//! `registration`: who owns a device, where it belongs, and what its plan includes.

use alloc::vec::Vec;

use minicbor::{Decode, Encode};

use crate::wire::{
    Audience, Confirmation, Id, KeyBytes, Kind, Map, Object, Operation, PublicKey, Text, Timestamp,
    WireError,
};

/// How much an operation can do. Leases are set by class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum Class {
    /// Changes nothing.
    #[n(0)]
    Read,
    /// Changes a setting.
    #[n(1)]
    Change,
    /// Interrupts service.
    #[n(2)]
    Interrupt,
    /// May cut power or leave the device unusable.
    #[n(3)]
    Danger,
}

impl Class {
    /// Every class, mildest first.
    pub const ALL: [Self; 4] = [Self::Read, Self::Change, Self::Interrupt, Self::Danger];

    /// The word in configurations.
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

/// The plan that a device is on.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Plan {
    /// A name from the plan table.
    #[n(0)]
    pub name: Id,
    /// From this time on the device is on the lowest plan of the table.
    #[n(1)]
    pub end: Option<Timestamp>,
}

/// Which plan an operation needs at least. Data, so that no vendor changes it unseen.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PlanTable {
    /// Rises with every change of the table.
    #[n(0)]
    pub version: u32,
    /// Plan names, lowest first.
    #[n(1)]
    pub plans: Vec<Id>,
    /// Operation, or the beginning of one followed by `*`, to the index of the lowest plan
    /// that includes it. The longest match counts; without a match no plan includes it.
    #[n(2)]
    pub minimum: Map<Text, u8>,
}

/// The name under which the plan table lists sharing itself.
const SHARING: &str = "share.create";

impl PlanTable {
    /// Whether the plan called `plan` includes `operation`.
    #[must_use]
    pub fn includes(&self, plan: &Id, operation: &Operation) -> bool {
        self.reaches(plan, operation.as_str())
    }

    /// Whether devices on the plan called `plan` can be shared anew.
    #[must_use]
    pub fn includes_sharing(&self, plan: &Id) -> bool {
        self.reaches(plan, SHARING)
    }

    /// The lowest plan: what a device falls to when its own ends.
    #[must_use]
    pub fn lowest(&self) -> Option<&Id> {
        self.plans.first()
    }

    fn reaches(&self, plan: &Id, operation: &str) -> bool {
        let Some(rank) = self.plans.iter().position(|p| p == plan) else {
            return false;
        };
        let matches = |pattern: &str| match pattern.strip_suffix('*') {
            Some(beginning) => operation.starts_with(beginning),
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
    /// When it was made.
    #[n(6)]
    pub iat: Timestamp,
    /// The owner's key.
    #[n(8)]
    pub cnf: Confirmation,
    /// The rest.
    #[n(-65537)]
    pub body: RegistrationBody,
}

/// The private claim of `registration`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RegistrationBody {
    /// 1.
    #[n(0)]
    pub format: u64,
    /// Strictly rises.
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
    /// What plans include.
    #[n(7)]
    pub table: PlanTable,
    /// A demo device cannot be shared.
    #[n(8)]
    pub demo: bool,
    /// How many different people or groups may hold live shares.
    #[n(9)]
    pub slots: u32,
    /// By class of operation: how many seconds a share lives on the last proof that it was
    /// not revoked. Every class is there.
    #[n(10)]
    pub leases: Map<Class, u64>,
    /// When this ownership began: shares made before it have ended.
    #[n(11)]
    pub since: Timestamp,
    /// By class of operation: how old a command may be at most, in seconds, where that is
    /// less than its own end allows.
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
        if !matches!(self.aud, Audience::Device(_)) {
            return Err(WireError::Malformed("a registration is for one device"));
        }
        if !b.table.plans.contains(&b.plan.name) {
            return Err(WireError::Malformed("a plan that its table does not list"));
        }
        if b.table.plans.len() > 8 || b.table.minimum.len() > 64 {
            return Err(WireError::Malformed("a plan table too large"));
        }
        let sound = |(pattern, rank): (&Text, &u8)| {
            let name = pattern.as_str();
            !name.is_empty()
                && !name.strip_suffix('*').unwrap_or(name).contains('*')
                && usize::from(*rank) < b.table.plans.len()
        };
        if !b.table.minimum.iter().all(sound) {
            return Err(WireError::Malformed(
                "a plan table with a row that means nothing",
            ));
        }
        if Class::ALL.iter().any(|c| b.leases.get(c).is_none()) {
            return Err(WireError::Malformed("leases without every class"));
        }
        if self.iat < b.since {
            return Err(WireError::Malformed(
                "a registration from before its ownership",
            ));
        }
        PublicKey::new(&self.cnf.0)?;
        PublicKey::new(&b.device)?;
        Ok(())
    }
}
