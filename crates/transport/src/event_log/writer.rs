//! The event log: append-only segments of framed records. A frame is the record's length
//! (4 bytes, big-endian), the record, and the first 8 bytes of its SHA-256.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::event_log::reader::{Damage, Found, read_log, salvage, segments};
use crate::files;
use crate::files::{Doing, FileError};
use doorward_protocol::event_log::LogWrite;
use doorward_protocol::event_log::chain::append_frame;
use doorward_protocol::event_log::record::Record;

/// The marker file for repaired damage, until the new epoch that records it is durable.
const RECOVERY_MARKER: &str = "unanswered";

/// The log, open for appending.
pub struct Log {
    directory: PathBuf,
    segment: Option<File>,
    /// Length of the segment up to its last durable record.
    length: u64,
    /// The marker file, if it exists: from before a repair until the new epoch is durable.
    recovery_marker: Option<PathBuf>,
}

/// A log that is open for appending, and its content.
pub struct Opened {
    /// The log.
    pub log: Log,
    /// The valid records, oldest first.
    pub records: Vec<Record>,
    /// The damage after them.
    pub damage: Option<Damage>,
    /// Complete records after the damage, oldest first. They are no longer part of the log, but
    /// shares that they ended or uses that they counted must not become valid again.
    pub salvaged: Vec<Record>,
}

impl Log {
    /// Reads the whole log and prepares it for appending: an incomplete last write is truncated,
    /// and damaged records and all that follow are quarantined.
    ///
    /// # Errors
    /// If the directory cannot be read or written.
    pub fn open(directory: &Path) -> Result<Opened, FileError> {
        files::create_private_directory(directory)?;
        let mut found = read_log(directory)?;
        let marker = directory.join(RECOVERY_MARKER);
        if matches!(found.damage, Some(Damage::Broken { .. })) {
            files::replace(&marker, b"damage is being repaired\n", 0o600)?;
        }
        if let Some(damage) = &found.damage {
            repair(directory, damage, &found)?;
        }
        // An empty segment does not begin with a snapshot; continue the previous one.
        if found.valid_length == 0 && remove_empty(directory).doing("clean up", directory)? {
            found = read_log(directory)?;
        }
        let recovery_marker = marker.exists().then_some(marker);
        let mut salvaged = Vec::new();
        if recovery_marker.is_some() {
            salvaged = salvage(directory, found.records.last())
                .doing("read the quarantined segments in", directory)?;
            if !matches!(found.damage, Some(Damage::Broken { .. })) {
                found.damage = Some(Damage::RecoveryNotRecorded);
            }
        }
        let segment = found.newest.as_deref().map(open_segment).transpose()?;
        let log = Self {
            directory: directory.to_owned(),
            segment,
            length: found.valid_length,
            recovery_marker,
        };
        Ok(Opened {
            log,
            records: found.records,
            damage: found.damage,
            salvaged,
        })
    }

    /// Performs writes in order. Consecutive records become durable with one `fdatasync`.
    ///
    /// # Errors
    /// If they could not be made durable. The content of the disk is then uncertain, and the store
    /// must not write any more.
    pub fn write(&mut self, writes: &[LogWrite]) -> Result<(), FileError> {
        self.try_write(writes).doing("write to", &self.directory)
    }

    fn try_write(&mut self, writes: &[LogWrite]) -> io::Result<()> {
        let mut frames = Vec::new();
        for write in writes {
            match write {
                LogWrite::Append(record) => {
                    if !append_frame(record, &mut frames) {
                        return Err(io::Error::other("a record of invalid length"));
                    }
                }
                LogWrite::Segment(first) => {
                    self.flush(&mut frames)?;
                    self.start_segment(*first)?;
                }
                LogWrite::Drop(before) => {
                    self.flush(&mut frames)?;
                    drop_before(&self.directory, *before)?;
                }
            }
        }
        self.flush(&mut frames)?;
        if let Some(marker) = &self.recovery_marker {
            fs::remove_file(marker)?;
            files::sync_parent(marker)?;
            self.recovery_marker = None;
        }
        Ok(())
    }

    fn flush(&mut self, frames: &mut Vec<u8>) -> io::Result<()> {
        if frames.is_empty() {
            return Ok(());
        }
        let Some(file) = &self.segment else {
            return Err(io::Error::other("no segment has been started"));
        };
        let written = file
            .write_all_at(frames, self.length)
            .and_then(|()| file.sync_data());
        if written.is_err() {
            // Try to leave no incomplete record behind.
            let _ = file.set_len(self.length);
        }
        written?;
        self.length += frames.len() as u64;
        frames.clear();
        Ok(())
    }

    fn start_segment(&mut self, first: u64) -> io::Result<()> {
        let path = self.directory.join(format!("{first:016x}.log"));
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)?;
        file.sync_all()?;
        files::sync_parent(&path)?;
        self.segment = Some(file);
        self.length = 0;
        Ok(())
    }
}

fn open_segment(path: &Path) -> Result<File, FileError> {
    OpenOptions::new()
        .write(true)
        .open(path)
        .doing("open", path)
}

/// Deletes every segment but the newest, which begins with a snapshot of the state. Returns the
/// number of deleted records. The caller must hold the lock of the state directory.
///
/// # Errors
/// If the log is damaged, or a file cannot be removed.
pub fn trim(directory: &Path) -> Result<u64, FileError> {
    let found = read_log(directory)?;
    if let Some(damage) = found.damage {
        return Err(files::invalid(damage.to_string())).doing("trim", directory);
    }
    remove_empty(directory).doing("clean up", directory)?;
    let newest = segments(directory).doing("list", directory)?.pop();
    let kept = newest.as_deref().and_then(first_of).unwrap_or(0);
    let oldest = found.records.first().map_or(0, |record| record.seq);
    drop_before(directory, kept).doing("trim", directory)?;
    Ok(kept.saturating_sub(oldest))
}

/// The sequence number of the first record of a segment, which is its name.
pub(super) fn first_of(segment: &Path) -> Option<u64> {
    u64::from_str_radix(segment.file_stem()?.to_str()?, 16).ok()
}

/// Deletes the segments that end before a record, oldest first, so that the rest is one chain even
/// after a power cut.
fn drop_before(directory: &Path, record: u64) -> io::Result<()> {
    let paths = segments(directory)?;
    for pair in paths.windows(2) {
        if first_of(&pair[1]).is_none_or(|next| next > record) {
            break;
        }
        fs::remove_file(&pair[0])?;
        files::sync_parent(&pair[0])?;
    }
    Ok(())
}

/// Deletes the newest segment if it is empty and not the only one. Returns whether it was deleted.
fn remove_empty(directory: &Path) -> io::Result<bool> {
    let paths = segments(directory)?;
    let [_, .., newest] = paths.as_slice() else {
        return Ok(false);
    };
    if fs::metadata(newest)?.len() > 0 {
        return Ok(false);
    }
    fs::remove_file(newest)?;
    files::sync_parent(newest)?;
    Ok(true)
}

/// Truncates the damaged segment after its last valid record. A copy of a segment with a changed
/// record, and all later segments, are quarantined as `*.broken`.
fn repair(directory: &Path, damage: &Damage, found: &Found) -> Result<(), FileError> {
    let (Damage::Torn { segment, .. } | Damage::Broken { segment, .. }) = damage else {
        return Ok(());
    };
    let repair = || -> io::Result<()> {
        if matches!(damage, Damage::Broken { .. }) {
            fs::copy(segment, segment.with_extension("broken"))?;
            for later in segments(directory)?.iter().filter(|path| *path > segment) {
                fs::rename(later, later.with_extension("broken"))?;
            }
        }
        let file = OpenOptions::new().write(true).open(segment)?;
        file.set_len(found.valid_length)?;
        file.sync_all()?;
        files::sync_parent(segment)
    };
    repair().doing("repair", segment)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_log::test_support::{append, chain, record};
    use doorward_protocol::event_log::chain::LENGTH;
    use doorward_protocol::event_log::record::Event;
    use doorward_protocol::wire::Bytes;
    use doorward_protocol::wire::hash;

    /// A log of five records in one segment, and the path of that segment.
    fn five(directory: &Path) -> PathBuf {
        let mut log = Log::open(directory).unwrap().log;
        log.write(&[LogWrite::Segment(0)]).unwrap();
        log.write(&append(&chain(0, Bytes([0; 32]), 5))).unwrap();
        segments(directory).unwrap().remove(0)
    }

    #[test]
    fn records_come_back_and_the_log_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        five(directory.path());
        let Opened {
            mut log,
            records,
            damage,
            ..
        } = Log::open(directory.path()).unwrap();
        assert_eq!((records.len(), &damage), (5, &None));
        let last = hash(&records[4].encode());
        log.write(&append(&chain(5, last, 2))).unwrap();
        let found = read_log(directory.path()).unwrap();
        assert_eq!((found.records.len(), found.damage), (7, None));
    }

    #[test]
    fn a_torn_end_is_cut_off_at_every_byte() {
        let directory = tempfile::tempdir().unwrap();
        let segment = five(directory.path());
        let whole = fs::read(&segment).unwrap();
        let frame = whole.len() / 5;
        for length in 0..whole.len() {
            fs::write(&segment, &whole[..length]).unwrap();
            let Opened {
                records, damage, ..
            } = Log::open(directory.path()).unwrap();
            assert_eq!(records.len(), length / frame, "cut at {length}");
            assert_eq!(damage.is_some(), length % frame != 0, "cut at {length}");
            assert!(!matches!(damage, Some(Damage::Broken { .. })));
            assert_eq!(fs::read(&segment).unwrap().len(), length / frame * frame);
        }
    }

    #[test]
    fn a_change_before_the_end_is_a_break_and_names_the_record() {
        let directory = tempfile::tempdir().unwrap();
        let segment = five(directory.path());
        let whole = fs::read(&segment).unwrap();
        let frame = whole.len() / 5;
        for at in 0..4 * frame {
            let mut changed = whole.clone();
            changed[at] ^= 0x10;
            fs::write(&segment, &changed).unwrap();
            let found = read_log(directory.path()).unwrap();
            let bad = (at / frame) as u64;
            assert_eq!(found.records.len() as u64, bad, "changed at {at}");
            assert!(
                matches!(found.damage, Some(Damage::Broken { record, .. }) if record == bad),
                "changed at {at}: {:?}",
                found.damage
            );
        }
    }

    #[test]
    fn a_change_in_the_last_record_is_a_break_too_and_empty_room_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let segment = five(directory.path());
        let whole = fs::read(&segment).unwrap();
        let frame = whole.len() / 5;
        for at in 4 * frame + LENGTH..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0x10;
            fs::write(&segment, &changed).unwrap();
            let found = read_log(directory.path()).unwrap();
            let is_broken = matches!(found.damage, Some(Damage::Broken { record: 4, .. }));
            assert!(is_broken, "changed at {at}: {:?}", found.damage);
        }
        let padded = [&whole[..], &[0; 4096]].concat();
        fs::write(&segment, padded).unwrap();
        let found = read_log(directory.path()).unwrap();
        assert!(matches!(
            found.damage,
            Some(Damage::Torn { lost: 4096, .. })
        ));
    }

    #[test]
    fn after_a_break_the_rest_is_set_aside_and_the_log_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let segment = five(directory.path());
        let mut changed = fs::read(&segment).unwrap();
        let frame = changed.len() / 5;
        changed[2 * frame + 20] ^= 1;
        fs::write(&segment, &changed).unwrap();
        // Until a write after the repair, the recovery is not recorded, and the records after
        // the damage are salvaged.
        for attempt in 0..3 {
            let opened = Log::open(directory.path()).unwrap();
            assert_eq!(opened.records.len(), 2);
            let salvaged: Vec<u64> = opened.salvaged.iter().map(|r| r.seq).collect();
            assert_eq!(salvaged, [3, 4], "complete, but not part of the log");
            let expected = attempt == 0;
            assert_eq!(
                matches!(opened.damage, Some(Damage::Broken { .. })),
                expected
            );
            assert_eq!(
                opened.damage == Some(Damage::RecoveryNotRecorded),
                !expected
            );
        }
        let Opened {
            mut log, records, ..
        } = Log::open(directory.path()).unwrap();
        assert_eq!(
            fs::read(segment.with_extension("broken")).unwrap(),
            changed,
            "the damaged segment is kept"
        );
        let last = hash(&records[1].encode());
        log.write(&append(&chain(2, last, 1))).unwrap();
        drop(log);
        let opened = Log::open(directory.path()).unwrap();
        assert_eq!((opened.records.len(), opened.damage), (3, None));
        assert!(opened.salvaged.is_empty());
    }

    #[test]
    fn trimming_leaves_the_newest_segment_and_one_chain() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = Log::open(directory.path()).unwrap().log;
        let mut records = chain(0, Bytes([0; 32]), 4);
        let snapshot = Record {
            event: Event::Snapshot(Default::default()),
            ..record(4, hash(&records[3]))
        };
        records.push(snapshot.encode());
        log.write(&[LogWrite::Segment(0)]).unwrap();
        log.write(&append(&records[..4])).unwrap();
        log.write(&[LogWrite::Segment(4)]).unwrap();
        log.write(&append(&records[4..])).unwrap();
        assert_eq!(trim(directory.path()).unwrap(), 4);
        let found = read_log(directory.path()).unwrap();
        assert_eq!((found.records.len(), found.records[0].seq), (1, 4));
        assert_eq!(found.damage, None);
        assert_eq!(trim(directory.path()).unwrap(), 0);
    }

    #[test]
    fn a_segment_that_was_begun_and_not_written_to_is_no_end_to_trim_to() {
        let directory = tempfile::tempdir().unwrap();
        let records = chain(0, Bytes([0; 32]), 3);
        let mut log = Log::open(directory.path()).unwrap().log;
        log.write(&[LogWrite::Segment(0)]).unwrap();
        log.write(&append(&records)).unwrap();
        log.write(&[LogWrite::Segment(3)]).unwrap();
        drop(log);
        assert_eq!(trim(directory.path()).unwrap(), 0);
        let mut opened = Log::open(directory.path()).unwrap();
        assert_eq!((opened.records.len(), opened.damage), (3, None));
        let last = hash(&records[2]);
        opened.log.write(&append(&chain(3, last, 1))).unwrap();
        assert_eq!(segments(directory.path()).unwrap().len(), 1);
        assert_eq!(read_log(directory.path()).unwrap().records.len(), 4);
    }

    #[test]
    fn only_segments_that_end_before_a_record_are_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = Log::open(directory.path()).unwrap().log;
        for first in [0, 4, 9] {
            log.write(&[LogWrite::Segment(first)]).unwrap();
        }
        let left = |log: &mut Log, before| {
            log.write(&[LogWrite::Drop(before)]).unwrap();
            segments(directory.path()).unwrap().len()
        };
        assert_eq!(left(&mut log, 3), 3);
        assert_eq!(left(&mut log, 4), 2);
        assert_eq!(left(&mut log, 8), 2);
        assert_eq!(left(&mut log, 100), 1, "never the newest");
    }

    #[test]
    fn a_missing_segment_is_a_break() {
        let directory = tempfile::tempdir().unwrap();
        let records = chain(0, Bytes([0; 32]), 6);
        let mut log = Log::open(directory.path()).unwrap().log;
        for pair in 0..3 {
            log.write(&[LogWrite::Segment(pair * 2)]).unwrap();
            let at = pair as usize * 2;
            log.write(&append(&records[at..at + 2])).unwrap();
        }
        assert_eq!(read_log(directory.path()).unwrap().records.len(), 6);
        fs::remove_file(&segments(directory.path()).unwrap()[1]).unwrap();
        let found = read_log(directory.path()).unwrap();
        assert!(matches!(
            found.damage,
            Some(Damage::Broken { record: 2, .. })
        ));
    }
}
