//! The course of a command that was allowed: from its intent to its end.

use crate::core::io::{Action, Effects, OperationResult};
use crate::core::machine::{AfterLog, Core};
use crate::core::share_operations as local;
use crate::core::share_operations::MAX_SUBSCRIBERS;
use doorward_protocol::event_log::record::{Change, CommandOutcome, Event};
use doorward_protocol::gate::{ClockReading, Code, Now, Permit, reauthorize};
use doorward_protocol::wire::{Class, Hash, Id, Map, Outcome, Text, Value};

impl Core {
    /// The intent is durable, or it is a look at what is in memory. What changes something is also
    /// marked, durably, so that after a crash nobody has to guess whether it may have
    /// taken effect.
    pub(super) fn begin(&mut self, permit: Box<Permit>, now: &Now, out: &mut Effects) {
        let command = permit.caller().command;
        if self.journal.state.subscribers.len() >= MAX_SUBSCRIBERS {
            self.prune_subscribers(now);
        }
        let (memory, log_size) = (&self.journal.state, self.journal.head().size);
        if reauthorize(&permit, &self.statements, memory, now).is_err() {
            self.run(permit, now, out);
        } else if let Some((ended, change)) =
            local::execute(&permit, &self.statements, memory, log_size, now)
        {
            self.end(command, ended, change, now, out);
        } else if permit.class() == Class::Read {
            self.run(permit, now, out);
        } else {
            // It may be the last thing that this boot does.
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

    /// The last moment before it starts: while the log was written, a list may have come that
    /// ends the share.
    pub(super) fn run(&mut self, permit: Box<Permit>, now: &Now, out: &mut Effects) {
        match reauthorize(&permit, &self.statements, &self.journal.state, now) {
            Ok(()) => out.actions.push(Action::Run(permit)),
            Err(code) => {
                let ended = OperationResult::denied(code, "the permission ended before it began");
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
        let verdict = CommandOutcome {
            command,
            holder: open.intent.asked.holder,
            outcome: ended.outcome,
            code: ended.code.and_then(|code| Id::new(code.name()).ok()),
            detail: ended.detail,
            result: ended.result,
            standing: self.standing(now),
            change,
        };
        let upload = self.upload_after(verdict.change.as_ref());
        let deleted = verdict.change == Some(Change::Deleted);
        let told = matches!(
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
        if deleted || told {
            self.update_watch(out);
        }
    }

    /// The owner has deleted the device: what is left is its log, and its signed word on how far
    /// that goes.
    fn delete(&mut self, now: &Now, out: &mut Effects) {
        out.batch.remove.append(&mut self.statements.delete());
        out.batch.registration = Some(Vec::new());
        self.after_log(AfterLog::Act(Action::SetSite(None)), out);
        self.after_log(AfterLog::Act(Action::ClearUserData), out);
        self.publish_state(now, out);
        self.checkpoint(now, out);
        self.schedule_next_end(now);
    }

    /// Whether what allowed an operation that is under way still does; long ones ask before they
    /// do what cannot be undone.
    ///
    /// # Errors
    /// The code that says why it does not.
    pub fn reauthorize(&mut self, permit: &Permit, reading: &ClockReading) -> Result<(), Code> {
        let now = self.clock.now(reading);
        reauthorize(permit, &self.statements, &self.journal.state, &now)
    }

    /// Tells whoever asked for it how far an operation has come. None of it is written down.
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

    /// Tells it again, if anything was said.
    pub(super) fn publish_progress(&mut self, command: Hash, now: &Now, out: &mut Effects) {
        let Some(open) = self.journal.open.get(&command) else {
            return;
        };
        let Some(rows) = self.progress.get(&command).filter(|_| self.store_works) else {
            return;
        };
        let verdict = CommandOutcome {
            command,
            holder: open.intent.asked.holder,
            outcome: Outcome::Executing,
            code: None,
            detail: None,
            result: rows.clone(),
            standing: self.standing(now),
            change: None,
        };
        self.publish_unrecorded(&verdict, now, out);
    }

    /// The same command came again while it runs. Copies are counted, and charged to the link,
    /// like those of one that has ended.
    pub(super) fn repeat_progress(&mut self, command: Hash, now: &Now, out: &mut Effects) {
        self.count_refusal(Code::Replay, out);
        self.publish_progress(command, now, out);
    }
}
