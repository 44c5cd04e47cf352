//! Records of the event log: deterministic CBOR, each with the hash of the previous one.

use alloc::vec::Vec;

use minicbor::{Decode, Encode};

use crate::gate::{Code, SeqMark, TimeProof, UsageAccounting, Window};
use crate::wire::{
    Audience, Bytes, Class, DeviceStanding, Hash, Id, KeyBytes, LogHead, Map, Operation, Outcome,
    Receipt, ReceiptBody, Role, Text, Timestamp, Value, WireError, decode_exact, to_bytes,
};

/// Maximum size of a record, in bytes. The largest possible one is a snapshot of full tables.
pub const MAX_RECORD: usize = 1 << 21;

/// One record.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Record {
    /// Sequence number, from 0.
    #[n(0)]
    pub seq: u64,
    /// SHA-256 of the previous record; zero for the first.
    #[n(1)]
    pub previous: Hash,
    /// The device's estimate of the time.
    #[n(2)]
    pub at: Timestamp,
    /// Quality of that estimate, see [`DeviceStanding::quality`].
    #[n(3)]
    pub quality: u8,
    /// The event.
    #[n(4)]
    pub event: Event,
}

/// The event of a record.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Event {
    /// The complete state, so that earlier segments can be deleted.
    #[n(0)]
    Snapshot(#[n(0)] Snapshot),
    /// The replay state was reset, with the new epoch and the reason.
    #[n(1)]
    Epoch(#[n(0)] Bytes<16>, #[n(1)] Text),
    /// A statement was accepted.
    #[n(2)]
    Statement(#[n(0)] StatementRecord),
    /// A command was allowed; it has not started.
    #[n(3)]
    Intent(#[n(0)] Intent),
    /// A command was started, with the boot id; from here on it may have taken effect.
    #[n(4)]
    Executing(#[n(0)] Hash, #[n(1)] Bytes<16>),
    /// A command ended.
    #[n(5)]
    Outcome(#[n(0)] CommandOutcome),
    /// A command of a known sender was denied.
    #[n(6)]
    Denied(#[n(0)] CommandRef, #[n(1)] CommandOutcome),
    /// Lower bound of the current time from the monotonic clock.
    #[n(7)]
    Counted(#[n(0)] Timestamp),
    /// Number of further commands of one sender that were denied and not recorded individually.
    #[n(8)]
    DeniedMore(#[n(0)] Sender, #[n(1)] u64),
}

/// The sender of denied commands.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Sender {
    /// The holder's key.
    #[n(0)]
    pub holder: KeyBytes,
    /// The account that the key belongs to.
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
    /// Its subject: the recipient of a share, a group, a device, a platform.
    #[n(1)]
    pub about: Id,
    /// Its sequence number or version.
    #[n(2)]
    pub seq: u64,
    /// SHA-256 of its claims.
    #[n(3)]
    pub hash: Hash,
    /// Its audience, if it has one.
    #[n(4)]
    pub audience: Option<Audience>,
    /// The group's key, if it is a roster or a share with a group.
    #[n(5)]
    pub group: Option<KeyBytes>,
    /// Roles whose keys it changed.
    #[n(6)]
    pub roles: Vec<Role>,
    /// Its time of issue.
    #[n(7)]
    pub issued_at: Timestamp,
    /// Roles of which no old key remains.
    #[n(8)]
    pub replaced: Vec<Role>,
}

/// A command and its sender.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CommandRef {
    /// SHA-256 of the command.
    #[n(0)]
    pub command: Hash,
    /// The holder's key.
    #[n(1)]
    pub holder: KeyBytes,
    /// The client instance of the holder.
    #[n(2)]
    pub instance: Bytes<4>,
    /// The instance's counter.
    #[n(3)]
    pub counter: u64,
    /// The operation.
    #[n(4)]
    pub operation: Operation,
    /// Whether its origin is local.
    #[n(5)]
    pub local: bool,
    /// The account that the key belongs to.
    #[n(6)]
    pub person: Id,
}

/// A command that was allowed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Intent {
    /// The command and its sender.
    #[n(0)]
    pub asked: CommandRef,
    /// The share that allowed it; absent for the owner.
    #[n(1)]
    pub share: Option<Bytes<16>>,
    /// The class of the operation.
    #[n(2)]
    pub class: Class,
    /// The usage that the share records.
    #[n(3)]
    pub charged: UsageAccounting,
    /// The firmware version that it refers to.
    #[n(4)]
    pub version: Option<u32>,
}

/// A change by the owner or a holder on the device itself.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Change {
    /// A share was ended; with its expiry.
    #[n(0)]
    Ended(#[n(0)] Bytes<16>, #[n(1)] Timestamp),
    /// All sharing is suspended until this time.
    #[n(1)]
    Frozen(#[n(0)] Timestamp),
    /// The suspension has ended.
    #[n(2)]
    Unfrozen,
    /// The records before this one are stored elsewhere and can be deleted.
    #[n(3)]
    Acknowledged(#[n(0)] u64),
    /// The device was deleted, with its owner and all shares.
    #[n(4)]
    Deleted,
    /// The sender subscribed to notifications, by this share; `None` for the owner.
    #[n(5)]
    Subscribed(#[n(0)] Option<Bytes<16>>),
    /// The sender unsubscribed.
    #[n(6)]
    Unsubscribed,
}

/// The outcome of a command, with the content of its receipt.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CommandOutcome {
    /// SHA-256 of the command.
    #[n(0)]
    pub command: Hash,
    /// The holder's key.
    #[n(1)]
    pub holder: KeyBytes,
    /// The outcome.
    #[n(2)]
    pub outcome: Outcome,
    /// The reason.
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
    /// The change of the durable state.
    #[n(7)]
    pub change: Option<Change>,
}

/// The complete durable state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Snapshot {
    /// The epoch.
    #[n(0)]
    pub epoch: Bytes<16>,
    /// The replay windows of all clients.
    #[n(1)]
    pub windows: Vec<ClientWindow>,
    /// The newest registration.
    #[n(2)]
    pub registration: Option<SeqMark>,
    /// The newest revocation lists.
    #[n(3)]
    pub revocations: Map<Audience, SeqMark>,
    /// The time that the statements of each role prove.
    #[n(4)]
    pub proven: Map<Role, TimeProof>,
    /// Commands that have not ended.
    #[n(5)]
    pub open: Vec<PendingCommand>,
    /// The newest rosters, by the group's key.
    #[n(6)]
    pub rosters: Map<KeyBytes, SeqMark>,
    /// Shares that were ended on the device, with their expiry.
    #[n(7)]
    pub ended: Map<Bytes<16>, Timestamp>,
    /// The time until which sharing is suspended.
    #[n(8)]
    pub frozen: Option<Timestamp>,
    /// Number of commands that each counted share has allowed.
    #[n(9)]
    pub uses: Map<Bytes<16>, u32>,
    /// Times at which rate-limited shares last allowed an operation.
    #[n(10)]
    pub recent: Vec<Recent>,
    /// Number of records that are stored elsewhere.
    #[n(11)]
    pub acknowledged: u64,
    /// Times at which operations that reboot the machine were last started; absent if there are
    /// none.
    #[n(12)]
    pub reboots: Option<Vec<Timestamp>>,
    /// SHA-256 of the registration under which the device was deleted.
    #[n(13)]
    pub deleted: Option<Hash>,
    /// Subscribers to notifications by key, with their share; absent if there are none.
    #[n(14)]
    pub subscribers: Option<Map<KeyBytes, Option<Bytes<16>>>>,
}

/// The times at which a rate-limited share last allowed an operation.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Recent {
    /// The share.
    #[n(0)]
    pub share: Bytes<16>,
    /// The operation.
    #[n(1)]
    pub operation: Operation,
    /// The times, oldest first.
    #[n(2)]
    pub times: Vec<Timestamp>,
}

/// The replay window of one client.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ClientWindow {
    /// The holder's key.
    #[n(0)]
    pub holder: KeyBytes,
    /// The client instance of the holder.
    #[n(1)]
    pub instance: Bytes<4>,
    /// Its replay window.
    #[n(2)]
    pub window: Window,
}

/// A command that was allowed and has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct PendingCommand {
    /// The command.
    #[n(0)]
    pub intent: Intent,
    /// The id of the boot in which it was started, if it was.
    #[n(1)]
    pub started_in_boot: Option<Bytes<16>>,
}

impl Record {
    /// Encodes the record to the bytes that are stored and hashed.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        to_bytes(self)
    }

    /// Decodes one record.
    ///
    /// # Errors
    /// [`WireError::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        decode_exact(bytes)
    }

    /// The head of the log whose last record is this one, with the hash of its encoding.
    #[must_use]
    pub fn head(&self, hash: Hash) -> LogHead {
        LogHead {
            size: self.seq + 1,
            hash,
        }
    }

    /// The receipt for this record, if it has one; always with the same content.
    #[must_use]
    pub fn receipt(&self, device: &Id, head: LogHead) -> Option<(KeyBytes, Receipt)> {
        let (Event::Outcome(outcome) | Event::Denied(_, outcome)) = &self.event else {
            return None;
        };
        Some((outcome.holder, outcome.receipt(device, self.at, head)))
    }
}

impl CommandOutcome {
    /// An outcome without detail, result and change.
    #[must_use]
    pub fn new(
        command: Hash,
        holder: KeyBytes,
        outcome: Outcome,
        code: Option<Code>,
        standing: DeviceStanding,
    ) -> Self {
        Self {
            command,
            holder,
            outcome,
            code: code.and_then(|code| Id::new(code.name()).ok()),
            detail: None,
            result: Map::default(),
            standing,
            change: None,
        }
    }

    /// The receipt with this outcome, for a time and a log head.
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
