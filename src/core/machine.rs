//! The state machine. It never waits: what depends on durability is queued until the log is
//! reported durable up to the record it depends on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::core::denials::Denials;
use crate::core::io::{Action, Effects, Input};
use crate::core::journal::{Journal, TELLS_TIME, intent, statement_event};
use crate::core::rate_limit::Floods;
use crate::core::receipts::signed;
use crate::core::recovery::Settings;
use crate::core::share_operations;
use crate::core::timers::Chores;
use doorward_protocol::event_log::record::Event;
use doorward_protocol::gate::{
    Arrival, Charge, Code, Decision, Installed, Known, Now, Offers, Origin, Permit, REBOOTS,
    Reading, Reason, RebootLimit, Situation, Timekeeper, decide,
};
use doorward_protocol::wire::{
    Bundle, Class, Envelope, Hash, Id, KeyBytes, Kind, Map, Operation, Receipt, SecretKey, Text,
    Value,
};

/// What waits for the log.
pub(super) enum Waiting {
    Act(Action),
    Begin(Box<Permit>),
    /// A receipt, to be signed and published.
    Answer(KeyBytes, Box<Receipt>),
}

/// The agent's state, all of it in memory; the log and the cache can bring it back.
pub struct Core {
    pub(super) key: SecretKey,
    pub(super) known: Known,
    pub(super) journal: Journal,
    pub(super) keeper: Timekeeper,
    pub(super) offers: Offers,
    interlocks: BTreeSet<Id>,
    reboots: RebootLimit,
    firmware: u32,
    at_once: Vec<Operation>,
    /// What the operations that are under way last said of how far they have come.
    pub(super) progress: BTreeMap<Hash, Map<Text, Value>>,
    waiting: VecDeque<(u64, Waiting)>,
    /// Records that are known to be durable.
    durable: u64,
    pub(super) store_works: bool,
    pub(super) refused: BTreeMap<Code, u64>,
    pub(super) denials: Denials,
    pub(super) floods: Floods,
    pub(super) chores: Chores,
}

impl Core {
    pub(super) fn assemble(
        key: SecretKey,
        known: Known,
        journal: Journal,
        keeper: Timekeeper,
        settings: &Settings,
    ) -> Self {
        let mut offers = settings.offers.clone();
        offers.extend(share_operations::offers());
        Self {
            interlocks: BTreeSet::new(),
            firmware: settings.firmware,
            at_once: settings
                .at_once
                .iter()
                .cloned()
                .chain(share_operations::looks())
                .collect(),
            durable: journal.head().size,
            key,
            known,
            journal,
            keeper,
            offers,
            progress: BTreeMap::new(),
            reboots: settings.reboot_limit,
            waiting: VecDeque::new(),
            store_works: true,
            refused: BTreeMap::new(),
            denials: Denials::default(),
            floods: Floods::new(settings.clients),
            chores: Chores::default(),
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
                let (link, uptime) = (delivery.link, now.uptime);
                let ack = Action::Ack(delivery);
                if self.floods.admits(link, uptime) {
                    let kept = self.arrived(origin, retained, &payload, reading, &now, &mut out);
                    self.floods.charge(link, &out.refused, uptime);
                    match (kept, self.store_works) {
                        (true, true) => self.after_log(Waiting::Act(ack), &mut out),
                        // It was answered, so it must not come again when the store works.
                        (true, false) => out.actions.push(ack),
                        (false, _) => {}
                    }
                } else {
                    // Nothing came of it, so nothing has to be written first.
                    self.count(Code::Flood, &mut out);
                    out.actions.push(match self.floods.is_client(link) {
                        true => Action::Refuse(delivery),
                        false => ack,
                    });
                }
            }
            Input::Durable(size) => self.durable(size, &now, &mut out),
            Input::StoreFailed => {
                // What was not durable must not happen; only a restart finds out what is.
                self.store_works = false;
                self.waiting.clear();
            }
            Input::Finished(command, ended) => self.end(command, ended, None, &now, &mut out),
            Input::News(news) if self.store_works => self.tell_news(&news, &now, &mut out),
            Input::Progress(command, rows) => self.progress(command, rows, &now, &mut out),
            // What was not durable must not be claimed either.
            Input::LinkUp if self.store_works => self.link_up(&now, &mut out),
            Input::Tick if self.store_works => self.tick(&now, &mut out),
            Input::LinkUp | Input::Tick | Input::News(_) => {}
            Input::Interlocks(interlocks) => self.interlocks = interlocks,
        }
        self.watch_log(&now, &mut out);
        out
    }

    /// Returns whether the message can be acknowledged. Statements that cannot be kept must
    /// come again.
    fn arrived(
        &mut self,
        origin: Origin,
        retained: bool,
        payload: &[u8],
        reading: &Reading,
        now: &Now,
        out: &mut Effects,
    ) -> bool {
        let mut bundle = match Bundle::parse(payload) {
            Ok(bundle) => bundle,
            Err(error) => {
                self.count(error.into(), out);
                return true;
            }
        };
        let kept = self.store_works || bundle.statements.is_empty();
        if !kept {
            bundle.statements.clear();
        }
        let mut changed = false;
        let mut sound = Vec::new();
        for statement in bundle.statements {
            match statement {
                Ok(envelope) => sound.push(envelope),
                Err(error) => self.count(error.into(), out),
            }
        }
        // Several signatures over the same payload are one statement.
        for same in sound.chunk_by(|a, b| a.kind == b.kind && a.payload() == b.payload()) {
            changed |= self.statement(same, reading, now, out);
        }
        if changed {
            self.publish_state(now, out);
        }
        if let Some(envelope) = &bundle.command {
            let arrival = Arrival {
                envelope,
                approvals: &bundle.approvals,
                origin,
                retained,
            };
            self.command(&arrival, now, out);
        }
        kept
    }

    fn statement(
        &mut self,
        envelopes: &[Envelope<'_>],
        reading: &Reading,
        now: &Now,
        out: &mut Effects,
    ) -> bool {
        let memory = &self.journal.memory;
        let mut installed = match self.known.install(envelopes, memory, now.estimate) {
            Ok(Some(installed)) => installed,
            Ok(None) => {
                self.confirm(envelopes, None, now, out);
                return false;
            }
            Err(code) => {
                self.count(code, out);
                self.confirm(envelopes, Some(code), now, out);
                return false;
            }
        };
        let bytes = std::mem::take(&mut installed.bytes);
        match installed.kind {
            Kind::Registration => {
                out.batch.registration = Some(bytes);
                let site = Action::Site(self.known.site().cloned());
                self.after_log(Waiting::Act(site), out);
            }
            Kind::Issuers => out.batch.issuers = Some(bytes),
            _ => out
                .batch
                .put
                .push((std::mem::take(&mut installed.name), bytes)),
        }
        // What came too early was refused; now it counts.
        if installed.awaits_roster || installed.kind == Kind::Issuers {
            self.after_log(Waiting::Act(Action::Refresh), out);
        }
        out.batch.remove.append(&mut installed.dropped);
        if let Some(event) = statement_event(&installed) {
            self.journal.append(event, now, &mut out.batch);
        }
        self.tell_time(&installed, reading);
        self.confirm(envelopes, None, now, out);
        match installed.share {
            Some(share) => self.look_for_ends_of(&share, now),
            None => self.look_for_ends(now),
        }
        true
    }

    /// Lets the clock know of a statement that the journal has taken, if it tells the time.
    pub(super) fn tell_time(&mut self, installed: &Installed, reading: &Reading) {
        if TELLS_TIME.contains(&installed.kind) {
            let floor = self.journal.memory.floor();
            self.keeper.signed(installed.made, floor, reading);
        }
    }

    fn command(&mut self, arrival: &Arrival<'_>, now: &Now, out: &mut Effects) {
        let hash = arrival.envelope.hash();
        if !arrival.retained && self.journal.open.contains_key(&hash) {
            return self.repeat_progress(hash, now, out);
        }
        if !arrival.retained && self.repeat(hash, out) {
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
                // A look at what is in memory does no harm if the device forgets that it began,
                // unless that would give a use back. It is answered when all is written down.
                let at_once = permit.class() == Class::Read
                    && permit.charged() == Charge::No
                    && self.at_once.contains(&permit.caller().operation);
                let permit = Box::new(permit);
                match at_once {
                    true => self.begin(permit, now, out),
                    false => self.after_log(Waiting::Begin(permit), out),
                }
            }
            Decision::Rehearsed(rehearsal) => self.rehearse(&rehearsal, now, out),
            Decision::Denied(Reason { code, caller }) => {
                self.count(code, out);
                if let Some(caller) = caller {
                    self.deny(code, &caller, now, out);
                }
            }
        }
    }

    fn decide(&self, arrival: &Arrival<'_>, now: &Now) -> Decision {
        let interrupting = self
            .journal
            .open
            .values()
            .any(|open| open.intent.class >= Class::Interrupt);
        let mut interlocks = self.interlocks.clone();
        if self.journal.memory.has_rebooted(self.reboots, now) {
            interlocks.extend(Id::new(REBOOTS).ok());
        }
        let situation = Situation {
            now: *now,
            offers: &self.offers,
            interlocks: &interlocks,
            firmware: self.firmware,
            interrupting,
            pending: self.journal.open.len(),
            log_used: self.journal.used(),
            store_works: self.store_works,
        };
        decide(&self.known, &self.journal.memory, &situation, arrival)
    }

    fn durable(&mut self, size: u64, now: &Now, out: &mut Effects) {
        self.durable = size;
        while self
            .waiting
            .front()
            .is_some_and(|(needs, _)| *needs <= size)
        {
            let Some((_, waiting)) = self.waiting.pop_front() else {
                return;
            };
            match waiting {
                Waiting::Act(Action::Run(permit)) => self.run(permit, now, out),
                Waiting::Act(action) => out.actions.push(action),
                Waiting::Begin(permit) => self.begin(permit, now, out),
                Waiting::Answer(holder, receipt) => {
                    out.actions.push(signed(holder, &receipt, &self.key));
                }
            }
        }
    }

    /// Does something once all that was written so far is durable: at once, if nothing of it
    /// is still on its way.
    pub(super) fn after_log(&mut self, waiting: Waiting, out: &mut Effects) {
        let written = self.durable >= self.journal.head().size;
        let nothing_new = written && out.batch.is_empty() && self.waiting.is_empty();
        match waiting {
            Waiting::Act(action) if nothing_new => out.actions.push(action),
            Waiting::Answer(holder, receipt) if nothing_new => {
                out.actions.push(signed(holder, &receipt, &self.key));
            }
            waiting => self.waiting.push_back((self.journal.head().size, waiting)),
        }
    }

    /// Signs the receipts that wait for the log. Whoever has handed over the batch can do this
    /// meanwhile; they are signed at the latest when the log is durable.
    pub fn sign_ahead(&mut self) {
        for (_, waiting) in &mut self.waiting {
            if let Waiting::Answer(holder, receipt) = waiting {
                *waiting = Waiting::Act(signed(*holder, receipt, &self.key));
            }
        }
    }

    /// Counts a refusal, in all and of this step.
    pub(super) fn count(&mut self, code: Code, out: &mut Effects) {
        *self.refused.entry(code).or_insert(0) += 1;
        out.refused.push(code);
    }

    /// The time now.
    pub fn now(&mut self, reading: &Reading) -> Now {
        self.keeper.now(reading)
    }

    /// The size of the log when everything written so far is durable.
    #[must_use]
    pub fn log_size(&self) -> u64 {
        self.journal.head().size
    }

    /// Whether a command was allowed and has not ended.
    #[must_use]
    pub fn is_open(&self, command: &Hash) -> bool {
        self.journal.open.contains_key(command)
    }

    /// What the device has been told.
    #[must_use]
    pub fn known(&self) -> &Known {
        &self.known
    }
}
