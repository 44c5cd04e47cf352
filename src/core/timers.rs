//! Timers: checkpoints, summaries of denials, expiry and repeated requests. On an idle device no
//! timer runs.

use crate::core::io::{Action, Effects};
use crate::core::machine::Core;
use doorward_protocol::event_log::record::Change;
use doorward_protocol::gate::Now;
use doorward_protocol::wire::{Bytes, Timestamp};

/// Records after which a checkpoint is published ...
const CHECKPOINT_RECORDS: u64 = 64;
/// ... or seconds after the first record that no checkpoint covers.
const CHECKPOINT_SECONDS: u64 = 600;

/// State of the timers.
#[derive(Default)]
pub(super) struct Timers {
    /// Size of the log at the last checkpoint.
    checkpointed: u64,
    /// Uptime of the first record that no checkpoint covers.
    uncovered_since: Option<u64>,
    /// Time after the recorded lower bound at which the next statement expires.
    next_end: Option<Timestamp>,
}

impl Core {
    /// The uptime at which the next [`Tick`](super::Input::Tick) is due, if any.
    #[must_use]
    pub fn due(&self, now: &Now) -> Option<u64> {
        let timers = self.store_works.then_some(&self.timers)?;
        let checkpoint = timers
            .uncovered_since
            .map(|since| since + CHECKPOINT_SECONDS);
        let end = timers
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
        // Expired statements must not become valid again after a start without a clock.
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
        if since.is_some_and(|since| now.uptime >= since + CHECKPOINT_SECONDS) {
            self.checkpoint(now, out);
        }
    }

    /// Publishes a checkpoint if one is due; called after every step.
    pub(super) fn watch_log(&mut self, now: &Now, out: &mut Effects) {
        let uncovered = self.journal.head().size - self.timers.checkpointed;
        if uncovered >= CHECKPOINT_RECORDS && self.store_works {
            self.checkpoint(now, out);
        } else if uncovered > 0 && self.timers.uncovered_since.is_none() {
            self.timers.uncovered_since = Some(now.uptime);
        }
    }

    pub(super) fn link_up(&mut self, now: &Now, out: &mut Effects) {
        self.publish_state(now, out);
        let acknowledged = self.journal.state.acknowledged;
        if acknowledged > 0 {
            out.actions.push(Action::Upload(acknowledged, false));
        }
    }

    /// The upload to start after a change. A collector that acknowledges no more than before has
    /// lost the records sent since then.
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

    /// Records that the current head was published, in a checkpoint or in `state`.
    pub(super) fn mark_checkpointed(&mut self) {
        self.timers.checkpointed = self.journal.head().size;
        self.timers.uncovered_since = None;
    }

    pub(super) fn schedule_next_end(&mut self, now: &Now) {
        self.timers.next_end = self.statements.next_end(now.lower_bound);
    }

    /// The same after one more share was installed, without checking all others.
    pub(super) fn schedule_end_of(&mut self, share: &Bytes<16>, now: &Now) {
        let share = self.statements.share(share).into_iter();
        let ends = share.flat_map(|share| self.statements.ends_of(share));
        let ends = ends.filter(|end| *end > now.lower_bound);
        self.timers.next_end = ends.chain(self.timers.next_end).min();
    }
}
