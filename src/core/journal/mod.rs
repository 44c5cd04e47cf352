//! The log as the core sees it: every change of what must not be forgotten is an event, and
//! what is remembered is what folding the events gives.

mod snapshot;

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::core::Batch;
use crate::core::journal::snapshot::recover;
use crate::core::recovery::CoreConfig;
use doorward_protocol::event_log::LogWrite;
use doorward_protocol::event_log::record::{
    Change, CommandRef, Event, Intent, PendingCommand, Record, StatementRecord,
};
use doorward_protocol::gate::{Caller, DurableState, Installed, Now, Origin, SeqMark};
use doorward_protocol::wire::{
    Bytes, Hash, Id, KeyBytes, Kind, LogHead, Operation, Receipt, Role, Timestamp, hash,
};

/// How far the device may have counted before that is written down with the next record, in
/// seconds.
const COUNTED_EVERY: u64 = 900;

/// How many receipts are kept at hand for commands that come twice.
const RECEIPTS: usize = 256;

/// Statements whose time it cannot be before.
pub(super) const TELLS_TIME: [Kind; 3] = [Kind::Issuers, Kind::Registration, Kind::Revocations];

/// The end of the log and everything that it says.
pub(super) struct Journal {
    device: Id,
    pub(super) state: DurableState,
    /// Commands that were allowed and have not ended.
    pub(super) open: BTreeMap<Hash, PendingCommand>,
    receipts: HashMap<Hash, (KeyBytes, Receipt)>,
    receipt_order: VecDeque<Hash>,
    head: LogHead,
    /// First record and bytes of each segment, oldest first.
    segments: VecDeque<(u64, u64)>,
    segment_bytes: u64,
    snapshot_bytes: u64,
    total_bytes: u64,
    limit: u64,
    /// A segment that has grown by this since its snapshot is followed by a new one.
    segment: u64,
    /// Operations that boot the machine.
    reboots: Vec<Operation>,
}

impl Journal {
    pub(super) fn new(device: Id, epoch: Bytes<16>, settings: &CoreConfig) -> Self {
        Self {
            device,
            state: DurableState::new(epoch),
            open: BTreeMap::new(),
            receipts: HashMap::new(),
            receipt_order: VecDeque::new(),
            head: LogHead {
                size: 0,
                hash: Bytes([0; 32]),
            },
            segments: VecDeque::new(),
            segment_bytes: 0,
            snapshot_bytes: 0,
            total_bytes: 0,
            limit: settings.log_limit,
            segment: settings.segment,
            reboots: settings.rebooting.clone(),
        }
    }

    /// Takes a record that was found in the log, and the one that follows it, which names its hash.
    pub(super) fn replay(&mut self, record: &Record, next: Option<&Record>) {
        let bytes = record.encode();
        let hash = next.map_or_else(|| hash(&bytes), |next| next.previous);
        if self.segments.is_empty() || matches!(record.event, Event::Snapshot(_)) {
            self.segments.push_back((record.seq, 0));
            self.segment_bytes = 0;
        }
        self.apply_record(record, bytes.len() as u64, hash);
    }

    /// After a break: what is still to be read beyond it ends, freezes and uses up as before,
    /// and no number goes back. A snapshot makes that part of the log again.
    pub(super) fn salvage(&mut self, records: &[Record], now: &Now, batch: &mut Batch) {
        if records.is_empty() {
            return;
        }
        for record in records {
            let memory = &mut self.state;
            match &record.event {
                Event::Intent(Intent {
                    asked,
                    share,
                    charged,
                    ..
                }) => {
                    if let Some(share) = share {
                        memory.charge(*charged, *share, &asked.operation, record.at);
                    }
                }
                Event::Outcome(verdict) => match verdict.change {
                    Some(Change::Ended(share, end)) => {
                        memory.ended.insert(share, end);
                    }
                    Some(Change::Frozen(until)) => memory.frozen = memory.frozen.max(Some(until)),
                    // Whether it was frozen again after that is not known.
                    Some(Change::Deleted) => memory.delete(),
                    Some(
                        Change::Unfrozen
                        | Change::Acknowledged(_)
                        | Change::Subscribed(_)
                        | Change::Unsubscribed,
                    )
                    | None => {}
                },
                Event::Statement(applied) => self.apply_statement(applied),
                Event::Counted(time) => memory.record_elapsed(*time),
                Event::Snapshot(snapshot) => recover(memory, snapshot),
                Event::Epoch(..)
                | Event::Executing(..)
                | Event::Denied(..)
                | Event::DeniedMore(..) => {}
            }
        }
        self.append(Event::Snapshot(self.snapshot()), now, batch);
    }

    /// Writes an event down. Nobody may act on it before the log is durable up to its head.
    pub(super) fn append(&mut self, event: Event, now: &Now, batch: &mut Batch) {
        if self.head.size == 0 {
            batch.log.push(LogWrite::Segment(0));
            self.segments.push_back((0, 0));
        } else if self.segment_bytes > self.segment + self.snapshot_bytes {
            batch.log.push(LogWrite::Segment(self.head.size));
            self.segments.push_back((self.head.size, 0));
            self.segment_bytes = 0;
            self.state.prune();
            self.write(Event::Snapshot(self.snapshot()), now, batch);
        }
        let counts = matches!(event, Event::Counted(_));
        if !counts && now.lower_bound.since(self.state.floor()) >= COUNTED_EVERY {
            self.write(Event::Counted(now.lower_bound), now, batch);
        }
        self.write(event, now, batch);
        self.drop_acknowledged(batch);
    }

    /// Writes down how far the device has counted, for a time without a clock.
    pub(super) fn count_time(&mut self, now: &Now, batch: &mut Batch) {
        if now.lower_bound > self.state.floor() {
            self.append(Event::Counted(now.lower_bound), now, batch);
        }
    }

    /// Lets go of the oldest segments when the log is half full, as far as their events are
    /// kept elsewhere.
    fn drop_acknowledged(&mut self, batch: &mut Batch) {
        let mut dropped = None;
        while self.used() >= 50
            && let Some((next, _)) = self.segments.get(1)
            && *next <= self.state.acknowledged
        {
            dropped = Some(*next);
            let gone = self.segments.pop_front();
            self.total_bytes -= gone.map_or(0, |(_, bytes)| bytes);
        }
        batch.log.extend(dropped.map(LogWrite::Drop));
    }

    fn write(&mut self, event: Event, now: &Now, batch: &mut Batch) {
        let record = Record {
            seq: self.head.size,
            previous: self.head.hash,
            at: now.estimate,
            quality: now.quality,
            event,
        };
        let bytes = record.encode();
        self.apply_record(&record, bytes.len() as u64, hash(&bytes));
        batch.log.push(LogWrite::Append(bytes));
    }

    fn apply_record(&mut self, record: &Record, length: u64, hash: Hash) {
        self.head = record.head(hash);
        self.segment_bytes += length;
        self.total_bytes += length;
        if let Some((_, size)) = self.segments.back_mut() {
            *size += length;
        }
        if matches!(record.event, Event::Snapshot(_)) {
            self.snapshot_bytes = length;
        }
        self.apply_event(&record.event, record.at);
        if let Some((holder, receipt)) = record.receipt(&self.device, self.head) {
            self.keep_receipt(holder, receipt);
        }
    }

    fn apply_event(&mut self, event: &Event, at: Timestamp) {
        match event {
            Event::Snapshot(snapshot) => self.restore(snapshot),
            Event::Epoch(epoch, _) => {
                self.state.epoch = *epoch;
                self.state.windows = Default::default();
            }
            Event::Statement(applied) => self.apply_statement(applied),
            Event::Intent(intent) => {
                self.remember(&intent.asked);
                if let Some(share) = intent.share {
                    let operation = &intent.asked.operation;
                    self.state.charge(intent.charged, share, operation, at);
                }
                let open = PendingCommand {
                    intent: intent.clone(),
                    started_in_boot: None,
                };
                self.open.insert(intent.asked.command, open);
            }
            Event::Executing(command, boot) => {
                if let Some(open) = self.open.get_mut(command) {
                    open.started_in_boot = Some(*boot);
                    if self.reboots.contains(&open.intent.asked.operation) {
                        self.state.record_reboot();
                    }
                }
            }
            Event::Outcome(verdict) => {
                self.open.remove(&verdict.command);
                let memory = &mut self.state;
                match verdict.change {
                    Some(Change::Ended(share, end)) => {
                        memory.ended.insert(share, end);
                    }
                    Some(Change::Frozen(until)) => memory.frozen = Some(until),
                    Some(Change::Unfrozen) => memory.frozen = None,
                    Some(Change::Acknowledged(size)) => {
                        memory.acknowledged = memory.acknowledged.max(size);
                    }
                    Some(Change::Subscribed(share)) => {
                        memory.subscribers.insert(verdict.holder, share);
                    }
                    Some(Change::Unsubscribed) => {
                        memory.subscribers.remove(&verdict.holder);
                    }
                    Some(Change::Deleted) => memory.delete(),
                    None => {}
                }
            }
            Event::Denied(asked, _) => self.remember(asked),
            Event::Counted(time) => self.state.record_elapsed(*time),
            Event::DeniedMore(..) => {}
        }
    }

    fn apply_statement(&mut self, applied: &StatementRecord) {
        let mark = SeqMark {
            seq: applied.seq,
            hash: applied.hash,
            made: applied.made,
        };
        let memory = &mut self.state;
        if applied.kind == *Kind::Registration.name() {
            memory.registration = Some(mark);
        } else if applied.kind == *Kind::Revocations.name() {
            if let Some(audience) = &applied.audience {
                memory.revocations.insert(audience.clone(), mark);
            }
        } else if applied.kind == *Kind::Roster.name()
            && let Some(group) = applied.group
        {
            memory.rosters.insert(group, mark);
        }
        for role in &applied.roles {
            memory.reset_seq(*role);
        }
        for role in &applied.replaced {
            memory.revoke_time(*role, applied.made);
        }
        let kind = TELLS_TIME.into_iter().find(|k| applied.kind == *k.name());
        if let Some(role) = kind.and_then(Role::of) {
            memory.record_signed_time(role, applied.made);
        }
    }

    fn remember(&mut self, asked: &CommandRef) {
        self.state
            .windows
            .remember(asked.holder, asked.instance, asked.counter);
    }

    fn keep_receipt(&mut self, holder: KeyBytes, receipt: Receipt) {
        let command = receipt.body.command;
        if self.receipts.insert(command, (holder, receipt)).is_none() {
            self.receipt_order.push_back(command);
        }
        if self.receipt_order.len() > RECEIPTS
            && let Some(oldest) = self.receipt_order.pop_front()
        {
            self.receipts.remove(&oldest);
        }
    }

    /// The receipt of a command that has ended, if it is recent.
    pub(super) fn receipt(&self, command: &Hash) -> Option<&(KeyBytes, Receipt)> {
        self.receipts.get(command)
    }

    /// The receipts made since a time, oldest first.
    pub(super) fn receipts_since(&self, time: Timestamp) -> Vec<Hash> {
        let recent = |command: &&Hash| {
            self.receipt(command)
                .is_some_and(|(_, receipt)| receipt.iat >= time)
        };
        self.receipt_order.iter().filter(recent).copied().collect()
    }

    pub(super) fn head(&self) -> LogHead {
        self.head
    }

    /// How full the log is, in percent.
    pub(super) fn used(&self) -> u64 {
        (self.total_bytes * 100)
            .checked_div(self.limit)
            .unwrap_or(100)
    }
}

/// A caller as the log keeps it.
pub(super) fn command_ref(caller: &Caller) -> CommandRef {
    CommandRef {
        command: caller.command,
        holder: caller.key,
        instance: caller.instance,
        counter: caller.counter,
        operation: caller.operation.clone(),
        local: caller.origin == Origin::Local,
        person: caller.person.clone(),
    }
}

/// A permit's content as the log keeps it.
pub(super) fn intent(permit: &doorward_protocol::gate::Permit) -> Intent {
    Intent {
        asked: command_ref(permit.caller()),
        share: permit.share(),
        class: permit.class(),
        charged: permit.accounting(),
        version: permit.release().map(|release| release.body.version),
    }
}

/// The log keeps statements whose sequence must never go back, and those that people want to
/// find there.
pub(super) fn statement_event(installed: &Installed) -> Option<Event> {
    Some(Event::Statement(StatementRecord {
        kind: Id::new(installed.kind.name()).ok()?,
        about: installed.about.clone(),
        audience: installed.audience.clone(),
        group: installed.group,
        roles: installed.roles.clone(),
        replaced: installed.replaced.clone(),
        made: installed.made,
        seq: installed.seq,
        hash: installed.hash,
    }))
}
