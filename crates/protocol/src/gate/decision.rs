//! The decision as a value. Starting an operation requires the [`Permit`] in it.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::gate::authorization::Granted;
use crate::gate::{Code, UsageAccounting};
use crate::wire::{Bytes, Class, Hash, Id, KeyBytes, Map, Operation, Release, Text, Value};

/// The link over which a message arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// The cloud's broker.
    Cloud,
    /// The site's own network.
    Local,
}

impl Origin {
    /// The name in the log and in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cloud => "cloud",
            Self::Local => "local",
        }
    }
}

/// The sender of a command whose signature was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The holder's key.
    pub key: KeyBytes,
    /// The account that the key belongs to.
    pub person: Id,
    /// The client instance of the holder.
    pub instance: Bytes<4>,
    /// The instance's counter.
    pub counter: u64,
    /// SHA-256 of the command's envelope.
    pub command: Hash,
    /// The requested operation.
    pub operation: Operation,
    /// The link over which the command arrived.
    pub origin: Origin,
}

/// The value that is required to start an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    caller: Caller,
    share: Option<Bytes<16>>,
    charged: UsageAccounting,
    approvers: Vec<KeyBytes>,
    class: Class,
    args: Map<Text, Value>,
    release: Option<Box<Release>>,
}

impl Permit {
    /// The usage that the share records for this command.
    #[must_use]
    pub fn accounting(&self) -> UsageAccounting {
        self.charged
    }

    /// The sender and its command.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The share that allowed the command; `None` for the owner.
    #[must_use]
    pub fn share(&self) -> Option<Bytes<16>> {
        self.share
    }

    /// The keys of the people whose approval the command required.
    #[must_use]
    pub fn approvers(&self) -> &[KeyBytes] {
        &self.approvers
    }

    /// The class of the operation.
    #[must_use]
    pub fn class(&self) -> Class {
        self.class
    }

    /// The arguments of the command.
    #[must_use]
    pub fn args(&self) -> &Map<Text, Value> {
        &self.args
    }

    /// The firmware release that the command refers to.
    #[must_use]
    pub fn release(&self) -> Option<&Release> {
        self.release.as_deref()
    }
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// The reason.
    pub code: Code,
    /// The sender; `None` if the signature was not verified, and no receipt is sent then.
    pub caller: Option<Caller>,
}

/// The result of [`decide()`](crate::gate::decide()).
#[must_use = "a decision that is not checked protects nothing"]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The command may run, once.
    Allowed(Permit),
    /// The command must not run.
    Denied(Denial),
    /// The result of a dry run.
    DryRun(DryRun),
}

/// The decision that a command would have got. It contains no permit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DryRun {
    /// The sender.
    pub caller: Caller,
    /// The reason for which the command would be denied, if any.
    pub code: Option<Code>,
}

impl Permit {
    /// Creates a permit; only `decide` calls this.
    pub(super) fn new(
        caller: Caller,
        granted: Granted,
        class: Class,
        args: Map<Text, Value>,
        release: Option<Box<Release>>,
    ) -> Self {
        Self {
            caller,
            share: granted.share,
            charged: granted.charged,
            approvers: granted.approvers,
            class,
            args,
            release,
        }
    }
}
