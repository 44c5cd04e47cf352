//! Records of refused commands: the first ones of each sender in a window are recorded
//! individually, the rest as a count, so that refused commands cannot fill the log.

use std::collections::{BTreeMap, VecDeque};

use doorward_protocol::event_log::record::{Event, Sender};
use doorward_protocol::gate::Caller;
use doorward_protocol::wire::{Hash, Id, KeyBytes};

/// Denials recorded individually per sender and window.
const INDIVIDUAL: u64 = 8;
/// Length of the window, in seconds.
const WINDOW: u64 = 600;
/// Senders that are tracked at the same time.
const MAX_SENDERS: usize = 256;
/// Receipts without a record that are kept in memory.
const MAX_ANSWERS: usize = 64;

struct DenialRun {
    person: Id,
    /// Uptime of the first denial.
    since: u64,
    count: u64,
}

#[derive(Default)]
pub(super) struct DenialLog {
    runs: BTreeMap<KeyBytes, DenialRun>,
    /// Receipts of commands that were not recorded, for repeated commands.
    answers: VecDeque<(Hash, KeyBytes, Vec<u8>)>,
}

impl DenialLog {
    /// Counts a refused command. Returns whether it is to be recorded individually.
    pub(super) fn record(&mut self, caller: &Caller, uptime: u64) -> bool {
        if !self.runs.contains_key(&caller.key) && self.runs.len() >= MAX_SENDERS {
            return false;
        }
        let run = self.runs.entry(caller.key).or_insert_with(|| DenialRun {
            person: caller.person.clone(),
            since: uptime,
            count: 0,
        });
        run.count += 1;
        run.count <= INDIVIDUAL
    }

    /// Keeps the receipt of a command that was not recorded.
    pub(super) fn keep_answer(&mut self, command: Hash, holder: KeyBytes, receipt: Vec<u8>) {
        if self.answers.len() >= MAX_ANSWERS {
            self.answers.pop_front();
        }
        self.answers.push_back((command, holder, receipt));
    }

    /// The receipt of an earlier command that was not recorded.
    pub(super) fn answer(&self, command: &Hash) -> Option<(KeyBytes, Vec<u8>)> {
        let mut answers = self.answers.iter();
        let (_, holder, receipt) = answers.find(|(name, ..)| name == command)?;
        Some((*holder, receipt.clone()))
    }

    /// Removes the runs whose window is over and returns a summary of each.
    pub(super) fn drain_expired(&mut self, uptime: u64) -> Vec<Event> {
        let mut events = Vec::new();
        self.runs.retain(|holder, run| {
            let expired = uptime.saturating_sub(run.since) >= WINDOW;
            if expired && run.count > INDIVIDUAL {
                let sender = Sender {
                    holder: *holder,
                    person: run.person.clone(),
                };
                events.push(Event::DeniedMore(sender, run.count - INDIVIDUAL));
            }
            !expired
        });
        events
    }

    /// The uptime at which the next window with a summary to record is over.
    pub(super) fn due(&self) -> Option<u64> {
        let unwritten = self.runs.values().filter(|run| run.count > INDIVIDUAL);
        unwritten.map(|run| run.since + WINDOW).min()
    }
}
