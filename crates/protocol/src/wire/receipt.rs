//! `receipt`, `state` and `checkpoint`: objects that the device signs with its own key.

use alloc::vec::Vec;

use minicbor::{Decode, Encode};

use crate::wire::{
    Audience, Bytes, Hash, Id, Kind, Map, Object, Operation, Text, Timestamp, Value,
};

/// The progress or result of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Outcome {
    /// Denied; it has not run.
    #[n(0)]
    Denied,
    /// Recorded; it has not started.
    #[n(1)]
    Accepted,
    /// Started.
    #[n(2)]
    Executing,
    /// Completed successfully.
    #[n(3)]
    Done,
    /// Failed, or not started.
    #[n(4)]
    Failed,
    /// It was running when the device stopped, and its result is not known.
    #[n(5)]
    Unknown,
    /// Result of a dry run: it would be allowed.
    #[n(6)]
    Allowed,
}

impl Outcome {
    /// The name for people and scripts.
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
    /// Number of records ever written.
    #[n(0)]
    pub size: u64,
    /// SHA-256 of the last record.
    #[n(1)]
    pub hash: Hash,
}

/// The device status that a holder needs to sign commands.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DeviceStanding {
    /// The epoch; changes only when the device has lost its replay protection state.
    #[n(0)]
    pub epoch: Bytes<16>,
    /// The kernel's boot id.
    #[n(1)]
    pub boot: Bytes<16>,
    /// Seconds since that boot.
    #[n(2)]
    pub uptime: u64,
    /// Quality of time: 0 none, 1 floor only, 2 unsigned clock, 3 signed time in this boot.
    #[n(3)]
    pub quality: u8,
    /// Sequence number of the registration; 0 if there is none.
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
    /// The private claim.
    #[n(-65537)]
    pub body: ReceiptBody,
}

/// The private claim of `receipt`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ReceiptBody {
    /// Format version: 1.
    #[n(0)]
    pub format: u64,
    /// SHA-256 of the command's envelope.
    #[n(1)]
    pub command: Hash,
    /// The outcome.
    #[n(2)]
    pub outcome: Outcome,
    /// The reason, as a code of `docs/protocol.md`; absent after success.
    #[n(3)]
    pub code: Option<Id>,
    /// Details for people.
    #[n(4)]
    pub detail: Option<Text>,
    /// The result of the operation.
    #[n(5)]
    pub result: Map<Text, Value>,
    /// The device status at that time.
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
    /// The private claim.
    #[n(-65537)]
    pub body: StateBody,
}

/// The private claim of `state`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct StateBody {
    /// Format version: 1.
    #[n(0)]
    pub format: u64,
    /// The device status at that time.
    #[n(1)]
    pub standing: DeviceStanding,
    /// The operations that the device offers.
    #[n(2)]
    pub operations: Vec<Operation>,
    /// The log at that time.
    #[n(3)]
    pub log: LogHead,
}

impl Object for State {
    const KIND: Kind = Kind::State;

    fn format(&self) -> u64 {
        self.body.format
    }
}

/// The claims of `checkpoint`: the device's signed statement of the head of its event log.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Checkpoint {
    /// The device.
    #[n(1)]
    pub iss: Id,
    /// The device's estimate of the time.
    #[n(6)]
    pub iat: Timestamp,
    /// The private claim.
    #[n(-65537)]
    pub body: CheckpointBody,
}

/// The private claim of `checkpoint`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CheckpointBody {
    /// Format version: 1.
    #[n(0)]
    pub format: u64,
    /// The log at that time.
    #[n(1)]
    pub log: LogHead,
    /// The epoch.
    #[n(2)]
    pub epoch: Bytes<16>,
}

impl Object for Checkpoint {
    const KIND: Kind = Kind::Checkpoint;

    fn format(&self) -> u64 {
        self.body.format
    }
}
