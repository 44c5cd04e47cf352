//! Event logs for tests.

use doorward_protocol::event_log::LogWrite;
use doorward_protocol::event_log::record::{Event, Record};
use doorward_protocol::wire::{Bytes, Hash, Text, Timestamp, hash};

pub(super) fn record(seq: u64, previous: Hash) -> Record {
    Record {
        seq,
        previous,
        at: Timestamp(1_800_000_000 + seq),
        quality: 2,
        event: Event::Epoch(Bytes([7; 16]), Text::new("test").unwrap()),
    }
}

pub(super) fn chain(from: u64, mut previous: Hash, count: u64) -> Vec<Vec<u8>> {
    (from..from + count)
        .map(|seq| {
            let bytes = record(seq, previous).encode();
            previous = hash(&bytes);
            bytes
        })
        .collect()
}

pub(super) fn append(records: &[Vec<u8>]) -> Vec<LogWrite> {
    records.iter().cloned().map(LogWrite::Append).collect()
}
