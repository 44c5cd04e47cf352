//! The decision as a value: to start an operation you need the [`Permit`] in it.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::gate::authorization::Granted;
use crate::gate::{Code, UsageAccounting};
use crate::wire::{Bytes, Class, Hash, Id, KeyBytes, Map, Operation, Release, Text, Value};

/// Which way a message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// Through the cloud's broker.
    Cloud,
    /// From the site's own network.
    Local,
}

impl Origin {
    /// The word in the log and in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cloud => "cloud",
            Self::Local => "local",
        }
    }
}

/// Who sent a command, once the signature has been verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The holder's key.
    pub key: KeyBytes,
    /// The account behind it.
    pub person: Id,
    /// Which of the holder's clients.
    pub instance: Bytes<4>,
    /// Its counter.
    pub counter: u64,
    /// SHA-256 of the command.
    pub command: Hash,
    /// What was asked.
    pub operation: Operation,
    /// Which way it came.
    pub origin: Origin,
}

/// What must be handed over to start an operation.
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
    /// What the share that allowed it remembers of it.
    #[must_use]
    pub fn accounting(&self) -> UsageAccounting {
        self.charged
    }

    /// Who asked for what.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The share that allowed it; `None` for the owner.
    #[must_use]
    pub fn share(&self) -> Option<Bytes<16>> {
        self.share
    }

    /// The keys of those whose consent it needed.
    #[must_use]
    pub fn approvers(&self) -> &[KeyBytes] {
        &self.approvers
    }

    /// How much the operation can do.
    #[must_use]
    pub fn class(&self) -> Class {
        self.class
    }

    /// The arguments.
    #[must_use]
    pub fn args(&self) -> &Map<Text, Value> {
        &self.args
    }

    /// The firmware that it is about.
    #[must_use]
    pub fn release(&self) -> Option<&Release> {
        self.release.as_deref()
    }
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// The code.
    pub code: Code,
    /// The sender, if the signature held; otherwise nobody is answered.
    pub caller: Option<Caller>,
}

/// Yes, with the permit to begin; or no, with the reason.
#[must_use = "a decision that nobody looks at protects nothing"]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It may run, once.
    Allowed(Permit),
    /// It may not.
    Denied(Denial),
    /// The answer to a dry run.
    DryRun(DryRun),
}

/// What a command would have come to. There is no permit in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DryRun {
    /// Who asks.
    pub caller: Caller,
    /// Why it would be denied, if it would.
    pub code: Option<Code>,
}

impl Permit {
    /// Only the decision makes permits.
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
