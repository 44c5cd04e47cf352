//! What must never be forgotten. The event log is its only source: it is folded from the
//! records at start, and by the same records while running.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};

use super::replay::Windows;
use crate::wire::{Audience, Bytes, Hash, Timestamp};

/// The newest accepted statement of its kind: sequence number and hash of its envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Mark {
    /// Sequence number.
    #[n(0)]
    pub seq: u64,
    /// SHA-256 of the envelope.
    #[n(1)]
    pub hash: Hash,
}

/// Replay memory, sequence numbers and the time floor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    /// Changes only when this memory was lost, which ends every older command.
    pub epoch: Bytes<16>,
    /// Which commands were seen.
    pub windows: Windows,
    /// The newest registration.
    pub registration: Option<Mark>,
    /// The newest revocation list of each audience.
    pub revocations: BTreeMap<Audience, Mark>,
    /// The time before which it cannot be.
    pub floor: Timestamp,
}

impl Memory {
    /// An empty memory under a new epoch of 16 random bytes.
    #[must_use]
    pub fn new(epoch: Bytes<16>) -> Self {
        Self {
            epoch,
            windows: Windows::default(),
            registration: None,
            revocations: BTreeMap::new(),
            floor: Timestamp(0),
        }
    }
}
