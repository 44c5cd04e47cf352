//! The tamper-evident event log as data: records, the chain of hashes that holds them together, and
//! how a record reads for people. Where and how it is stored is the daemon's business.

pub mod chain;
pub mod describe;
pub mod record;

use alloc::vec::Vec;

/// One write to the log.
#[derive(Debug, PartialEq, Eq)]
pub enum LogWrite {
    /// Begin a new segment whose first record has this sequence number.
    Segment(u64),
    /// Append one encoded record.
    Append(Vec<u8>),
    /// Delete every segment whose records all come before this one.
    Drop(u64),
}
