//! `receipt`, `state` and `checkpoint`: what the device says, signed by its own key.

use alloc::vec::Vec;

use minicbor::{Decode, Encode};

use crate::wire::{
    Audience, Bytes, Hash, Id, Kind, Map, Object, Operation, Text, Timestamp, Value,
};

/// How far a command has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Outcome {
    /// Refused; it has not run.
    #[n(0)]
    Denied,
    /// Written down; it has not begun.
    #[n(1)]
    Accepted,
    /// It has begun.
    #[n(2)]
    Executing,
    /// It ran and ended well.
    #[n(3)]
    Done,
    /// It ended badly, or never began.
    #[n(4)]
    Failed,
    /// It had begun when the device stopped; nobody can say whether it ended.
    #[n(5)]
    Unknown,
    /// The answer to a dry run: it would be allowed.
    #[n(6)]
    Allowed,
}

impl Outcome {
    /// The word for people and scripts.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Accepted => "accepted",
            Self::Executing => "executing",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Allowed => "allowed",
        }
    }
}

/// The event log's size and the hash of its last record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct LogHead {
    /// How many records there have ever been.
    #[n(0)]
    pub size: u64,
    /// SHA-256 of the last one.
    #[n(1)]
    pub hash: Hash,
}

/// What a holder needs to know of the device to sign for it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DeviceStanding {
    /// Replay memory's age: changes only when that memory was lost.
    #[n(0)]
    pub epoch: Bytes<16>,
    /// The kernel's boot id.
    #[n(1)]
    pub boot: Bytes<16>,
    /// Seconds since that boot.
    #[n(2)]
    pub uptime: u64,
    /// 0 none, 1 floor only, 2 unsigned clock, 3 signed time this boot.
    #[n(3)]
    pub quality: u8,
    /// Sequence number of the registration.
    #[n(4)]
    pub registration: u64,
    /// Sequence number of each revocation list.
    #[n(5)]
    pub revocations: Map<Audience, u64>,
}

/// The claims of `receipt`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Receipt {
    /// The device.
    #[n(1)]
    pub iss: Id,
    /// The device's estimate of the time.
    #[n(6)]
    pub iat: Timestamp,
    /// The rest.
    #[n(-65537)]
    pub body: ReceiptBody,
}

/// The private claim of `receipt`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ReceiptBody {
    /// 1.
    #[n(0)]
    pub format: u64,
    /// SHA-256 of the command's envelope.
    #[n(1)]
    pub command: Hash,
    /// How far it came.
    #[n(2)]
    pub outcome: Outcome,
    /// Why, as a code of `docs/protocol.md`; absent when all is well.
    #[n(3)]
    pub code: Option<Id>,
    /// What exactly, for people.
    #[n(4)]
    pub detail: Option<Text>,
    /// What the operation returned.
    #[n(5)]
    pub result: Map<Text, Value>,
    /// The device at that moment.
    #[n(6)]
    pub standing: DeviceStanding,
    /// The log up to and including the record of this outcome.
    #[n(7)]
    pub log: LogHead,
}

impl Object for Receipt {
    const KIND: Kind = Kind::Receipt;

    fn format(&self) -> u64 {
        self.body.format
    }
}

/// The claims of `state`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct State {
    /// The device.
    #[n(1)]
    pub iss: Id,
    /// The device's estimate of the time.
    #[n(6)]
    pub iat: Timestamp,
    /// The rest.
    #[n(-65537)]
    pub body: StateBody,
}

/// The private claim of `state`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct StateBody {
    /// 1.
    #[n(0)]
    pub format: u64,
    /// The device at that moment.
    #[n(1)]
    pub standing: DeviceStanding,
    /// Operations that the device offers.
    #[n(2)]
    pub operations: Vec<Operation>,
    /// The log at that moment.
    #[n(3)]
    pub log: LogHead,
}

impl Object for State {
    const KIND: Kind = Kind::State;

    fn format(&self) -> u64 {
        self.body.format
    }
}

/// The claims of `checkpoint`: the device's word on how far its log has come.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Checkpoint {
    /// The device.
    #[n(1)]
    pub iss: Id,
    /// The device's estimate of the time.
    #[n(6)]
    pub iat: Timestamp,
    /// The rest.
    #[n(-65537)]
    pub body: CheckpointBody,
}

/// The private claim of `checkpoint`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CheckpointBody {
    /// 1.
    #[n(0)]
    pub format: u64,
    /// The log at that moment.
    #[n(1)]
    pub log: LogHead,
    /// Replay memory's age.
    #[n(2)]
    pub epoch: Bytes<16>,
}

impl Object for Checkpoint {
    const KIND: Kind = Kind::Checkpoint;

    fn format(&self) -> u64 {
        self.body.format
    }
}
