//! Who of those with whom a device is shared has one of its slots: the first few people or groups
//! with a live share, by its age, so that the order of arrival decides nothing. Found once, and kept
//! until something changes it.

use alloc::vec::Vec;

use alloc::collections::BTreeSet;

use crate::gate::StatementStore;
use crate::gate::authorization::{ShareContext, is_ended};
use crate::wire::{Bytes, KeyBytes, Share, Timestamp};

/// Who has a slot, and how long that is known to be so.
pub(super) struct Slots {
    /// What the device had been told when this was found.
    told: u64,
    /// From when, and until the first of the shares that hold a slot ends.
    from: Timestamp,
    until: Timestamp,
    /// The shares that hold one, oldest of each holder.
    shares: BTreeSet<Bytes<16>>,
    holders: BTreeSet<KeyBytes>,
    /// Shares that hold none because they were ended on the device, which may forget that.
    ended: Vec<Bytes<16>>,
}

impl Slots {
    fn compute(ground: &ShareContext<'_>) -> Self {
        let slots = ground.registration.body.slots as usize;
        let now = ground.now.estimate;
        let mut found = Self {
            told: ground.known.told,
            from: now,
            until: Timestamp(u64::MAX),
            shares: BTreeSet::new(),
            holders: BTreeSet::new(),
            ended: Vec::new(),
        };
        for share in ground.known.shares_by_age() {
            if found.holders.len() >= slots {
                break;
            }
            let holder = share.cnf.0;
            if share.exp <= now || found.holders.contains(&holder) {
                continue;
            }
            if ground.memory.ended.contains_key(&share.cti) {
                found.ended.push(share.cti);
                continue;
            }
            if is_ended(ground, share) {
                continue;
            }
            found.holders.insert(holder);
            found.shares.insert(share.cti);
            found.until = found.until.min(share.exp);
        }
        found
    }

    /// Whether it is still so. A share that holds no slot may end without a change.
    fn still_holds(&self, ground: &ShareContext<'_>) -> bool {
        let now = ground.now.estimate;
        let ended = &ground.memory.ended;
        let one_has_ended = match ended.len() < self.shares.len() {
            true => ended.keys().any(|id| self.shares.contains(id)),
            false => self.shares.iter().any(|id| ended.contains_key(id)),
        };
        let all_stay_ended = || self.ended.iter().all(|id| ended.contains_key(id));
        self.told == ground.known.told
            && self.from <= now
            && now < self.until
            && !one_has_ended
            && all_stay_ended()
    }
}

/// Whether a live share's holder has a slot.
pub(super) fn has_slot(ground: &ShareContext<'_>, share: &Share) -> bool {
    let mut kept = ground.known.slots.borrow_mut();
    if !kept.as_ref().is_some_and(|slots| slots.still_holds(ground)) {
        *kept = Some(Slots::compute(ground));
    }
    let slots = kept.as_ref();
    slots.is_some_and(|slots| slots.holders.contains(&share.cnf.0))
}

impl StatementStore {
    /// The device is told something that may change who has a slot.
    pub(super) fn is_told(&mut self) {
        self.told = self.told.wrapping_add(1);
    }
}
