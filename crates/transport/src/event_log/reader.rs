//! Reading the event log: valid records, damage, and complete records after the damage.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::files;
use crate::files::{Doing, FileError};
use doorward_protocol::event_log::chain::{holds_a_record, is_cut_short, next_record, split_frame};
use doorward_protocol::event_log::record::{MAX_RECORD, Record};
use doorward_protocol::wire::{Hash, LogHead, hash};

/// Maximum size of a segment with its last record, in bytes.
pub(super) const MAX_SEGMENT: u64 = (1 << 20) + 2 * MAX_RECORD as u64;

/// Damage of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// The last write is incomplete, as after a power cut; its records have had no effect.
    Torn {
        /// The segment.
        segment: PathBuf,
        /// Number of bytes to discard.
        lost: u64,
    },
    /// A written record is missing or changed.
    Broken {
        /// The segment.
        segment: PathBuf,
        /// Sequence number of the first damaged record.
        record: u64,
        /// The kind of damage.
        why: &'static str,
    },
    /// Earlier damage was repaired, but the new epoch that records it is not durable.
    RecoveryNotRecorded,
}

impl Damage {
    /// Returns whether records may be lost that have had an effect.
    #[must_use]
    pub fn is_break(&self) -> bool {
        match self {
            Self::Torn { .. } => false,
            Self::Broken { .. } | Self::RecoveryNotRecorded => true,
        }
    }
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Torn { segment, lost } => write!(
                f,
                "the last write to {} is incomplete; its {lost} bytes are discarded",
                segment.display()
            ),
            Self::Broken {
                segment,
                record,
                why,
            } => write!(
                f,
                "record {record} in {} is damaged: {why}",
                segment.display()
            ),
            Self::RecoveryNotRecorded => {
                f.write_str("earlier damage was repaired, but the recovery is not recorded yet")
            }
        }
    }
}

/// The difference between a log and a signed head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Differs {
    /// The log ends before the head: records were removed.
    Shorter,
    /// The last record that the head covers is another one: the log was rewritten.
    Other,
    /// That record is no longer stored.
    Gone,
}

impl Found {
    /// Compares the log with an earlier head, such as from a receipt.
    ///
    /// # Errors
    /// The difference.
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

/// The content of a log on disk.
#[derive(Debug)]
pub struct Found {
    /// The valid records, oldest first, up to the first damage.
    pub records: Vec<Record>,
    /// The damage after them.
    pub damage: Option<Damage>,
    /// The segment of the last valid record, or of the next one.
    pub(super) newest: Option<PathBuf>,
    /// Length of that segment up to its last valid record, in bytes.
    pub(super) valid_length: u64,
}

/// Reads a log without changing it.
///
/// # Errors
/// If it cannot be read. Damage is not an error, but part of the result.
pub fn read_log(directory: &Path) -> Result<Found, FileError> {
    let mut found = Found {
        records: Vec::new(),
        damage: None,
        newest: None,
        valid_length: 0,
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
        found.valid_length = (bytes.len() - rest.len()) as u64;
        let record = found.records.last().map_or(0, |r| r.seq + 1);
        // A segment is empty if power was lost before its first record was durable.
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

/// Reads the complete records in quarantined segments that follow the end of the log.
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
