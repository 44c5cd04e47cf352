//! Records of the event log: deterministic CBOR, each holding the hash of the one before.

use alloc::vec::Vec;

use minicbor::{Decode, Encode};

use crate::gate::{SeqMark, TimeProof, UsageAccounting, Window};
use crate::wire::{
    Audience, Bytes, Class, DeviceStanding, Hash, Id, KeyBytes, LogHead, Map, Operation, Outcome,
    Receipt, ReceiptBody, Role, Text, Timestamp, Value, WireError, decode_exact, to_bytes,
};

/// Largest record that is read. A snapshot of full tables is the largest there is.
pub const MAX_RECORD: usize = 1 << 21;

/// One record.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Record {
    /// How many records came before it.
    #[n(0)]
    pub seq: u64,
    /// SHA-256 of the record before it; zero for the first.
    #[n(1)]
    pub previous: Hash,
    /// The device's estimate of the time.
    #[n(2)]
    pub at: Timestamp,
    /// Quality of that estimate, see [`Standing::quality`].
    #[n(3)]
    pub quality: u8,
    /// What happened.
    #[n(4)]
    pub event: Event,
}

/// What can happen.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Event {
    /// All that must not be forgotten, so that earlier segments may go.
    #[n(0)]
    Snapshot(#[n(0)] Snapshot),
    /// Replay memory begins anew, and why.
    #[n(1)]
    Epoch(#[n(0)] Bytes<16>, #[n(1)] Text),
    /// A statement was accepted.
    #[n(2)]
    Statement(#[n(0)] StatementRecord),
    /// A command was allowed; it has not begun.
    #[n(3)]
    Intent(#[n(0)] Intent),
    /// It begins; from here on it may have taken effect.
    #[n(4)]
    Executing(#[n(0)] Hash, #[n(1)] Bytes<16>),
    /// It ended.
    #[n(5)]
    Outcome(#[n(0)] CommandOutcome),
    /// A command of a known sender was refused.
    #[n(6)]
    Denied(#[n(0)] CommandRef, #[n(1)] CommandOutcome),
    /// So much time has passed for certain, as far as the device has counted.
    #[n(7)]
    Counted(#[n(0)] Timestamp),
    /// So many more commands of one sender were refused, and not written down one by one.
    #[n(8)]
    DeniedMore(#[n(0)] Sender, #[n(1)] u64),
}

/// Whose commands were refused.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Sender {
    /// The holder's key.
    #[n(0)]
    pub holder: KeyBytes,
    /// The account behind it.
    #[n(1)]
    pub person: Id,
}

/// A statement that was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct StatementRecord {
    /// The kind, by name.
    #[n(0)]
    pub kind: Id,
    /// Whom it is about: the recipient of a share, a group, a device, a platform.
    #[n(1)]
    pub about: Id,
    /// Its sequence number or version.
    #[n(2)]
    pub seq: u64,
    /// SHA-256 of its claims.
    #[n(3)]
    pub hash: Hash,
    /// Whom it is for, if it has an audience.
    #[n(4)]
    pub audience: Option<Audience>,
    /// The group's key, if it is a roster or a share with a group.
    #[n(5)]
    pub group: Option<KeyBytes>,
    /// Roles whose keys it changed.
    #[n(6)]
    pub roles: Vec<Role>,
    /// When it was made.
    #[n(7)]
    pub made: Timestamp,
    /// Roles of which it has left no key.
    #[n(8)]
    pub replaced: Vec<Role>,
}

/// Who asked for what.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CommandRef {
    /// SHA-256 of the command.
    #[n(0)]
    pub command: Hash,
    /// The holder's key.
    #[n(1)]
    pub holder: KeyBytes,
    /// The holder's client.
    #[n(2)]
    pub instance: Bytes<4>,
    /// Its counter.
    #[n(3)]
    pub counter: u64,
    /// The operation.
    #[n(4)]
    pub operation: Operation,
    /// Whether it came by the local link.
    #[n(5)]
    pub local: bool,
    /// The account behind the key.
    #[n(6)]
    pub person: Id,
}

/// A command that was allowed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Intent {
    /// Who asked for what.
    #[n(0)]
    pub asked: CommandRef,
    /// The share that allowed it; absent for the owner.
    #[n(1)]
    pub share: Option<Bytes<16>>,
    /// How much the operation can do.
    #[n(2)]
    pub class: Class,
    /// What the share remembers of it.
    #[n(3)]
    pub charged: UsageAccounting,
    /// The version of the firmware that it is about.
    #[n(4)]
    pub version: Option<u32>,
}

/// What the owner or a holder has changed on the device itself.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Change {
    /// A share was ended; with the end that it had.
    #[n(0)]
    Ended(#[n(0)] Bytes<16>, #[n(1)] Timestamp),
    /// All sharing is suspended until then.
    #[n(1)]
    Frozen(#[n(0)] Timestamp),
    /// Sharing goes on.
    #[n(2)]
    Unfrozen,
    /// The records before this one are kept elsewhere and may go.
    #[n(3)]
    Acknowledged(#[n(0)] u64),
    /// The device was deleted: its owner and all shares are forgotten.
    #[n(4)]
    Deleted,
    /// Whoever asked is told the news from now on, by this share; the owner by none.
    #[n(5)]
    Subscribed(#[n(0)] Option<Bytes<16>>),
    /// They are told no more.
    #[n(6)]
    Unsubscribed,
}

/// How a command ended, with all that its receipt says.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CommandOutcome {
    /// SHA-256 of the command.
    #[n(0)]
    pub command: Hash,
    /// The holder's key.
    #[n(1)]
    pub holder: KeyBytes,
    /// How far it came.
    #[n(2)]
    pub outcome: Outcome,
    /// Why.
    #[n(3)]
    pub code: Option<Id>,
    /// What exactly.
    #[n(4)]
    pub detail: Option<Text>,
    /// What it returned.
    #[n(5)]
    pub result: Map<Text, Value>,
    /// The device at that moment.
    #[n(6)]
    pub standing: DeviceStanding,
    /// What it changed in what the device remembers.
    #[n(7)]
    pub change: Option<Change>,
}

/// All that must not be forgotten.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Snapshot {
    /// The epoch.
    #[n(0)]
    pub epoch: Bytes<16>,
    /// Replay memory.
    #[n(1)]
    pub windows: Vec<ClientWindow>,
    /// The newest registration.
    #[n(2)]
    pub registration: Option<SeqMark>,
    /// The newest revocation lists.
    #[n(3)]
    pub revocations: Map<Audience, SeqMark>,
    /// What each role's statements prove of the time.
    #[n(4)]
    pub proven: Map<Role, TimeProof>,
    /// Commands that have not ended; those that have begun say in which boot.
    #[n(5)]
    pub open: Vec<PendingCommand>,
    /// The newest rosters, by the group's key.
    #[n(6)]
    pub rosters: Map<KeyBytes, SeqMark>,
    /// Shares that were ended on the device, with the end that they had.
    #[n(7)]
    pub ended: Map<Bytes<16>, Timestamp>,
    /// Until when sharing is suspended.
    #[n(8)]
    pub frozen: Option<Timestamp>,
    /// How many commands each counted share has allowed.
    #[n(9)]
    pub uses: Map<Bytes<16>, u32>,
    /// When rate-limited shares last allowed an operation.
    #[n(10)]
    pub recent: Vec<Recent>,
    /// How many records are kept elsewhere.
    #[n(11)]
    pub acknowledged: u64,
    /// When operations that boot the machine last began; absent if none did.
    #[n(12)]
    pub reboots: Option<Vec<Timestamp>>,
    /// SHA-256 of the registration under which the device was deleted.
    #[n(13)]
    pub deleted: Option<Hash>,
    /// Who is told the news, by which share; absent if nobody is.
    #[n(14)]
    pub told: Option<Map<KeyBytes, Option<Bytes<16>>>>,
}

/// When a rate-limited share last allowed an operation, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Recent {
    /// The share.
    #[n(0)]
    pub share: Bytes<16>,
    /// The operation.
    #[n(1)]
    pub operation: Operation,
    /// The times.
    #[n(2)]
    pub times: Vec<Timestamp>,
}

/// Replay memory of one client.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ClientWindow {
    /// The holder's key.
    #[n(0)]
    pub holder: KeyBytes,
    /// The holder's client.
    #[n(1)]
    pub instance: Bytes<4>,
    /// What was seen of it.
    #[n(2)]
    pub window: Window,
}

/// A command that was allowed and has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct PendingCommand {
    /// What was allowed.
    #[n(0)]
    pub intent: Intent,
    /// The boot in which it began, if it did.
    #[n(1)]
    pub started_in_boot: Option<Bytes<16>>,
}

impl Record {
    /// The bytes that are stored and hashed.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        to_bytes(self)
    }

    /// Reads one record.
    ///
    /// # Errors
    /// [`WireError::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        decode_exact(bytes)
    }

    /// The log up to and including this record, whose encoding has this hash.
    #[must_use]
    pub fn head(&self, hash: Hash) -> LogHead {
        LogHead {
            size: self.seq + 1,
            hash,
        }
    }

    /// The receipt that this record stands for, if it is one, always with the same content.
    #[must_use]
    pub fn receipt(&self, device: &Id, head: LogHead) -> Option<(KeyBytes, Receipt)> {
        let (Event::Outcome(verdict) | Event::Denied(_, verdict)) = &self.event else {
            return None;
        };
        Some((verdict.holder, verdict.receipt(device, self.at, head)))
    }
}

impl CommandOutcome {
    /// The receipt that says this, made at a time and with the log at a head.
    #[must_use]
    pub fn receipt(&self, device: &Id, at: Timestamp, head: LogHead) -> Receipt {
        Receipt {
            iss: device.clone(),
            iat: at,
            body: ReceiptBody {
                format: 1,
                command: self.command,
                outcome: self.outcome,
                code: self.code.clone(),
                detail: self.detail.clone(),
                result: self.result.clone(),
                standing: self.standing.clone(),
                log: head,
            },
        }
    }
}
