//! Scans event logs of devices for events that owners are alerted to: the use of a share, and
//! repeated refusals of one sender.

use std::collections::{HashMap, VecDeque};

use doorward_protocol::event_log::record::{Event, Record};
use doorward_protocol::wire::{Bytes, Id, Timestamp};

/// Number of refusals of one person that cause an alert.
const BURST_SIZE: usize = 5;
/// Length of the window in which they must occur, in seconds.
const BURST_WINDOW: u64 = 60;

/// A finding in an event log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogFinding {
    /// A share was used.
    Used(Bytes<16>, Timestamp),
    /// Commands of a person were refused repeatedly.
    Refused(Id, Timestamp),
}

/// Inspects the records of one device in their order.
#[derive(Debug, Default)]
pub struct LogWatch {
    refused: HashMap<Id, VecDeque<Timestamp>>,
}

impl LogWatch {
    /// Returns the finding that a record completes, if any.
    pub fn inspect(&mut self, record: &Record) -> Option<LogFinding> {
        let (person, count) = match &record.event {
            Event::Intent(intent) => return Some(LogFinding::Used(intent.share?, record.at)),
            Event::Denied(asked, _) => (&asked.person, 1),
            Event::DeniedMore(sender, count) => (&sender.person, *count),
            _ => return None,
        };
        let times = self.refused.entry(person.clone()).or_default();
        let count = usize::try_from(count).unwrap_or(BURST_SIZE).min(BURST_SIZE);
        times.extend(std::iter::repeat_n(record.at, count));
        while times.len() > BURST_SIZE {
            times.pop_front();
        }
        let first = *times.front()?;
        let burst = times.len() == BURST_SIZE && record.at.since(first) <= BURST_WINDOW;
        if burst {
            times.clear();
        }
        burst.then(|| LogFinding::Refused(person.clone(), record.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorward_protocol::event_log::record::Sender;
    use doorward_protocol::wire::Hash;

    fn refused(at: u64, person: &str, count: u64) -> Record {
        Record {
            seq: 0,
            previous: Hash::default(),
            at: Timestamp(at),
            quality: 3,
            event: Event::DeniedMore(
                Sender {
                    holder: Bytes([1; 32]),
                    person: Id::new(person).unwrap(),
                },
                count,
            ),
        }
    }

    #[test]
    fn n23_five_refusals_of_one_person_within_a_minute_are_told_once() {
        let mut watch = LogWatch::default();
        let mut at = |at, person, count| watch.inspect(&refused(at, person, count)).is_some();
        assert!(!at(0, "eve", 1) && !at(10, "eve", 1) && !at(20, "ben", 3) && !at(30, "eve", 2));
        assert!(at(60, "eve", 1));
        assert!(!at(61, "eve", 1), "this burst was reported already");
        assert!(!at(81, "ben", 2), "the first three are too long ago");
        assert!(at(82, "ben", 3));
        assert!(at(100, "cleo", 400));
    }
}
