//! What must never be forgotten. The event log is its only source: it is folded from the
//! records at start, and by the same records while running.

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
    /// When it was made.
    #[n(2)]
    pub made: Timestamp,
}

/// What the statements of one role prove of the time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub struct TimeProof {
    /// When the latest of them was signed.
    #[n(0)]
    pub signed: Timestamp,
    /// Seconds that the device has counted since it took that one.
    #[n(1)]
    pub since: u64,
}

impl TimeProof {
    /// The time that is proven.
    #[must_use]
    pub fn time(self) -> Timestamp {
        self.signed.plus(self.since)
    }
}

/// Most times that are kept for one rate; a rate counts to 100 at most.
const MAX_RECENT: usize = 100;

/// Most shares and operations whose times are kept.
pub(super) const MAX_RATES: usize = 1024;

/// What a share remembers of a command that it has allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum UsageAccounting {
    /// Nothing.
    #[n(0)]
    None,
    /// That there was one more.
    #[n(1)]
    Count,
    /// That, and when.
    #[n(2)]
    CountAndTime,
}

/// Replay memory, use counts, sequence numbers, local endings, and the time floor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DurableState {
    /// Changes only when this memory was lost, which ends every older command.
    pub epoch: Bytes<16>,
    /// Which commands were seen.
    pub windows: Windows,
    /// The newest registration.
    pub registration: Option<SeqMark>,
    /// The newest revocation list of each audience.
    pub revocations: BTreeMap<Audience, SeqMark>,
    /// The newest roster of each group, by the group's key.
    pub rosters: BTreeMap<KeyBytes, SeqMark>,
    /// Shares that were ended on the device itself, with the end that they had.
    pub ended: BTreeMap<Bytes<16>, Timestamp>,
    /// Until when the owner has suspended all sharing.
    pub frozen: Option<Timestamp>,
    /// How many commands each counted share has allowed.
    pub uses: BTreeMap<Bytes<16>, u32>,
    /// When each rate-limited share last allowed an operation, oldest first.
    pub recent: BTreeMap<(Bytes<16>, Operation), Vec<Timestamp>>,
    /// What each role's statements prove of the time.
    pub proven: BTreeMap<Role, TimeProof>,
    /// How many records of the event log are kept elsewhere.
    pub acknowledged: u64,
    /// Who is told the news, by which share; the owner by none.
    pub subscribers: BTreeMap<KeyBytes, Option<Bytes<16>>>,
    /// SHA-256 of the registration under which the owner has deleted the device.
    pub deleted: Option<Hash>,
    /// When operations that boot the machine last began, by proven time, oldest first.
    pub reboots: Vec<Timestamp>,
}

/// How often operations that boot the machine may begin, so that no loop can be made of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RebootLimit {
    /// So many times, at most [`MAX_REBOOTS`] ...
    pub max: usize,
    /// ... in so many seconds.
    pub seconds: u64,
}

/// Most beginnings of reboots that are remembered.
pub const MAX_REBOOTS: usize = 16;

/// The interlock of operations that boot the machine while it has done so too often.
pub const REBOOTS: &str = "reboots";

impl DurableState {
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
            proven: BTreeMap::new(),
            acknowledged: 0,
            subscribers: BTreeMap::new(),
            deleted: None,
            reboots: Vec::new(),
        }
    }

    /// An operation that boots the machine begins. Only proven time counts: by a wrong clock the
    /// machine could be kept from booting for years.
    pub fn record_reboot(&mut self) {
        self.reboots.push(self.floor());
        if self.reboots.len() > MAX_REBOOTS {
            self.reboots.remove(0);
        }
    }

    /// Whether it has booted as often as it may.
    #[must_use]
    pub fn reboot_limit_reached(&self, limit: RebootLimit, now: &Now) -> bool {
        let recent = |time: &&Timestamp| now.lower_bound.since(**time) < limit.seconds;
        self.reboots.iter().filter(recent).count() >= limit.max
    }

    /// Charges a command to the share that allowed it. Never taken back, whatever became of
    /// the command.
    pub fn charge(
        &mut self,
        charge: UsageAccounting,
        share: Bytes<16>,
        operation: &Operation,
        at: Timestamp,
    ) {
        if charge == UsageAccounting::None {
            return;
        }
        let uses = self.uses.entry(share).or_insert(0);
        *uses = uses.saturating_add(1);
        if charge == UsageAccounting::Count {
            return;
        }
        let times = self.recent.entry((share, operation.clone())).or_default();
        times.push(at);
        if times.len() > MAX_RECENT {
            times.remove(0);
        }
    }

    /// The time before which it cannot be, as far as this memory knows.
    #[must_use]
    pub fn floor(&self) -> Timestamp {
        let times = self.proven.values().map(|proven| proven.time());
        times.max().unwrap_or_default()
    }

    /// Takes the time of an accepted statement. New issuers may also set back what the roots
    /// have said before them: each version is signed by the one before.
    pub fn record_signed_time(&mut self, role: Role, signed: Timestamp) {
        let proven = self.proven.entry(role).or_default();
        if signed >= proven.time() {
            *proven = TimeProof { signed, since: 0 };
        } else if role == Role::Root {
            proven.signed = proven.signed.min(signed);
        }
    }

    /// Takes the time up to which the device has counted from the latest proof.
    pub fn record_elapsed(&mut self, time: Timestamp) {
        let latest = self.proven.values_mut().max_by_key(|proven| proven.time());
        if let Some(proven) = latest
            && time > proven.time()
        {
            proven.since = time.since(proven.signed);
        }
    }

    /// Lets go of times that no rate can ask for any more. Only proven time counts, since a
    /// wrong clock must not make the device forget. Local endings stay: an issuer may have
    /// extended the share since.
    pub fn prune(&mut self) {
        const LONGEST_RATE: u64 = 31 * 86400;
        let now = self.floor();
        self.recent.retain(|_, times| {
            times.retain(|time| now.since(*time) < LONGEST_RATE);
            !times.is_empty()
        });
    }

    /// After the keys of a role have changed, its statements count from 1 again. What was
    /// accepted stays known by its hash.
    pub fn reset_seq(&mut self, role: Role) {
        self.restart(role, |mark| mark.seq = 0);
    }

    /// After new issuers, signed at `time`, have left a role none of its keys, nothing that
    /// those keys have signed can be from later than that.
    pub fn revoke_time(&mut self, role: Role, time: Timestamp) {
        self.restart(role, |mark| mark.made = mark.made.min(time));
        if let Some(proven) = self.proven.get_mut(&role) {
            proven.signed = proven.signed.min(time);
        }
    }

    fn restart(&mut self, role: Role, change: impl FnMut(&mut SeqMark)) {
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

    fn memory(role: Role, signed: u64, since: u64) -> DurableState {
        let mut memory = DurableState::new(Bytes([0; 16]));
        let signed = Timestamp(signed);
        memory.proven.insert(role, TimeProof { signed, since });
        memory
    }

    #[test]
    fn time_that_was_counted_is_not_taken_back() {
        let mut memory = memory(Role::Revocations, 5000, 70);
        memory.revoke_time(Role::Revocations, Timestamp(4000));
        assert_eq!(memory.floor(), Timestamp(4070));
        memory.revoke_time(Role::Revocations, Timestamp(4500));
        assert_eq!(memory.floor(), Timestamp(4070), "never forward");
    }

    #[test]
    fn what_is_counted_adds_to_the_latest_proof_until_a_later_one_comes() {
        let mut memory = memory(Role::Registry, 100, 0);
        memory.record_signed_time(Role::Revocations, Timestamp(300));
        memory.record_elapsed(Timestamp(390));
        memory.record_elapsed(Timestamp(350));
        assert_eq!(memory.floor(), Timestamp(390));
        memory.record_signed_time(Role::Revocations, Timestamp(380));
        assert_eq!(memory.floor(), Timestamp(390), "older than what has passed");
        memory.record_signed_time(Role::Revocations, Timestamp(390));
        assert_eq!(memory.proven[&Role::Revocations].since, 0);
        assert_eq!(memory.proven[&Role::Registry].time(), Timestamp(100));
    }

    #[test]
    fn after_so_many_reboots_there_is_none_until_time_has_passed_for_certain() {
        let mut memory = memory(Role::Root, 1000, 0);
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
        memory.record_reboot();
        assert!(!memory.reboot_limit_reached(limit, &at(1000)));
        memory.record_elapsed(Timestamp(1010));
        memory.record_reboot();
        for (certain, too_often) in [(1010, true), (1059, true), (1060, false), (900, true)] {
            assert_eq!(
                memory.reboot_limit_reached(limit, &at(certain)),
                too_often,
                "{certain}"
            );
        }
        for _ in 0..20 {
            memory.record_reboot();
        }
        assert_eq!(memory.reboots.len(), MAX_REBOOTS);
    }

    #[test]
    fn of_each_rate_the_last_hundred_times_are_kept() {
        let mut memory = memory(Role::Root, 0, 0);
        let (share, reboot) = (Bytes([1; 16]), Operation::new("device.reboot").unwrap());
        for second in 0..=100 {
            let kept = memory.recent.get(&(share, reboot.clone()));
            assert_eq!(kept.map_or(0, Vec::len), second);
            memory.charge(
                UsageAccounting::CountAndTime,
                share,
                &reboot,
                Timestamp(second as u64),
            );
        }
        let kept = &memory.recent[&(share, reboot)];
        assert_eq!((kept.len(), kept[0]), (100, Timestamp(1)));
    }

    #[test]
    fn only_root_may_correct_itself_downwards() {
        for (role, floor) in [(Role::Root, 250), (Role::Registry, 350)] {
            let mut memory = memory(role, 300, 50);
            memory.record_signed_time(role, Timestamp(200));
            assert_eq!(memory.floor(), Timestamp(floor), "{role:?}");
        }
    }

    #[test]
    fn pruning_forgets_old_times_and_nothing_else() {
        let mut memory = memory(Role::Root, 100 * 86400, 0);
        let (old, young) = (Timestamp(69 * 86400), Timestamp(69 * 86400 + 1));
        let reboot = Operation::new("device.reboot").unwrap();
        memory.charge(UsageAccounting::CountAndTime, Bytes([1; 16]), &reboot, old);
        memory.charge(
            UsageAccounting::CountAndTime,
            Bytes([2; 16]),
            &reboot,
            young,
        );
        memory.ended.insert(Bytes([1; 16]), memory.floor());
        memory.prune();
        let left: Vec<_> = memory.recent.keys().map(|(share, _)| *share).collect();
        assert_eq!(left, [Bytes([2; 16])]);
        assert_eq!(memory.ended.len(), 1, "an extended share may come back");
        assert_eq!(memory.uses.len(), 2, "uses are never forgotten");
    }
}
