//! Refused commands: the first few of a sender are written down one by one, the rest of a
//! while as a number, so that nobody can fill the log with what they may not do.

use std::collections::{BTreeMap, VecDeque};

use doorward_protocol::event_log::record::{Event, Sender};
use doorward_protocol::gate::Caller;
use doorward_protocol::wire::{Hash, Id, KeyBytes};

/// So many of one sender are written down one by one ...
const INDIVIDUAL: u64 = 8;
/// ... within so many seconds from the first.
const WINDOW: u64 = 600;
/// Senders that are told apart at a time.
const SENDERS: usize = 256;
/// Answers that are kept although no record stands for them.
const ANSWERS: usize = 64;

struct DenialRun {
    person: Id,
    /// Uptime of the first.
    since: u64,
    count: u64,
}

#[derive(Default)]
pub(super) struct DenialLog {
    runs: BTreeMap<KeyBytes, DenialRun>,
    /// What was answered to commands that were not written down, for when they come again.
    answers: VecDeque<(Hash, KeyBytes, Vec<u8>)>,
}

impl DenialLog {
    /// Counts a refused command. Returns whether it is written down by itself.
    pub(super) fn record(&mut self, caller: &Caller, uptime: u64) -> bool {
        if !self.runs.contains_key(&caller.key) && self.runs.len() >= SENDERS {
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

    /// Keeps the answer to a command that was not written down.
    pub(super) fn keep_answer(&mut self, command: Hash, holder: KeyBytes, receipt: Vec<u8>) {
        if self.answers.len() >= ANSWERS {
            self.answers.pop_front();
        }
        self.answers.push_back((command, holder, receipt));
    }

    /// The answer to a command that came before and was not written down.
    pub(super) fn answer(&self, command: &Hash) -> Option<(KeyBytes, Vec<u8>)> {
        let mut answers = self.answers.iter();
        let (_, holder, receipt) = answers.find(|(name, ..)| name == command)?;
        Some((*holder, receipt.clone()))
    }

    /// The numbers of those whose while is over.
    pub(super) fn drain_expired(&mut self, uptime: u64) -> Vec<Event> {
        let mut events = Vec::new();
        self.runs.retain(|holder, run| {
            let over = uptime.saturating_sub(run.since) >= WINDOW;
            if over && run.count > INDIVIDUAL {
                let sender = Sender {
                    holder: *holder,
                    person: run.person.clone(),
                };
                events.push(Event::DeniedMore(sender, run.count - INDIVIDUAL));
            }
            !over
        });
        events
    }

    /// The uptime at which the next while with something to write down is over.
    pub(super) fn due(&self) -> Option<u64> {
        let unwritten = self.runs.values().filter(|run| run.count > INDIVIDUAL);
        unwritten.map(|run| run.since + WINDOW).min()
    }
}
