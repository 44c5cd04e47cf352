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
pub(super) struct Chores {
    /// Records that the last checkpoint covered.
    covered: u64,
    /// Uptime at which a record was first seen that none has covered.
    uncovered_since: Option<u64>,
    /// The next time, after what is written down for certain, at which something ends.
    next_end: Option<Timestamp>,
}

impl Core {
    /// The uptime at which a [`Tick`](super::Input::Tick) is wanted, if one is.
    #[must_use]
    pub fn due(&self, now: &Now) -> Option<u64> {
        let chores = self.store_works.then_some(&self.chores)?;
        let checkpoint = chores.uncovered_since.map(|since| since + SECONDS);
        let end = chores
            .next_end
            .map(|end| now.uptime + end.since(now.certain));
        [self.denials.due(), self.floods.due(), checkpoint, end]
            .into_iter()
            .flatten()
            .min()
    }

    pub(super) fn tick(&mut self, now: &Now, out: &mut Effects) {
        for event in self.denials.over(now.uptime) {
            self.journal.append(event, now, &mut out.batch);
        }
        // What has ended must not live again after a start without a clock.
        if self.chores.next_end.is_some_and(|end| end <= now.certain) {
            self.journal.count_time(now, &mut out.batch);
            self.look_for_ends(now);
        }
        if self.floods.over(now.uptime) {
            out.actions.push(Action::Refresh);
        }
        let since = self.chores.uncovered_since;
        if since.is_some_and(|since| now.uptime >= since + SECONDS) {
            self.checkpoint(now, out);
        }
    }

    /// After every step: is a checkpoint owed?
    pub(super) fn watch_log(&mut self, now: &Now, out: &mut Effects) {
        let uncovered = self.journal.head().size - self.chores.covered;
        if uncovered >= RECORDS && self.store_works {
            self.checkpoint(now, out);
        } else if uncovered > 0 && self.chores.uncovered_since.is_none() {
            self.chores.uncovered_since = Some(now.uptime);
        }
    }

    pub(super) fn link_up(&mut self, now: &Now, out: &mut Effects) {
        self.publish_state(now, out);
        let kept = self.journal.memory.acknowledged;
        if kept > 0 {
            out.actions.push(Action::Upload(kept, false));
        }
    }

    /// Which records are to be sent after a change. Who acknowledges no more than before has
    /// lost what was sent since.
    pub(super) fn upload_after(&self, change: Option<&Change>) -> Option<Action> {
        match change {
            Some(Change::Acknowledged(size)) => {
                let again = *size <= self.journal.memory.acknowledged;
                Some(Action::Upload(*size, again))
            }
            _ => None,
        }
    }

    pub(super) fn checkpoint(&mut self, now: &Now, out: &mut Effects) {
        self.covered();
        self.publish_checkpoint(now, out);
    }

    /// A `state`, which holds the log's head too, has just gone out.
    pub(super) fn covered(&mut self) {
        self.chores.covered = self.journal.head().size;
        self.chores.uncovered_since = None;
    }

    pub(super) fn look_for_ends(&mut self, now: &Now) {
        self.chores.next_end = self.known.next_end(now.certain);
    }

    /// The same for one more share, without a look at all the others.
    pub(super) fn look_for_ends_of(&mut self, share: &Bytes<16>, now: &Now) {
        let share = self.known.share(share).into_iter();
        let ends = share.flat_map(|share| self.known.ends_of(share));
        let ends = ends.filter(|end| *end > now.certain);
        self.chores.next_end = ends.chain(self.chores.next_end).min();
    }
}
