//! The state that must never be lost. The event log is its only source: it is computed from the
//! records at start, and updated by the same records while running.

use alloc::vec::Vec;

use alloc::collections::BTreeMap;

use minicbor::{Decode, Encode};

use crate::gate::Now;
use crate::gate::replay::Windows;
use crate::wire::{Audience, Bytes, Hash, KeyBytes, Operation, Role, Timestamp};

/// The newest accepted statement of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct SeqMark {
    /// Sequence number; 0 when the keys of its role have changed since.
    #[n(0)]
    pub seq: u64,
    /// SHA-256 of its claims.
    #[n(1)]
    pub hash: Hash,
    /// Its time of issue.
    #[n(2)]
    pub issued_at: Timestamp,
}

/// The lower bound of the time that the statements of one role prove.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub struct TimeProof {
    /// Time of issue of the latest statement.
    #[n(0)]
    pub signed: Timestamp,
    /// Elapsed time since it was accepted, in seconds of the monotonic clock.
    #[n(1)]
    pub since: u64,
}

impl TimeProof {
    /// The proven time.
    #[must_use]
    pub fn time(self) -> Timestamp {
        self.signed.plus(self.since)
    }
}

/// Maximum number of times recorded for one rate limit, whose count is at most 100.
const MAX_RECENT: usize = 100;

/// Maximum number of pairs of share and operation whose times are recorded.
pub(super) const MAX_RATES: usize = 1024;

/// The usage that a share records for a command that it has allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum UsageAccounting {
    /// None.
    #[n(0)]
    None,
    /// The number of uses.
    #[n(1)]
    Count,
    /// The number of uses and their times.
    #[n(2)]
    CountAndTime,
}

/// Replay windows, use counts, sequence numbers, local revocations, and the lower bound of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DurableState {
    /// Random id of this state. It changes only when the state was lost, which invalidates every
    /// older command.
    pub epoch: Bytes<16>,
    /// The counters of the commands that were received.
    pub windows: Windows,
    /// The newest registration.
    pub registration: Option<SeqMark>,
    /// The newest revocation list of each audience.
    pub revocations: BTreeMap<Audience, SeqMark>,
    /// The newest roster of each group, by the group's key.
    pub rosters: BTreeMap<KeyBytes, SeqMark>,
    /// Shares that were ended on the device itself, with their expiry.
    pub ended: BTreeMap<Bytes<16>, Timestamp>,
    /// The time until which the owner has suspended all sharing.
    pub frozen: Option<Timestamp>,
    /// Number of commands that each counted share has allowed.
    pub uses: BTreeMap<Bytes<16>, u32>,
    /// Times at which each rate-limited share last allowed an operation, oldest first.
    pub recent: BTreeMap<(Bytes<16>, Operation), Vec<Timestamp>>,
    /// The time that the statements of each role prove.
    pub proven: BTreeMap<Role, TimeProof>,
    /// Number of records of the event log that are stored elsewhere.
    pub acknowledged: u64,
    /// Subscribers to notifications by key, with the share that entitles them; `None` for the
    /// owner.
    pub subscribers: BTreeMap<KeyBytes, Option<Bytes<16>>>,
    /// SHA-256 of the registration under which the owner has deleted the device.
    pub deleted: Option<Hash>,
    /// Proven times at which operations that reboot the machine were last started, oldest first.
    pub reboots: Vec<Timestamp>,
}

/// Limit on operations that reboot the machine, against reboot loops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RebootLimit {
    /// Maximum number of reboots in `seconds`; at most [`MAX_REBOOTS`].
    pub max: usize,
    /// Length of the period, in seconds.
    pub seconds: u64,
}

/// Maximum number of reboots that are recorded.
pub const MAX_REBOOTS: usize = 16;

/// The interlock that blocks rebooting operations while the limit is reached.
pub const REBOOTS: &str = "reboots";

impl DurableState {
    /// An empty state under a new epoch of 16 random bytes.
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
            proven: BTreeMap::new(),
            acknowledged: 0,
            subscribers: BTreeMap::new(),
            deleted: None,
            reboots: Vec::new(),
        }
    }

    /// Records the start of a rebooting operation, at the proven time: with a wrong clock, reboots
    /// could be blocked for years.
    pub fn record_reboot(&mut self) {
        self.reboots.push(self.floor());
        if self.reboots.len() > MAX_REBOOTS {
            self.reboots.remove(0);
        }
    }

    /// Returns whether the maximum number of reboots is reached.
    #[must_use]
    pub fn reboot_limit_reached(&self, limit: RebootLimit, now: &Now) -> bool {
        let recent = |time: &&Timestamp| now.lower_bound.since(**time) < limit.seconds;
        self.reboots.iter().filter(recent).count() >= limit.max
    }

    /// Charges a command to the share that allowed it. A charge is final, whatever the outcome of
    /// the command.
    pub fn charge(
        &mut self,
        accounting: UsageAccounting,
        share: Bytes<16>,
        operation: &Operation,
        at: Timestamp,
    ) {
        if accounting == UsageAccounting::None {
            return;
        }
        let uses = self.uses.entry(share).or_insert(0);
        *uses = uses.saturating_add(1);
        if accounting == UsageAccounting::Count {
            return;
        }
        let times = self.recent.entry((share, operation.clone())).or_default();
        times.push(at);
        if times.len() > MAX_RECENT {
            times.remove(0);
        }
    }

    /// The lower bound of the current time that this state proves.
    #[must_use]
    pub fn floor(&self) -> Timestamp {
        let times = self.proven.values().map(|proven| proven.time());
        times.max().unwrap_or_default()
    }

    /// Records the time of an accepted statement. New issuers may also decrease the time that the
    /// root keys have proven: each version is signed by the previous one.
    pub fn record_signed_time(&mut self, role: Role, signed: Timestamp) {
        let proven = self.proven.entry(role).or_default();
        if signed >= proven.time() {
            *proven = TimeProof { signed, since: 0 };
        } else if role == Role::Root {
            proven.signed = proven.signed.min(signed);
        }
    }

    /// Records the time that the monotonic clock has reached since the latest proof.
    pub fn record_elapsed(&mut self, time: Timestamp) {
        let latest = self.proven.values_mut().max_by_key(|proven| proven.time());
        if let Some(proven) = latest
            && time > proven.time()
        {
            proven.since = time.since(proven.signed);
        }
    }

    /// Deletes times that no rate limit can refer to any more. Only proven time counts: a wrong
    /// clock must not delete them early. Local revocations stay, since an issuer may have extended
    /// the share.
    pub fn prune(&mut self) {
        const LONGEST_RATE: u64 = 31 * 86400;
        let now = self.floor();
        self.recent.retain(|_, times| {
            times.retain(|time| now.since(*time) < LONGEST_RATE);
            !times.is_empty()
        });
    }

    /// Resets the sequence numbers of a role whose keys have changed; they restart at 1. Accepted
    /// statements stay known by their hash.
    pub fn reset_seq(&mut self, role: Role) {
        self.change_marks(role, |mark| mark.seq = 0);
    }

    /// Limits the times that a role has proven to `time`, the time of issue of new issuers that
    /// contain none of its old keys.
    pub fn revoke_time(&mut self, role: Role, time: Timestamp) {
        self.change_marks(role, |mark| mark.issued_at = mark.issued_at.min(time));
        if let Some(proven) = self.proven.get_mut(&role) {
            proven.signed = proven.signed.min(time);
        }
    }

    fn change_marks(&mut self, role: Role, change: impl FnMut(&mut SeqMark)) {
        match role {
            Role::Registry => self.registration.iter_mut().for_each(change),
            Role::Revocations => self.revocations.values_mut().for_each(change),
            Role::Root | Role::Shares | Role::Firmware => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::prelude::v1::*;

    fn state(role: Role, signed: u64, since: u64) -> DurableState {
        let mut state = DurableState::new(Bytes([0; 16]));
        let signed = Timestamp(signed);
        state.proven.insert(role, TimeProof { signed, since });
        state
    }

    #[test]
    fn time_that_was_counted_is_not_taken_back() {
        let mut state = state(Role::Revocations, 5000, 70);
        state.revoke_time(Role::Revocations, Timestamp(4000));
        assert_eq!(state.floor(), Timestamp(4070));
        state.revoke_time(Role::Revocations, Timestamp(4500));
        assert_eq!(state.floor(), Timestamp(4070), "never forward");
    }

    #[test]
    fn what_is_counted_adds_to_the_latest_proof_until_a_later_one_comes() {
        let mut state = state(Role::Registry, 100, 0);
        state.record_signed_time(Role::Revocations, Timestamp(300));
        state.record_elapsed(Timestamp(390));
        state.record_elapsed(Timestamp(350));
        assert_eq!(state.floor(), Timestamp(390));
        state.record_signed_time(Role::Revocations, Timestamp(380));
        assert_eq!(state.floor(), Timestamp(390), "older than the proven time");
        state.record_signed_time(Role::Revocations, Timestamp(390));
        assert_eq!(state.proven[&Role::Revocations].since, 0);
        assert_eq!(state.proven[&Role::Registry].time(), Timestamp(100));
    }

    #[test]
    fn after_so_many_reboots_there_is_none_until_time_has_passed_for_certain() {
        let mut state = state(Role::Root, 1000, 0);
        let limit = RebootLimit {
            max: 2,
            seconds: 60,
        };
        let at = |certain| Now {
            estimate: Timestamp(9_000_000),
            lower_bound: Timestamp(certain),
            quality: 2,
            boot: Bytes([0; 16]),
            uptime: 5,
        };
        state.record_reboot();
        assert!(!state.reboot_limit_reached(limit, &at(1000)));
        state.record_elapsed(Timestamp(1010));
        state.record_reboot();
        for (certain, too_often) in [(1010, true), (1059, true), (1060, false), (900, true)] {
            assert_eq!(
                state.reboot_limit_reached(limit, &at(certain)),
                too_often,
                "{certain}"
            );
        }
        for _ in 0..20 {
            state.record_reboot();
        }
        assert_eq!(state.reboots.len(), MAX_REBOOTS);
    }

    #[test]
    fn of_each_rate_the_last_hundred_times_are_kept() {
        let mut state = state(Role::Root, 0, 0);
        let (share, reboot) = (Bytes([1; 16]), Operation::new("device.reboot").unwrap());
        for second in 0..=100 {
            let kept = state.recent.get(&(share, reboot.clone()));
            assert_eq!(kept.map_or(0, Vec::len), second);
            state.charge(
                UsageAccounting::CountAndTime,
                share,
                &reboot,
                Timestamp(second as u64),
            );
        }
        let kept = &state.recent[&(share, reboot)];
        assert_eq!((kept.len(), kept[0]), (100, Timestamp(1)));
    }

    #[test]
    fn only_root_may_correct_itself_downwards() {
        for (role, floor) in [(Role::Root, 250), (Role::Registry, 350)] {
            let mut state = state(role, 300, 50);
            state.record_signed_time(role, Timestamp(200));
            assert_eq!(state.floor(), Timestamp(floor), "{role:?}");
        }
    }

    #[test]
    fn pruning_forgets_old_times_and_nothing_else() {
        let mut state = state(Role::Root, 100 * 86400, 0);
        let (old, young) = (Timestamp(69 * 86400), Timestamp(69 * 86400 + 1));
        let reboot = Operation::new("device.reboot").unwrap();
        state.charge(UsageAccounting::CountAndTime, Bytes([1; 16]), &reboot, old);
        state.charge(
            UsageAccounting::CountAndTime,
            Bytes([2; 16]),
            &reboot,
            young,
        );
        state.ended.insert(Bytes([1; 16]), state.floor());
        state.prune();
        let left: Vec<_> = state.recent.keys().map(|(share, _)| *share).collect();
        assert_eq!(left, [Bytes([2; 16])]);
        assert_eq!(state.ended.len(), 1, "an extended share may come back");
        assert_eq!(state.uses.len(), 2, "uses are never forgotten");
    }
}
