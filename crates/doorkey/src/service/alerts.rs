//! What an owner wants to hear of a device's log: that a share is used, and that somebody is
//! refused again and again.

use std::collections::{HashMap, VecDeque};

use doorward_protocol::event_log::record::{Event, Record};
use doorward_protocol::wire::{Bytes, Id, Timestamp};

/// So many refusals of one person ...
const REFUSALS: usize = 5;
/// ... within so many seconds are worth an alert.
const WITHIN: u64 = 60;

/// Something worth telling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogFinding {
    /// A share was used.
    Used(Bytes<16>, Timestamp),
    /// Somebody was refused again and again.
    Refused(Id, Timestamp),
}

/// Looks at records in their order.
#[derive(Debug, Default)]
pub struct LogWatch {
    refused: HashMap<Id, VecDeque<Timestamp>>,
}

impl LogWatch {
    /// What a record tells, if that is worth telling.
    pub fn inspect(&mut self, record: &Record) -> Option<LogFinding> {
        let (person, more) = match &record.event {
            Event::Intent(intent) => return Some(LogFinding::Used(intent.share?, record.at)),
            Event::Denied(asked, _) => (&asked.person, 1),
            Event::DeniedMore(sender, more) => (&sender.person, *more),
            _ => return None,
        };
        let times = self.refused.entry(person.clone()).or_default();
        let more = usize::try_from(more).unwrap_or(REFUSALS).min(REFUSALS);
        times.extend(std::iter::repeat_n(record.at, more));
        while times.len() > REFUSALS {
            times.pop_front();
        }
        let first = *times.front()?;
        let burst = times.len() == REFUSALS && record.at.since(first) <= WITHIN;
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
        assert!(!at(61, "eve", 1), "that burst was told");
        assert!(!at(81, "ben", 2), "the first three are too long ago");
        assert!(at(82, "ben", 3));
        assert!(at(100, "cleo", 400));
    }
}
