//! Reading the event log: what is whole, what is damaged, and what lies beyond the damage.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::files;
use crate::files::{Doing, FileError};
use doorward_protocol::event_log::chain::{holds_a_record, is_cut_short, next_record, split_frame};
use doorward_protocol::event_log::record::{MAX_RECORD, Record};
use doorward_protocol::wire::{Hash, LogHead, hash};

/// A segment with its last record can be this long, and no longer.
pub(super) const MAX_SEGMENT: u64 = (1 << 20) + 2 * MAX_RECORD as u64;

/// What was wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// The last write was cut short, as a power cut does; nothing had been acted upon.
    Torn {
        /// The segment.
        segment: PathBuf,
        /// Bytes that were cut off.
        lost: u64,
    },
    /// A record that had been written is missing or changed.
    Broken {
        /// The segment.
        segment: PathBuf,
        /// Sequence number of the first bad record.
        record: u64,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An earlier break was mended, and then nothing could be written any more.
    Unanswered,
}

impl Damage {
    /// Whether something is gone that may have been acted upon.
    #[must_use]
    pub fn is_break(&self) -> bool {
        match self {
            Self::Torn { .. } => false,
            Self::Broken { .. } | Self::Unanswered => true,
        }
    }
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Torn { segment, lost } => write!(
                f,
                "the last write to {} was cut short; {lost} bytes that nothing had acted upon are dropped",
                segment.display()
            ),
            Self::Broken {
                segment,
                record,
                why,
            } => write!(f, "record {record} in {} is bad: {why}", segment.display()),
            Self::Unanswered => f.write_str("an earlier break of the log is still unanswered"),
        }
    }
}

/// Why a log is not the one that a head was taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Differs {
    /// It ends before the head: records were cut off.
    Shorter,
    /// The last record that the head covers is another one: the log was written anew.
    Other,
    /// That record is no longer kept here.
    Gone,
}

impl Found {
    /// Compares the log with a head that somebody remembers, such as from a receipt.
    ///
    /// # Errors
    /// How they differ.
    pub fn agrees_with(&self, head: LogHead) -> Result<(), Differs> {
        let Some(last) = head.size.checked_sub(1) else {
            return Ok(());
        };
        let first = self.records.first().map_or(0, |record| record.seq);
        let at = last.checked_sub(first).ok_or(Differs::Gone)?;
        let record = usize::try_from(at).ok().and_then(|at| self.records.get(at));
        match record {
            None => Err(Differs::Shorter),
            Some(record) if hash(&record.encode()) == head.hash => Ok(()),
            Some(_) => Err(Differs::Other),
        }
    }
}

/// A log as it was found on disk.
#[derive(Debug)]
pub struct Found {
    /// The good records, oldest first, up to the first damage.
    pub records: Vec<Record>,
    /// What comes after them.
    pub damage: Option<Damage>,
    /// The segment that the last good record is in, or would be.
    pub(super) newest: Option<PathBuf>,
    pub(super) good_length: u64,
}

/// Reads a log without changing it.
///
/// # Errors
/// If it cannot be read; damage is no error but part of what was found.
pub fn read_log(directory: &Path) -> Result<Found, FileError> {
    let mut found = Found {
        records: Vec::new(),
        damage: None,
        newest: None,
        good_length: 0,
    };
    let paths = segments(directory).doing("list", directory)?;
    let mut previous: Option<Hash> = None;
    for (at, path) in paths.iter().enumerate() {
        let bytes = files::read(path, MAX_SEGMENT)?;
        let mut rest = bytes.as_slice();
        let mut fault = None;
        while !rest.is_empty() {
            match next_record(rest, found.records.last(), previous) {
                Ok((record, this, after)) => {
                    previous = Some(this);
                    found.records.push(record);
                    rest = after;
                }
                Err(why) => {
                    fault = Some(why);
                    break;
                }
            }
        }
        found.good_length = (bytes.len() - rest.len()) as u64;
        let record = found.records.last().map_or(0, |r| r.seq + 1);
        // A segment may be empty if power went before its first record was durable.
        found.newest = Some(path.clone());
        let Some(why) = fault else { continue };
        let last = at + 1 == paths.len();
        found.damage = Some(if last && is_cut_short(rest) && !holds_a_record(rest) {
            Damage::Torn {
                segment: path.clone(),
                lost: rest.len() as u64,
            }
        } else {
            Damage::Broken {
                segment: path.clone(),
                record,
                why,
            }
        });
        break;
    }
    Ok(found)
}

pub(super) fn segments(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "log") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// The whole records that were set aside beyond the end of the log.
pub(super) fn salvage(directory: &Path, last: Option<&Record>) -> io::Result<Vec<Record>> {
    let next = last.map_or(0, |record| record.seq + 1);
    let mut records = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_none_or(|e| e != "broken")
            || fs::metadata(&path)?.len() > MAX_SEGMENT
        {
            continue;
        }
        let bytes = fs::read(&path)?;
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            rest = match split_frame(rest) {
                Some((payload, _, after)) => {
                    records.extend(Record::decode(payload).ok().filter(|r| r.seq >= next));
                    after
                }
                None => rest.get(1..).unwrap_or_default(),
            };
        }
    }
    records.sort_by_key(|record| record.seq);
    Ok(records)
}
