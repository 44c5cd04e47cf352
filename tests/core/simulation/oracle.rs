//! The promises of the device, checked at every effect.

use std::collections::{BTreeMap, BTreeSet};

use doorward_protocol::event_log::record::{Event, Record};
use doorward_protocol::gate::{Permit, UsageAccounting};
use doorward_protocol::wire::*;

use doorward_testkit::*;

/// A share, as the issuer knows it.
struct Truth {
    share: Share,
    ended: bool,
    used: u32,
}

#[derive(Default)]
pub(crate) struct Oracle {
    shares: BTreeMap<Bytes<16>, Truth>,
    ran: BTreeMap<Hash, Class>,
    /// In-memory reads since the last start, and those from before it, which may run again.
    in_memory_reads: BTreeSet<Hash>,
    may_run_again: BTreeSet<Hash>,
    /// True outcomes of the operations that ended. A failed reboot is also done if the power was cut
    /// afterwards.
    true_outcomes: BTreeMap<Hash, Vec<Outcome>>,
    ended: BTreeMap<Hash, Vec<u8>>,
    frozen: bool,
    /// Latest signed time that the device has acknowledged.
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

    /// The device has acknowledged a list, so its revocations must stay in force.
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

    /// The device has stopped, or restarted its core after a failed write.
    pub(crate) fn on_restart(&mut self) {
        self.may_run_again.append(&mut self.in_memory_reads);
    }

    /// An operation starts.
    pub(crate) fn on_run(&mut self, permit: &Permit) {
        let caller = permit.caller();
        let before = self.ran.insert(caller.command, permit.class());
        // An in-memory read may start before it is recorded, and again after a crash.
        let again = self.may_run_again.remove(&caller.command);
        assert!(before.is_none() || again, "it ran twice: {permit:?}");
        if is_in_memory_read(permit) {
            self.in_memory_reads.insert(caller.command);
        }
        assert!(
            !self.ended.contains_key(&caller.command),
            "it ran after its outcome: {permit:?}"
        );
        let Some(id) = permit.share() else {
            assert_eq!(caller.key, key("ole").public(), "no right to {permit:?}");
            return;
        };
        let truth = self.shares.get_mut(&id).expect("an issued share");
        let share = &truth.share;
        assert_eq!(caller.key, share.cnf.0, "the share of another holder");
        assert!(share.body.permissions.get(&caller.operation).is_some());
        assert!(!truth.ended, "a revoked share is still valid: {permit:?}");
        assert!(
            share.exp > self.floor,
            "an expired share is still valid: {permit:?}"
        );
        assert!(!self.frozen, "a frozen share is still valid: {permit:?}");
        truth.used += 1;
        let uses = share.body.limits.as_ref().and_then(|limits| limits.uses);
        assert!(
            uses.is_none_or(|uses| truth.used <= uses),
            "more uses than allowed: {permit:?}"
        );
    }

    /// An operation ends, whether or not the device is notified.
    pub(crate) fn on_outcome(&mut self, command: Hash, outcome: Outcome) {
        self.true_outcomes.entry(command).or_default().push(outcome);
    }

    /// A receipt is published.
    pub(crate) fn on_receipt(&mut self, bytes: &[u8]) -> Receipt {
        let receipt = receipt(bytes);
        let command = receipt.body.command;
        let over = matches!(
            receipt.body.outcome,
            Outcome::Done | Outcome::Failed | Outcome::Unknown
        );
        if over {
            let truth = self
                .true_outcomes
                .get(&command)
                .map_or(&[][..], |truth| truth);
            let plausible = match receipt.body.outcome {
                Outcome::Unknown => true,
                reported => match self.ran.get(&command) {
                    Some(Class::Read) => reported == Outcome::Failed || truth.contains(&reported),
                    Some(_) => truth.contains(&reported),
                    None => true,
                },
            };
            assert!(plausible, "the true outcome is {truth:?}: {receipt:?}");
            let first = self.ended.entry(command).or_insert_with(|| bytes.to_vec());
            assert!(
                first == bytes,
                "two outcomes of one command: {:?} and {receipt:?}",
                doorward_testkit::receipt(first)
            );
        }
        receipt
    }

    /// The device publishes its state. No number decreases, and the epoch stays unless the log was
    /// lost.
    pub(crate) fn on_state(&mut self, bytes: &[u8]) {
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

    pub(crate) fn on_log_lost(&mut self) {
        self.epoch = None;
    }

    /// Checks that every allowed command in the log has exactly one outcome, and no other command has
    /// one.
    pub(crate) fn check_log(&self, records: &[Record]) {
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
                    assert!(
                        open.remove(&verdict.command),
                        "an outcome without a command"
                    );
                    assert!(over.insert(verdict.command), "two outcomes");
                }
                _ => {}
            }
        }
        assert!(
            open.is_empty(),
            "{} commands without an outcome",
            open.len()
        );
    }
}

/// Returns whether an operation may start before it is recorded.
pub(crate) fn is_in_memory_read(permit: &Permit) -> bool {
    permit.caller().operation.as_str() == "status.read"
        && permit.accounting() == UsageAccounting::None
}
