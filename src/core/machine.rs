//! The state machine. It never waits: what depends on durability is queued until the log is
//! reported durable up to the record it depends on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::core::denials::DenialLog;
use crate::core::io::{Action, Effects, Input};
use crate::core::journal::{Journal, TELLS_TIME, intent, statement_event};
use crate::core::rate_limit::RateLimiter;
use crate::core::receipts::signed;
use crate::core::recovery::CoreConfig;
use crate::core::share_operations;
use crate::core::timers::Timers;
use doorward_protocol::event_log::record::Event;
use doorward_protocol::gate::{
    ClockReading, Code, Decision, Denial, DeviceContext, InboundCommand, Installed, Now, Offers,
    Origin, Permit, REBOOTS, RebootLimit, SlotCache, StatementStore, TrustedClock, UsageAccounting,
    decide,
};
use doorward_protocol::wire::{
    Bundle, Class, Envelope, Hash, Id, KeyBytes, Kind, Map, Operation, Receipt, SecretKey, Text,
    Value,
};

/// A step that waits until the log is durable.
pub(super) enum AfterLog {
    Act(Action),
    Begin(Box<Permit>),
    /// A receipt, to be signed and published.
    Answer(KeyBytes, Box<Receipt>),
}

/// The state of the core, in memory; it is restored from the log and the cache.
pub struct Core {
    pub(super) key: SecretKey,
    pub(super) statements: StatementStore,
    pub(super) journal: Journal,
    pub(super) clock: TrustedClock,
    pub(super) offers: Offers,
    interlocks: BTreeSet<Id>,
    reboots: RebootLimit,
    firmware: u32,
    in_memory_reads: Vec<Operation>,
    /// The last progress report of each running operation.
    pub(super) progress: BTreeMap<Hash, Map<Text, Value>>,
    pub(super) slot_cache: SlotCache,
    awaiting_log: VecDeque<(u64, AfterLog)>,
    /// Size of the log up to which it is known to be durable.
    durable: u64,
    pub(super) store_works: bool,
    pub(super) refused: BTreeMap<Code, u64>,
    pub(super) denials: DenialLog,
    pub(super) rate_limiter: RateLimiter,
    pub(super) timers: Timers,
}

impl Core {
    pub(super) fn assemble(
        key: SecretKey,
        statements: StatementStore,
        journal: Journal,
        clock: TrustedClock,
        settings: &CoreConfig,
    ) -> Self {
        let mut offers = settings.offers.clone();
        offers.extend(share_operations::offers());
        Self {
            interlocks: BTreeSet::new(),
            firmware: settings.firmware,
            in_memory_reads: settings
                .in_memory_reads
                .iter()
                .cloned()
                .chain(share_operations::read_only())
                .collect(),
            durable: journal.head().size,
            key,
            statements,
            journal,
            clock,
            offers,
            progress: BTreeMap::new(),
            reboots: settings.reboot_limit,
            slot_cache: SlotCache::default(),
            awaiting_log: VecDeque::new(),
            store_works: true,
            refused: BTreeMap::new(),
            denials: DenialLog::default(),
            rate_limiter: RateLimiter::new(settings.clients),
            timers: Timers::default(),
        }
    }

    /// Handles one input at the time of `reading`.
    pub fn handle(&mut self, input: Input, reading: &ClockReading) -> Effects {
        let now = self.clock.now(reading);
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
                if self.rate_limiter.try_admit(link, uptime) {
                    let kept =
                        self.handle_message(origin, retained, &payload, reading, &now, &mut out);
                    self.rate_limiter.charge(link, &out.refused, uptime);
                    match (kept, self.store_works) {
                        (true, true) => self.after_log(AfterLog::Act(ack), &mut out),
                        // It was answered, so it must not be delivered again later.
                        (true, false) => out.actions.push(ack),
                        (false, _) => {}
                    }
                } else {
                    // It had no effect, so there is nothing to make durable first.
                    self.count_refusal(Code::Flood, &mut out);
                    out.actions.push(match self.rate_limiter.is_client(link) {
                        true => Action::Refuse(delivery),
                        false => ack,
                    });
                }
            }
            Input::Durable(size) => self.durable(size, &now, &mut out),
            Input::StoreFailed => {
                // Steps that were not durable must not happen; only reopening the store shows
                // which ones are.
                self.store_works = false;
                self.awaiting_log.clear();
            }
            Input::Finished(command, ended) => self.end(command, ended, None, &now, &mut out),
            Input::Notification(event) if self.store_works => {
                self.notify_subscribers(&event, &now, &mut out)
            }
            Input::Progress(command, rows) => self.progress(command, rows, &now, &mut out),
            // State that was not durable must not be published either.
            Input::LinkUp if self.store_works => self.link_up(&now, &mut out),
            Input::Tick if self.store_works => self.tick(&now, &mut out),
            Input::LinkUp | Input::Tick | Input::Notification(_) => {}
            Input::Interlocks(interlocks) => self.interlocks = interlocks,
        }
        self.watch_log(&now, &mut out);
        out
    }

    /// Handles a message. Returns whether it can be acknowledged: statements that cannot be stored
    /// must be delivered again.
    fn handle_message(
        &mut self,
        origin: Origin,
        retained: bool,
        payload: &[u8],
        reading: &ClockReading,
        now: &Now,
        out: &mut Effects,
    ) -> bool {
        let mut bundle = match Bundle::parse(payload) {
            Ok(bundle) => bundle,
            Err(error) => {
                self.count_refusal(error.into(), out);
                return true;
            }
        };
        let kept = self.store_works || bundle.statements.is_empty();
        if !kept {
            bundle.statements.clear();
        }
        let mut changed = false;
        let mut valid = Vec::new();
        for statement in bundle.statements {
            match statement {
                Ok(envelope) => valid.push(envelope),
                Err(error) => self.count_refusal(error.into(), out),
            }
        }
        // Envelopes with the same payload are signatures of one statement.
        for same in valid.chunk_by(|a, b| a.kind == b.kind && a.payload() == b.payload()) {
            changed |= self.install_statement(same, reading, now, out);
        }
        if changed {
            self.publish_state(now, out);
        }
        if let Some(envelope) = &bundle.command {
            let inbound = InboundCommand {
                envelope,
                approvals: &bundle.approvals,
                origin,
                retained,
            };
            self.handle_command(&inbound, now, out);
        }
        kept
    }

    fn install_statement(
        &mut self,
        envelopes: &[Envelope<'_>],
        reading: &ClockReading,
        now: &Now,
        out: &mut Effects,
    ) -> bool {
        let state = &self.journal.state;
        let mut installed = match self.statements.install(envelopes, state, now.estimate) {
            Ok(Some(installed)) => installed,
            Ok(None) => {
                self.confirm(envelopes, None, now, out);
                return false;
            }
            Err(code) => {
                self.count_refusal(code, out);
                self.confirm(envelopes, Some(code), now, out);
                return false;
            }
        };
        let bytes = std::mem::take(&mut installed.bytes);
        match installed.kind {
            Kind::Registration => {
                out.batch.registration = Some(bytes);
                let site = Action::SetSite(self.statements.site().cloned());
                self.after_log(AfterLog::Act(site), out);
            }
            Kind::Issuers => out.batch.issuers = Some(bytes),
            _ => out
                .batch
                .put
                .push((std::mem::take(&mut installed.name), bytes)),
        }
        // Statements refused because they arrived too early may be valid now.
        if installed.awaits_roster || installed.kind == Kind::Issuers {
            self.after_log(AfterLog::Act(Action::RequestRetained), out);
        }
        out.batch.remove.append(&mut installed.dropped);
        if let Some(event) = statement_event(&installed) {
            self.journal.append(event, now, &mut out.batch);
        }
        self.record_signed_time(&installed, reading);
        self.confirm(envelopes, None, now, out);
        match installed.share {
            Some(share) => self.schedule_end_of(&share, now),
            None => self.schedule_next_end(now),
        }
        true
    }

    /// Updates the clock from a recorded statement, if its time of issue bounds the current time.
    pub(super) fn record_signed_time(&mut self, installed: &Installed, reading: &ClockReading) {
        if TELLS_TIME.contains(&installed.kind) {
            let floor = self.journal.state.floor();
            self.clock
                .on_signed_time(installed.issued_at, floor, reading);
        }
    }

    fn handle_command(&mut self, inbound: &InboundCommand<'_>, now: &Now, out: &mut Effects) {
        let hash = inbound.envelope.hash();
        if !inbound.retained && self.journal.open.contains_key(&hash) {
            return self.repeat_progress(hash, now, out);
        }
        if !inbound.retained && self.repeat(hash, out) {
            return;
        }
        let mut decision = self.decide(inbound, now);
        if matches!(&decision, Decision::Denied(reason) if reason.code == Code::ReplayFull) {
            let statements = &self.statements;
            let windows = &mut self.journal.state.windows;
            windows.retain(|key| statements.authority(key).is_some());
            decision = self.decide(inbound, now);
        }
        match decision {
            Decision::Allowed(permit) => {
                let event = Event::Intent(intent(&permit));
                self.journal.append(event, now, &mut out.batch);
                // A read from memory may start before its intent is durable, unless a crash would
                // then refund a use. Its receipt still waits for the log.
                let immediately = permit.class() == Class::Read
                    && permit.accounting() == UsageAccounting::None
                    && self.in_memory_reads.contains(&permit.caller().operation);
                let permit = Box::new(permit);
                match immediately {
                    true => self.begin(permit, now, out),
                    false => self.after_log(AfterLog::Begin(permit), out),
                }
            }
            Decision::DryRun(dry_run) => self.answer_dry_run(&dry_run, now, out),
            Decision::Denied(Denial { code, caller }) => {
                self.count_refusal(code, out);
                if let Some(caller) = caller {
                    self.deny(code, &caller, now, out);
                }
            }
        }
    }

    fn decide(&mut self, inbound: &InboundCommand<'_>, now: &Now) -> Decision {
        let interrupting = self
            .journal
            .open
            .values()
            .any(|open| open.intent.class >= Class::Interrupt);
        let mut interlocks = self.interlocks.clone();
        if self.journal.state.reboot_limit_reached(self.reboots, now) {
            interlocks.extend(Id::new(REBOOTS).ok());
        }
        let context = DeviceContext {
            now: *now,
            slots: self
                .slot_cache
                .update(&self.statements, &self.journal.state, now),
            offers: &self.offers,
            interlocks: &interlocks,
            firmware: self.firmware,
            interrupting,
            pending: self.journal.open.len(),
            log_used: self.journal.used(),
            store_works: self.store_works,
        };
        decide(&self.statements, &self.journal.state, &context, inbound)
    }

    fn durable(&mut self, size: u64, now: &Now, out: &mut Effects) {
        self.durable = size;
        while self
            .awaiting_log
            .front()
            .is_some_and(|(needs, _)| *needs <= size)
        {
            let Some((_, waiting)) = self.awaiting_log.pop_front() else {
                return;
            };
            match waiting {
                AfterLog::Act(Action::Run(permit)) => self.run(permit, now, out),
                AfterLog::Act(action) => out.actions.push(action),
                AfterLog::Begin(permit) => self.begin(permit, now, out),
                AfterLog::Answer(holder, receipt) => {
                    out.actions.push(signed(holder, &receipt, &self.key));
                }
            }
        }
    }

    /// Carries out a step once everything written so far is durable; immediately if no write is
    /// pending.
    pub(super) fn after_log(&mut self, waiting: AfterLog, out: &mut Effects) {
        let written = self.durable >= self.journal.head().size;
        let nothing_new = written && out.batch.is_empty() && self.awaiting_log.is_empty();
        match waiting {
            AfterLog::Act(action) if nothing_new => out.actions.push(action),
            AfterLog::Answer(holder, receipt) if nothing_new => {
                out.actions.push(signed(holder, &receipt, &self.key));
            }
            waiting => self
                .awaiting_log
                .push_back((self.journal.head().size, waiting)),
        }
    }

    /// Signs the receipts that wait for the log, while the batch is being written; any others are
    /// signed once the log is durable.
    pub fn sign_ahead(&mut self) {
        for (_, waiting) in &mut self.awaiting_log {
            if let AfterLog::Answer(holder, receipt) = waiting {
                *waiting = AfterLog::Act(signed(*holder, receipt, &self.key));
            }
        }
    }

    /// Counts a refusal, in total and for this step.
    pub(super) fn count_refusal(&mut self, code: Code, out: &mut Effects) {
        *self.refused.entry(code).or_insert(0) += 1;
        out.refused.push(code);
    }

    /// The current time.
    pub fn now(&mut self, reading: &ClockReading) -> Now {
        self.clock.now(reading)
    }

    /// The size of the log once everything written so far is durable.
    #[must_use]
    pub fn log_size(&self) -> u64 {
        self.journal.head().size
    }

    /// Whether a command was allowed and has not finished.
    #[must_use]
    pub fn is_open(&self, command: &Hash) -> bool {
        self.journal.open.contains_key(command)
    }

    /// The statements that the device holds.
    #[must_use]
    pub fn statements(&self) -> &StatementStore {
        &self.statements
    }
}
