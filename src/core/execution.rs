//! Execution of an allowed command, from its intent to its receipt.

use crate::core::io::{Action, Effects, OperationResult};
use crate::core::machine::{AfterLog, Core};
use crate::core::share_operations;
use crate::core::share_operations::MAX_SUBSCRIBERS;
use doorward_protocol::event_log::record::{Change, CommandOutcome, Event};
use doorward_protocol::gate::{ClockReading, Code, Now, Permit, reauthorize};
use doorward_protocol::wire::{Class, Hash, Map, Outcome, Text, Value};

impl Core {
    /// Starts a command whose intent is durable, or a read from memory. Before an operation that
    /// changes something, a durable record shows that it may have taken effect after a crash.
    pub(super) fn begin(&mut self, permit: Box<Permit>, now: &Now, out: &mut Effects) {
        let command = permit.caller().command;
        if self.journal.state.subscribers.len() >= MAX_SUBSCRIBERS {
            self.prune_subscribers(now);
        }
        let allowed = self.recheck(&permit, now);
        let (state, log_size) = (&self.journal.state, self.journal.head().size);
        if allowed.is_err() {
            self.run(permit, now, out);
        } else if let Some((ended, change)) =
            share_operations::execute(&permit, &self.statements, state, log_size, now)
        {
            self.end(command, ended, change, now, out);
        } else if permit.class() == Class::Read {
            self.run(permit, now, out);
        } else {
            // It may end this boot.
            let last = permit.class() >= Class::Interrupt;
            if last {
                self.journal.count_time(now, &mut out.batch);
            }
            let event = Event::Executing(command, now.boot);
            self.journal.append(event, now, &mut out.batch);
            if last {
                self.checkpoint(now, out);
            }
            self.after_log(AfterLog::Act(Action::Run(permit)), out);
        }
    }

    /// Re-checks the permit immediately before the handler is started: a revocation list may have
    /// arrived while the log was written.
    pub(super) fn run(&mut self, permit: Box<Permit>, now: &Now, out: &mut Effects) {
        match self.recheck(&permit, now) {
            Ok(()) => out.actions.push(Action::Run(permit)),
            Err(code) => {
                let ended = OperationResult::denied(
                    code,
                    "the permission ended before the operation started",
                );
                self.end(permit.caller().command, ended, None, now, out);
            }
        }
    }

    pub(super) fn end(
        &mut self,
        command: Hash,
        ended: OperationResult,
        change: Option<Change>,
        now: &Now,
        out: &mut Effects,
    ) {
        let Some(open) = self.journal.open.get(&command) else {
            return;
        };
        self.progress.remove(&command);
        if !self.store_works {
            return;
        }
        let holder = open.intent.asked.holder;
        let standing = self.standing(now);
        let verdict = CommandOutcome {
            detail: ended.detail,
            result: ended.result,
            change,
            ..CommandOutcome::new(command, holder, ended.outcome, ended.code, standing)
        };
        let upload = self.upload_after(verdict.change.as_ref());
        let deleted = verdict.change == Some(Change::Deleted);
        let subscription_changed = matches!(
            verdict.change,
            Some(Change::Subscribed(_) | Change::Unsubscribed)
        );
        let event = Event::Outcome(verdict);
        self.journal.append(event, now, &mut out.batch);
        self.publish_receipt(command, out);
        if let Some(upload) = upload {
            self.after_log(AfterLog::Act(upload), out);
        }
        if deleted {
            self.delete(now, out);
        }
        if deleted || subscription_changed {
            self.update_watch(out);
        }
    }

    /// Deletes the owner's data after `device.delete`. The event log remains, and its head is
    /// published in a checkpoint.
    fn delete(&mut self, now: &Now, out: &mut Effects) {
        out.batch.remove.append(&mut self.statements.delete());
        out.batch.registration = Some(Vec::new());
        self.after_log(AfterLog::Act(Action::SetSite(None)), out);
        self.after_log(AfterLog::Act(Action::ClearUserData), out);
        self.publish_state(now, out);
        self.checkpoint(now, out);
        self.schedule_next_end(now);
    }

    /// Checks whether a running operation is still allowed. Long operations call this before a step
    /// that cannot be undone.
    ///
    /// # Errors
    /// The code of the reason if it is not.
    pub fn reauthorize(&mut self, permit: &Permit, reading: &ClockReading) -> Result<(), Code> {
        let now = self.clock.now(reading);
        self.recheck(permit, &now)
    }

    fn recheck(&mut self, permit: &Permit, now: &Now) -> Result<(), Code> {
        let (statements, state) = (&self.statements, &self.journal.state);
        let slots = self.slot_cache.update(statements, state, now);
        reauthorize(permit, statements, state, slots, now)
    }

    /// Stores and publishes the progress of an operation. Progress is not recorded in the log.
    pub(super) fn progress(
        &mut self,
        command: Hash,
        rows: Map<Text, Value>,
        now: &Now,
        out: &mut Effects,
    ) {
        if self.journal.open.contains_key(&command) {
            self.progress.insert(command, rows);
            self.publish_progress(command, now, out);
        }
    }

    /// Publishes the last progress report to the sender of the command, if there is one.
    pub(super) fn publish_progress(&mut self, command: Hash, now: &Now, out: &mut Effects) {
        let Some(open) = self.journal.open.get(&command) else {
            return;
        };
        let Some(rows) = self.progress.get(&command).filter(|_| self.store_works) else {
            return;
        };
        let holder = open.intent.asked.holder;
        let standing = self.standing(now);
        let verdict = CommandOutcome {
            result: rows.clone(),
            ..CommandOutcome::new(command, holder, Outcome::Executing, None, standing)
        };
        self.publish_unrecorded(&verdict, now, out);
    }

    /// Answers a copy of a running command with its progress. Copies are counted and charged to the
    /// link, like those of a finished command.
    pub(super) fn repeat_progress(&mut self, command: Hash, now: &Now, out: &mut Effects) {
        self.count_refusal(Code::Replay, out);
        self.publish_progress(command, now, out);
    }
}
