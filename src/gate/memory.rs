//! What must never be forgotten. The event log is its only source: it is folded from the
//! records at start, and by the same records while running.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};

use super::replay::Windows;
use crate::wire::{Audience, Bytes, Hash, KeyBytes, Operation, Role, Timestamp};

/// The newest accepted statement of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Mark {
    /// Sequence number; 0 when the keys of its role have changed since.
    #[n(0)]
    pub seq: u64,
    /// SHA-256 of its claims.
    #[n(1)]
    pub hash: Hash,
    /// When it was made.
    #[n(2)]
    pub made: Timestamp,
}

/// Most times that are kept for one rate; a rate counts to 100 at most.
const MAX_RECENT: usize = 100;

/// Most shares and operations whose times are kept.
pub(super) const MAX_RATES: usize = 1024;

/// What a share remembers of a command that it has allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Charge {
    /// Nothing.
    #[n(0)]
    No,
    /// That there was one more.
    #[n(1)]
    Counted,
    /// That, and when.
    #[n(2)]
    Timed,
}

/// Replay memory, use counts, sequence numbers, local endings, and the time floor.
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
    /// The newest roster of each group, by the group's key.
    pub rosters: BTreeMap<KeyBytes, Mark>,
    /// Shares that were ended on the device itself, with the end that they had.
    pub ended: BTreeMap<Bytes<16>, Timestamp>,
    /// Until when the owner has suspended all sharing.
    pub frozen: Option<Timestamp>,
    /// How many commands each counted share has allowed.
    pub uses: BTreeMap<Bytes<16>, u32>,
    /// When each rate-limited share last allowed an operation, oldest first.
    pub recent: BTreeMap<(Bytes<16>, Operation), Vec<Timestamp>>,
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
            rosters: BTreeMap::new(),
            ended: BTreeMap::new(),
            frozen: None,
            uses: BTreeMap::new(),
            recent: BTreeMap::new(),
            floor: Timestamp(0),
        }
    }

    /// Charges a command to the share that allowed it. Never taken back, whatever became of
    /// the command.
    pub fn charge(
        &mut self,
        charge: Charge,
        share: Bytes<16>,
        operation: &Operation,
        at: Timestamp,
    ) {
        if charge == Charge::No {
            return;
        }
        let uses = self.uses.entry(share).or_insert(0);
        *uses = uses.saturating_add(1);
        if charge == Charge::Counted {
            return;
        }
        let times = self.recent.entry((share, operation.clone())).or_default();
        times.push(at);
        if times.len() > MAX_RECENT {
            times.remove(0);
        }
    }

    /// Lets go of times that no rate can ask for any more.
    pub fn prune(&mut self, now: Timestamp) {
        const LONGEST_RATE: u64 = 31 * 86400;
        self.recent.retain(|_, times| {
            times.retain(|time| now.since(*time) < LONGEST_RATE);
            !times.is_empty()
        });
    }

    /// After the keys of a role have changed, its statements count from 1 again. What was
    /// accepted stays known by its hash.
    pub fn reset(&mut self, role: Role) {
        match role {
            Role::Registry => {
                if let Some(mark) = &mut self.registration {
                    mark.seq = 0;
                }
            }
            Role::Revocations => {
                for mark in self.revocations.values_mut() {
                    mark.seq = 0;
                }
            }
            Role::Root | Role::Shares | Role::Firmware => {}
        }
    }
}
