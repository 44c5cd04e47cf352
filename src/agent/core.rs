//! The state machine. It never waits: what depends on durability is queued until the log is
//! reported durable up to the record it depends on.

use std::collections::{BTreeMap, VecDeque};

use super::journal::{Journal, asked, intent};
use super::step::{Action, Effects, Ended, Facts, Input, Topic};
use crate::gate::{
    Arrival, Caller, Code, Decision, Known, Now, Offers, Origin, Permit, Reading, Reason,
    Situation, Timekeeper, decide,
};
use crate::store::record::{Applied, Event, Verdict};
use crate::wire::{
    Bundle, Class, Envelope, Hash, Id, Kind, Map, Outcome, SecretKey, Standing, State, StateBody,
    sign,
};

/// What waits for the log.
enum Waiting {
    Act(Action),
    Begin(Hash),
}

/// The agent's state, all of it in memory; the log and the cache can bring it back.
pub struct Core {
    pub(super) key: SecretKey,
    pub(super) known: Known,
    pub(super) journal: Journal,
    pub(super) keeper: Timekeeper,
    pub(super) offers: Offers,
    pub(super) permits: BTreeMap<Hash, Box<Permit>>,
    waiting: VecDeque<(u64, Waiting)>,
    store_works: bool,
    refused: BTreeMap<Code, u64>,
}

/// Denials are no longer written down when the log is this full, in percent, so that they
/// cannot crowd out the rest.
const DENIALS_UNTIL: u64 = 50;

/// Whether a refused command is written down and so uses up its counter. What is late, or
/// from another epoch, or seen before, will be refused for ever by itself; anybody on the way
/// could repeat it without end, and none of it tells what a person wanted.
fn is_recorded(code: Code) -> bool {
    !matches!(
        code,
        Code::Epoch | Code::Replay | Code::ReplayFull | Code::TtlTooLong | Code::Late
    )
}

impl Core {
    pub(super) fn assemble(
        key: SecretKey,
        known: Known,
        journal: Journal,
        keeper: Timekeeper,
        offers: Offers,
    ) -> Self {
        Self {
            key,
            known,
            journal,
            keeper,
            offers,
            permits: BTreeMap::new(),
            waiting: VecDeque::new(),
            store_works: true,
            refused: BTreeMap::new(),
        }
    }

    /// Takes one input at the moment of `reading`.
    pub fn handle(&mut self, input: Input, reading: &Reading) -> Effects {
        let now = self.keeper.now(reading);
        let mut out = Effects::default();
        match input {
            Input::Arrived {
                origin,
                retained,
                delivery,
                payload,
            } => {
                self.arrived(origin, retained, &payload, reading, &now, &mut out);
                self.after_log(Waiting::Act(Action::Ack(delivery)), &mut out);
            }
            Input::Durable(size) => self.durable(size, &now, &mut out),
            Input::StoreFailed => {
                // What was not durable must not happen; only a restart finds out what is.
                self.store_works = false;
                self.waiting.clear();
            }
            Input::Finished(command, ended) => self.finished(command, ended, &now, &mut out),
            Input::LinkUp => self.publish_state(&now, &mut out),
        }
        out
    }

    fn arrived(
        &mut self,
        origin: Origin,
        retained: bool,
        payload: &[u8],
        reading: &Reading,
        now: &Now,
        out: &mut Effects,
    ) {
        let bundle = match Bundle::parse(payload) {
            Ok(bundle) => bundle,
            Err(error) => return self.count(error.into()),
        };
        let mut changed = false;
        for statement in bundle.statements {
            match statement {
                Ok(envelope) => changed |= self.statement(&envelope, reading, now, out),
                Err(error) => self.count(error.into()),
            }
        }
        if changed {
            self.publish_state(now, out);
        }
        if let Some(envelope) = &bundle.command {
            let arrival = Arrival {
                envelope,
                origin,
                retained,
            };
            self.command(&arrival, now, out);
        }
    }

    fn statement(
        &mut self,
        envelope: &Envelope<'_>,
        reading: &Reading,
        now: &Now,
        out: &mut Effects,
    ) -> bool {
        let memory = &self.journal.memory;
        let installed = match self.known.install(envelope, memory, now.estimate) {
            Ok(Some(installed)) => installed,
            Ok(None) => return false,
            Err(code) => {
                self.count(code);
                return false;
            }
        };
        if let Some(iat) = installed.signed_time {
            self.keeper.signed(iat, reading);
        }
        if installed.kind == Kind::Registration {
            out.batch.registration = Some(envelope.bytes().to_vec());
            let site = Action::Site(self.known.site().cloned());
            self.after_log(Waiting::Act(site), out);
        } else {
            out.batch
                .put
                .push((installed.name.clone(), envelope.bytes().to_vec()));
        }
        out.batch.remove.extend(installed.dropped.iter().cloned());
        if let Some(event) = statement_event(&installed) {
            self.journal.append(event, now, &mut out.batch);
        }
        true
    }

    fn command(&mut self, arrival: &Arrival<'_>, now: &Now, out: &mut Effects) {
        let hash = arrival.envelope.hash();
        if !arrival.retained && (self.journal.open.contains_key(&hash) || self.repeat(hash, out)) {
            return;
        }
        let mut decision = self.decide(arrival, now);
        if matches!(&decision, Decision::Denied(reason) if reason.code == Code::ReplayFull) {
            let known = &self.known;
            let windows = &mut self.journal.memory.windows;
            windows.retain(|key| known.authority(key).is_some());
            decision = self.decide(arrival, now);
        }
        match decision {
            Decision::Allowed(permit) => {
                let event = Event::Intent(intent(&permit));
                self.journal.append(event, now, &mut out.batch);
                self.permits.insert(hash, permit);
                self.after_log(Waiting::Begin(hash), out);
            }
            Decision::Denied(Reason { code, caller }) => {
                self.count(code);
                if let Some(caller) = caller {
                    self.deny(code, &caller, now, out);
                }
            }
        }
    }

    /// Answers a command that came before with the receipt that it got then.
    fn repeat(&mut self, command: Hash, out: &mut Effects) -> bool {
        let Some((holder, receipt)) = self.journal.receipt(&command) else {
            return false;
        };
        let publish = Action::Publish(Topic::Receipts(*holder), sign(receipt, &self.key));
        self.count(Code::Replay);
        self.after_log(Waiting::Act(publish), out);
        true
    }

    fn decide(&self, arrival: &Arrival<'_>, now: &Now) -> Decision {
        let interrupting = self
            .journal
            .open
            .values()
            .any(|open| open.intent.class >= Class::Interrupt);
        let situation = Situation {
            now: *now,
            offers: &self.offers,
            interrupting,
            pending: self.journal.open.len(),
            log_used: self.journal.used(),
            store_works: self.store_works,
        };
        decide(&self.known, &self.journal.memory, &situation, arrival)
    }

    fn deny(&mut self, code: Code, caller: &Caller, now: &Now, out: &mut Effects) {
        let verdict = Verdict {
            command: caller.command,
            holder: caller.key,
            outcome: Outcome::Denied,
            code: Id::new(code.name()).ok(),
            detail: None,
            result: Map::default(),
            standing: self.standing(now),
        };
        let room = self.store_works && self.journal.used() < DENIALS_UNTIL;
        if is_recorded(code) && room {
            let event = Event::Denied(asked(caller), verdict);
            self.journal.append(event, now, &mut out.batch);
            self.publish_receipt(caller.command, out);
        } else {
            if is_recorded(code) {
                let windows = &mut self.journal.memory.windows;
                windows.remember(caller.key, caller.instance, caller.counter);
            }
            let receipt = verdict.receipt(self.known.device(), now.estimate, self.journal.head());
            let publish = Action::Publish(Topic::Receipts(caller.key), sign(&receipt, &self.key));
            self.after_log(Waiting::Act(publish), out);
        }
    }

    fn durable(&mut self, size: u64, now: &Now, out: &mut Effects) {
        while self
            .waiting
            .front()
            .is_some_and(|(needs, _)| *needs <= size)
        {
            let Some((_, waiting)) = self.waiting.pop_front() else {
                return;
            };
            match waiting {
                Waiting::Act(action) => out.actions.push(action),
                Waiting::Begin(command) => self.begin(command, now, out),
            }
        }
    }

    /// The intent is durable. What changes something is also marked as begun, durably, so
    /// that after a crash nobody has to guess whether it may have taken effect.
    fn begin(&mut self, command: Hash, now: &Now, out: &mut Effects) {
        let Some(permit) = self.permits.remove(&command) else {
            return;
        };
        if permit.class() == Class::Read {
            out.actions.push(Action::Run(permit));
        } else {
            let event = Event::Executing(command, now.boot);
            self.journal.append(event, now, &mut out.batch);
            self.after_log(Waiting::Act(Action::Run(permit)), out);
        }
    }

    fn finished(&mut self, command: Hash, ended: Ended, now: &Now, out: &mut Effects) {
        let Some(open) = self.journal.open.get(&command) else {
            return;
        };
        if !self.store_works {
            return;
        }
        let verdict = Verdict {
            command,
            holder: open.intent.asked.holder,
            outcome: ended.outcome,
            code: ended.code.and_then(|code| Id::new(code.name()).ok()),
            detail: ended.detail,
            result: ended.result,
            standing: self.standing(now),
        };
        let event = Event::Outcome(verdict);
        self.journal.append(event, now, &mut out.batch);
        self.publish_receipt(command, out);
    }

    pub(super) fn publish_receipt(&mut self, command: Hash, out: &mut Effects) {
        if let Some((holder, receipt)) = self.journal.receipt(&command) {
            let bytes = sign(receipt, &self.key);
            let publish = Action::Publish(Topic::Receipts(*holder), bytes);
            self.after_log(Waiting::Act(publish), out);
        }
    }

    pub(super) fn publish_state(&mut self, now: &Now, out: &mut Effects) {
        let state = State {
            iss: self.known.device().clone(),
            iat: now.estimate,
            body: StateBody {
                format: 1,
                standing: self.standing(now),
                operations: self.offers.keys().cloned().collect(),
                log: self.journal.head(),
            },
        };
        let publish = Action::Publish(Topic::State, sign(&state, &self.key));
        self.after_log(Waiting::Act(publish), out);
    }

    pub(super) fn standing(&self, now: &Now) -> Standing {
        let memory = &self.journal.memory;
        Standing {
            epoch: memory.epoch,
            boot: now.boot,
            uptime: now.uptime,
            quality: now.quality,
            registration: memory.registration.map_or(0, |mark| mark.seq),
            revocations: Map::new(
                memory
                    .revocations
                    .iter()
                    .map(|(audience, mark)| (audience.clone(), mark.seq)),
            ),
        }
    }

    /// Does something once all that was written so far is durable: at once, if nothing of it
    /// is still on its way.
    fn after_log(&mut self, waiting: Waiting, out: &mut Effects) {
        let nothing_new = out.batch.is_empty() && self.waiting.is_empty();
        match waiting {
            Waiting::Act(action) if nothing_new => out.actions.push(action),
            waiting => self.waiting.push_back((self.journal.head().size, waiting)),
        }
    }

    fn count(&mut self, code: Code) {
        *self.refused.entry(code).or_insert(0) += 1;
    }

    /// Numbers for `status.read` and for people.
    pub fn facts(&mut self, reading: &Reading) -> Facts {
        let now = self.keeper.now(reading);
        Facts {
            now,
            standing: self.standing(&now),
            shares: self.known.shares_by_age().count(),
            log_size: self.journal.head().size,
            log_used: self.journal.used(),
            refused: self.refused.clone(),
        }
    }

    /// The size of the log when everything written so far is durable.
    #[must_use]
    pub fn log_size(&self) -> u64 {
        self.journal.head().size
    }

    /// What the device has been told.
    #[must_use]
    pub fn known(&self) -> &Known {
        &self.known
    }
}

/// The log keeps statements whose sequence must never go back, and those that people want to
/// find there.
pub(super) fn statement_event(installed: &crate::gate::Installed) -> Option<Event> {
    Some(Event::Statement(Applied {
        kind: Id::new(installed.kind.name()).ok()?,
        audience: installed.audience.clone(),
        seq: installed.seq,
        hash: installed.hash,
        signed_time: installed.signed_time,
    }))
}
