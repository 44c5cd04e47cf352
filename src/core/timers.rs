//! What the device does by itself when its time has come. On a device where nothing changes
//! nothing is ever due.

use crate::core::io::{Action, Effects};
use crate::core::machine::Core;
use doorward_protocol::event_log::record::Change;
use doorward_protocol::gate::Now;
use doorward_protocol::wire::{Bytes, Timestamp};

/// A checkpoint goes out after so many records ...
const RECORDS: u64 = 64;
/// ... or so many seconds after the first that none has covered.
const SECONDS: u64 = 600;

/// When something is to be done.
#[derive(Default)]
pub(super) struct Timers {
    /// Records that the last checkpoint covered.
    checkpointed: u64,
    /// Uptime at which a record was first seen that none has covered.
    uncovered_since: Option<u64>,
    /// The next time, after what is written down for certain, at which something ends.
    next_end: Option<Timestamp>,
}

impl Core {
    /// The uptime at which a [`Tick`](super::Input::Tick) is wanted, if one is.
    #[must_use]
    pub fn due(&self, now: &Now) -> Option<u64> {
        let chores = self.store_works.then_some(&self.timers)?;
        let checkpoint = chores.uncovered_since.map(|since| since + SECONDS);
        let end = chores
            .next_end
            .map(|end| now.uptime + end.since(now.lower_bound));
        [self.denials.due(), self.rate_limiter.due(), checkpoint, end]
            .into_iter()
            .flatten()
            .min()
    }

    pub(super) fn tick(&mut self, now: &Now, out: &mut Effects) {
        for event in self.denials.drain_expired(now.uptime) {
            self.journal.append(event, now, &mut out.batch);
        }
        // What has ended must not live again after a start without a clock.
        if self
            .timers
            .next_end
            .is_some_and(|end| end <= now.lower_bound)
        {
            self.journal.count_time(now, &mut out.batch);
            self.schedule_next_end(now);
        }
        if self.rate_limiter.take_due_refresh(now.uptime) {
            out.actions.push(Action::RequestRetained);
        }
        let since = self.timers.uncovered_since;
        if since.is_some_and(|since| now.uptime >= since + SECONDS) {
            self.checkpoint(now, out);
        }
    }

    /// After every step: is a checkpoint owed?
    pub(super) fn watch_log(&mut self, now: &Now, out: &mut Effects) {
        let uncovered = self.journal.head().size - self.timers.checkpointed;
        if uncovered >= RECORDS && self.store_works {
            self.checkpoint(now, out);
        } else if uncovered > 0 && self.timers.uncovered_since.is_none() {
            self.timers.uncovered_since = Some(now.uptime);
        }
    }

    pub(super) fn link_up(&mut self, now: &Now, out: &mut Effects) {
        self.publish_state(now, out);
        let kept = self.journal.state.acknowledged;
        if kept > 0 {
            out.actions.push(Action::Upload(kept, false));
        }
    }

    /// Which records are to be sent after a change. Who acknowledges no more than before has
    /// lost what was sent since.
    pub(super) fn upload_after(&self, change: Option<&Change>) -> Option<Action> {
        match change {
            Some(Change::Acknowledged(size)) => {
                let again = *size <= self.journal.state.acknowledged;
                Some(Action::Upload(*size, again))
            }
            _ => None,
        }
    }

    pub(super) fn checkpoint(&mut self, now: &Now, out: &mut Effects) {
        self.mark_checkpointed();
        self.publish_checkpoint(now, out);
    }

    /// A `state`, which holds the log's head too, has just gone out.
    pub(super) fn mark_checkpointed(&mut self) {
        self.timers.checkpointed = self.journal.head().size;
        self.timers.uncovered_since = None;
    }

    pub(super) fn schedule_next_end(&mut self, now: &Now) {
        self.timers.next_end = self.statements.next_end(now.lower_bound);
    }

    /// The same for one more share, without a look at all the others.
    pub(super) fn schedule_end_of(&mut self, share: &Bytes<16>, now: &Now) {
        let share = self.statements.share(share).into_iter();
        let ends = share.flat_map(|share| self.statements.ends_of(share));
        let ends = ends.filter(|end| *end > now.lower_bound);
        self.timers.next_end = ends.chain(self.timers.next_end).min();
    }
}
