//! What must never happen, whatever does: the promises, checked at every effect.

use std::collections::{BTreeMap, BTreeSet};

use doorward_protocol::event_log::record::{Event, Record};
use doorward_protocol::gate::{Permit, UsageAccounting};
use doorward_protocol::wire::*;

use doorward_testkit::*;

/// A share as the issuer knows it.
struct Truth {
    share: Share,
    ended: bool,
    used: u32,
}

#[derive(Default)]
pub(crate) struct Oracle {
    shares: BTreeMap<Bytes<16>, Truth>,
    ran: BTreeMap<Hash, Class>,
    /// Those that were only looks at memory, and of them those from before a crash.
    looked: BTreeSet<Hash>,
    may_again: BTreeSet<Hash>,
    /// How operations really ended, as far as they did. One that failed to reboot has still
    /// rebooted if the power went.
    came_to: BTreeMap<Hash, Vec<Outcome>>,
    ended: BTreeMap<Hash, Vec<u8>>,
    frozen: bool,
    /// The latest signed time that the device has acknowledged.
    floor: Timestamp,
    epoch: Option<Bytes<16>>,
    lists: u64,
    registration: u64,
}

impl Oracle {
    pub(crate) fn issued(&mut self, share: &Share) {
        let known = self.shares.entry(share.cti);
        let truth = known.or_insert_with(|| Truth {
            share: share.clone(),
            ended: false,
            used: 0,
        });
        truth.share = share.clone();
    }

    /// The device has acknowledged a list, so it must never forget it.
    pub(crate) fn revoked(&mut self, shares: &[Bytes<16>], signed: Timestamp) {
        for id in shares {
            self.end(id);
        }
        self.signed(signed);
    }

    pub(crate) fn signed(&mut self, time: Timestamp) {
        self.floor = self.floor.max(time);
    }

    pub(crate) fn end(&mut self, share: &Bytes<16>) {
        self.shares.get_mut(share).unwrap().ended = true;
    }

    pub(crate) fn may_thaw(&mut self) {
        self.frozen = false;
    }

    pub(crate) fn freeze(&mut self) {
        self.frozen = true;
    }

    pub(crate) fn floor(&self) -> Timestamp {
        self.floor
    }

    /// The device has stopped, or begun anew after a failed write.
    pub(crate) fn begins_anew(&mut self) {
        self.may_again.append(&mut self.looked);
    }

    /// An operation starts.
    pub(crate) fn runs(&mut self, permit: &Permit) {
        let caller = permit.caller();
        let before = self.ran.insert(caller.command, permit.class());
        // A look at memory may begin before that is written down, and again after a crash.
        let again = self.may_again.remove(&caller.command);
        assert!(before.is_none() || again, "it ran twice: {permit:?}");
        if is_look(permit) {
            self.looked.insert(caller.command);
        }
        assert!(
            !self.ended.contains_key(&caller.command),
            "it ran after its end: {permit:?}"
        );
        let Some(id) = permit.share() else {
            assert_eq!(caller.key, key("ole").public(), "nobody allowed {permit:?}");
            return;
        };
        let truth = self.shares.get_mut(&id).expect("a share that was issued");
        let share = &truth.share;
        assert_eq!(caller.key, share.cnf.0, "somebody else's share");
        assert!(share.body.permissions.get(&caller.operation).is_some());
        assert!(!truth.ended, "a revoked share lives: {permit:?}");
        assert!(share.exp > self.floor, "an expired share lives: {permit:?}");
        assert!(!self.frozen, "a frozen share lives: {permit:?}");
        truth.used += 1;
        let uses = share.body.limits.as_ref().and_then(|limits| limits.uses);
        assert!(
            uses.is_none_or(|uses| truth.used <= uses),
            "uses came back: {permit:?}"
        );
    }

    /// An operation ends, whether the device hears of it or not.
    pub(crate) fn comes_to(&mut self, command: Hash, outcome: Outcome) {
        self.came_to.entry(command).or_default().push(outcome);
    }

    /// A receipt is on its way to its holder.
    pub(crate) fn answers(&mut self, bytes: &[u8]) -> Receipt {
        let receipt = receipt(bytes);
        let command = receipt.body.command;
        let over = matches!(
            receipt.body.outcome,
            Outcome::Done | Outcome::Failed | Outcome::Unknown
        );
        if over {
            let truth = self.came_to.get(&command).map_or(&[][..], |truth| truth);
            let honest = match receipt.body.outcome {
                Outcome::Unknown => true,
                said => match self.ran.get(&command) {
                    Some(Class::Read) => said == Outcome::Failed || truth.contains(&said),
                    Some(_) => truth.contains(&said),
                    None => true,
                },
            };
            assert!(honest, "it came to {truth:?}: {receipt:?}");
            let first = self.ended.entry(command).or_insert_with(|| bytes.to_vec());
            assert!(
                first == bytes,
                "two ends of one command: {:?} and {receipt:?}",
                doorward_testkit::receipt(first)
            );
        }
        receipt
    }

    /// The device says what it knows. Nothing of it goes back, and its epoch stays, unless
    /// its memory was lost.
    pub(crate) fn states(&mut self, bytes: &[u8]) {
        let envelope = Envelope::parse(bytes).unwrap();
        let state: State = envelope.claims().unwrap();
        let standing = state.body.standing;
        if let Some(epoch) = self.epoch {
            assert_eq!(epoch, standing.epoch, "a new epoch without a reason");
        }
        self.epoch = Some(standing.epoch);
        let list = standing.revocations.get(&device()).copied().unwrap_or(0);
        assert!(list >= self.lists, "the revocation list went back");
        assert!(standing.registration >= self.registration);
        (self.lists, self.registration) = (list, standing.registration);
    }

    pub(crate) fn assert_done(&self, command: &Hash) {
        let end = self.ended.get(command).map(|bytes| receipt(bytes));
        let outcome = end.map(|receipt| receipt.body.outcome);
        assert_eq!(outcome, Some(Outcome::Done), "the owner was not served");
    }

    pub(crate) fn memory_lost(&mut self) {
        self.epoch = None;
    }

    /// Every command of the log that was allowed has ended once, and nothing else has.
    pub(crate) fn judge(&self, records: &[Record]) {
        let mut open = BTreeSet::new();
        let mut over = BTreeSet::new();
        for record in records {
            match &record.event {
                Event::Snapshot(snapshot) => {
                    open.extend(snapshot.open.iter().map(|open| open.intent.asked.command));
                }
                Event::Intent(intent) => {
                    assert!(open.insert(intent.asked.command), "allowed twice");
                }
                Event::Outcome(verdict) => {
                    assert!(open.remove(&verdict.command), "an end of nothing");
                    assert!(over.insert(verdict.command), "ended twice");
                }
                _ => {}
            }
        }
        assert!(open.is_empty(), "{} commands never ended", open.len());
    }
}

/// Whether an operation may begin before that is written down.
pub(crate) fn is_look(permit: &Permit) -> bool {
    permit.caller().operation.as_str() == "status.read"
        && permit.accounting() == UsageAccounting::None
}
