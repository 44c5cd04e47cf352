//! The tamper-evident event log as data: records, their hash chain, and their rendering as text.
//! The log on disk is in `doorward-transport`.

pub mod chain;
pub mod describe;
pub mod record;

use alloc::vec::Vec;

/// One write to the log.
#[derive(Debug, PartialEq, Eq)]
pub enum LogWrite {
    /// Start a new segment whose first record has this sequence number.
    Segment(u64),
    /// Append one encoded record.
    Append(Vec<u8>),
    /// Delete every segment whose records all precede this one.
    Drop(u64),
}
