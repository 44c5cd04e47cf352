//! The event log as the core sees it: every change of the durable state is an event, and the
//! state is the result of applying the events in order.

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

/// Elapsed time after which the lower bound of the clock is recorded before the next record, in
/// seconds.
const COUNTED_EVERY: u64 = 900;

/// Receipts kept in memory for commands that arrive again.
const MAX_RECEIPTS: usize = 256;

/// Statements whose time of issue is a lower bound of the current time.
pub(super) const TELLS_TIME: [Kind; 3] = [Kind::Issuers, Kind::Registration, Kind::Revocations];

/// The head of the log and the state derived from its records.
pub(super) struct Journal {
    device: Id,
    pub(super) state: DurableState,
    /// Commands that were allowed and have not finished.
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
    /// Growth of a segment after its snapshot at which a new segment starts, in bytes.
    segment: u64,
    /// Operations that reboot the machine.
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

    /// Applies a record read from the log; `next` is the record after it, which contains its hash.
    pub(super) fn replay(&mut self, record: &Record, next: Option<&Record>) {
        let bytes = record.encode();
        let hash = next.map_or_else(|| hash(&bytes), |next| next.previous);
        if self.segments.is_empty() || matches!(record.event, Event::Snapshot(_)) {
            self.segments.push_back((record.seq, 0));
            self.segment_bytes = 0;
        }
        self.apply_record(record, bytes.len() as u64, hash);
    }

    /// Applies the records found after a damaged part of the log: ended shares, suspensions, uses
    /// and sequence numbers still count. A snapshot makes the result part of the log again.
    pub(super) fn salvage(&mut self, records: &[Record], now: &Now, batch: &mut Batch) {
        if records.is_empty() {
            return;
        }
        for record in records {
            let state = &mut self.state;
            match &record.event {
                Event::Intent(Intent {
                    asked,
                    share,
                    charged,
                    ..
                }) => {
                    if let Some(share) = share {
                        state.charge(*charged, *share, &asked.operation, record.at);
                    }
                }
                Event::Outcome(verdict) => match verdict.change {
                    Some(Change::Ended(share, end)) => {
                        state.ended.insert(share, end);
                    }
                    Some(Change::Frozen(until)) => state.frozen = state.frozen.max(Some(until)),
                    // It is not known whether the shares were suspended again after that.
                    Some(Change::Deleted) => state.delete(),
                    Some(
                        Change::Unfrozen
                        | Change::Acknowledged(_)
                        | Change::Subscribed(_)
                        | Change::Unsubscribed,
                    )
                    | None => {}
                },
                Event::Statement(applied) => self.apply_statement(applied),
                Event::Counted(time) => state.record_elapsed(*time),
                Event::Snapshot(snapshot) => recover(state, snapshot),
                Event::Epoch(..)
                | Event::Executing(..)
                | Event::Denied(..)
                | Event::DeniedMore(..) => {}
            }
        }
        self.append(Event::Snapshot(self.snapshot()), now, batch);
    }

    /// Appends an event. Nothing may act on it before the log is durable up to its head.
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

    /// Records the lower bound of the time, for a later start without a clock.
    pub(super) fn count_time(&mut self, now: &Now, batch: &mut Batch) {
        if now.lower_bound > self.state.floor() {
            self.append(Event::Counted(now.lower_bound), now, batch);
        }
    }

    /// Deletes the oldest segments once the log is half full, as far as their records were
    /// acknowledged by a log collector.
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
                let state = &mut self.state;
                match verdict.change {
                    Some(Change::Ended(share, end)) => {
                        state.ended.insert(share, end);
                    }
                    Some(Change::Frozen(until)) => state.frozen = Some(until),
                    Some(Change::Unfrozen) => state.frozen = None,
                    Some(Change::Acknowledged(size)) => {
                        state.acknowledged = state.acknowledged.max(size);
                    }
                    Some(Change::Subscribed(share)) => {
                        state.subscribers.insert(verdict.holder, share);
                    }
                    Some(Change::Unsubscribed) => {
                        state.subscribers.remove(&verdict.holder);
                    }
                    Some(Change::Deleted) => state.delete(),
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
            issued_at: applied.issued_at,
        };
        let state = &mut self.state;
        if applied.kind == *Kind::Registration.name() {
            state.registration = Some(mark);
        } else if applied.kind == *Kind::Revocations.name() {
            if let Some(audience) = &applied.audience {
                state.revocations.insert(audience.clone(), mark);
            }
        } else if applied.kind == *Kind::Roster.name()
            && let Some(group) = applied.group
        {
            state.rosters.insert(group, mark);
        }
        for role in &applied.roles {
            state.reset_seq(*role);
        }
        for role in &applied.replaced {
            state.revoke_time(*role, applied.issued_at);
        }
        let kind = TELLS_TIME.into_iter().find(|k| applied.kind == *k.name());
        if let Some(role) = kind.and_then(Role::of) {
            state.record_signed_time(role, applied.issued_at);
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
        if self.receipt_order.len() > MAX_RECEIPTS
            && let Some(oldest) = self.receipt_order.pop_front()
        {
            self.receipts.remove(&oldest);
        }
    }

    /// The receipt of a finished command, if it is recent.
    pub(super) fn receipt(&self, command: &Hash) -> Option<&(KeyBytes, Receipt)> {
        self.receipts.get(command)
    }

    /// Commands with a receipt issued at or after `time`, oldest first.
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

    /// Used part of the log's size limit, in percent.
    pub(super) fn used(&self) -> u64 {
        (self.total_bytes * 100)
            .checked_div(self.limit)
            .unwrap_or(100)
    }
}

/// A caller as stored in the log.
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

/// A permit's content as stored in the log.
pub(super) fn intent(permit: &doorward_protocol::gate::Permit) -> Intent {
    Intent {
        asked: command_ref(permit.caller()),
        share: permit.share(),
        class: permit.class(),
        charged: permit.accounting(),
        version: permit.release().map(|release| release.body.version),
    }
}

/// The log record of a statement: the log keeps those whose sequence number must never decrease,
/// and those that are of interest to a reader of the log.
pub(super) fn statement_event(installed: &Installed) -> Option<Event> {
    Some(Event::Statement(StatementRecord {
        kind: Id::new(installed.kind.name()).ok()?,
        about: installed.about.clone(),
        audience: installed.audience.clone(),
        group: installed.group,
        roles: installed.roles.clone(),
        replaced: installed.replaced.clone(),
        issued_at: installed.issued_at,
        seq: installed.seq,
        hash: installed.hash,
    }))
}
