//! The device's slots (its maximum number of users). They belong to the people or groups with the
//! oldest valid shares, so that the order of arrival has no effect.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use crate::gate::authorization::{ShareContext, is_ended};
use crate::gate::{DurableState, Now, StatementStore};
use crate::wire::{Bytes, Class, KeyBytes, Operation, Share, Timestamp};

/// The holders of the device's slots, and the time for which this result is valid.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Slots {
    /// The generation of the statements from which this was computed.
    generation: u64,
    /// Valid from this time until the first of the shares that hold a slot ends.
    from: Timestamp,
    until: Timestamp,
    /// The oldest share of each holder.
    shares: BTreeSet<Bytes<16>>,
    holders: BTreeSet<KeyBytes>,
    /// Shares without a slot because they were ended on the device; a lost log undoes that.
    ended: Vec<Bytes<16>>,
}

/// Caches the slots until they may change. It is not part of the state and can be discarded at any
/// time.
#[derive(Debug, Clone, Default)]
pub struct SlotCache(Slots);

impl SlotCache {
    /// Returns the current holders of the slots.
    pub fn update(
        &mut self,
        statements: &StatementStore,
        state: &DurableState,
        now: &Now,
    ) -> &Slots {
        if !self.0.is_current(statements, state, now.estimate) {
            self.0 = Slots::compute(statements, state, now);
        }
        &self.0
    }
}

impl Slots {
    /// Computes the slots; without a registration there are none.
    fn compute(statements: &StatementStore, state: &DurableState, now: &Now) -> Self {
        let mut found = Self {
            generation: statements.generation,
            from: now.estimate,
            until: Timestamp(u64::MAX),
            ..Self::default()
        };
        let Some(registration) = statements.registration() else {
            return found;
        };
        let Ok(operation) = Operation::new("status.read") else {
            return found;
        };
        let none = Self::default();
        let context = ShareContext {
            statements,
            state,
            slots: &none,
            registration,
            now,
            class: Class::Read,
            operation: &operation,
        };
        for share in statements.shares_by_age() {
            if found.holders.len() >= registration.body.slots as usize {
                break;
            }
            let holder = share.cnf.0;
            if share.exp <= now.estimate || found.holders.contains(&holder) {
                continue;
            }
            if state.ended.contains_key(&share.cti) {
                found.ended.push(share.cti);
                continue;
            }
            if is_ended(&context, share) {
                continue;
            }
            found.holders.insert(holder);
            found.shares.insert(share.cti);
            found.until = found.until.min(share.exp);
        }
        found
    }

    /// Returns whether the result is still valid. A share without a slot may end without effect.
    fn is_current(
        &self,
        statements: &StatementStore,
        state: &DurableState,
        now: Timestamp,
    ) -> bool {
        let ended = &state.ended;
        let one_has_ended = match ended.len() < self.shares.len() {
            true => ended.keys().any(|id| self.shares.contains(id)),
            false => self.shares.iter().any(|id| ended.contains_key(id)),
        };
        let all_stay_ended = || self.ended.iter().all(|id| ended.contains_key(id));
        self.generation == statements.generation
            && self.from <= now
            && now < self.until
            && !one_has_ended
            && all_stay_ended()
    }

    /// Returns whether the holder of a valid share has a slot.
    pub(super) fn has_holder_of(&self, share: &Share) -> bool {
        self.holders.contains(&share.cnf.0)
    }
}

impl StatementStore {
    /// Records a change of the statements that may affect the slots.
    pub(super) fn bump_generation(&mut self) {
        self.generation = self.generation.wrapping_add(1);
    }
}
