//! Continuous reading of a log that is being written, from any sequence number on.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::event_log::reader::segments;
use crate::event_log::writer::first_of;
use doorward_protocol::event_log::chain::{CHECK, LENGTH, split_frame};
use doorward_protocol::event_log::record::{MAX_RECORD, Record};

/// Consecutive encoded records.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// Sequence number of the first record.
    pub first: u64,
    /// Number of records.
    pub count: u64,
    /// The records as a CBOR sequence (RFC 8742).
    pub bytes: Vec<u8>,
}

/// A reader of the log that continues where it stopped.
pub struct Tail {
    directory: PathBuf,
    /// The position of the next record, so that no segment is read twice.
    cursor: Option<Cursor>,
}

struct Cursor {
    segment: PathBuf,
    offset: u64,
    seq: u64,
}

impl Tail {
    /// A reader of the log in a directory.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            cursor: None,
        }
    }

    /// Reads records from `from` on and before `until`, which must be durable: as many as fit in
    /// `max_bytes`, and at least one. Starts with the oldest record if `from` is no longer stored;
    /// returns `None` if there is no such record.
    ///
    /// # Errors
    /// If the log cannot be read, or is damaged there.
    pub fn read(&mut self, from: u64, until: u64, max_bytes: usize) -> io::Result<Option<Chunk>> {
        let mut cursor = match self.cursor.take().filter(|cursor| cursor.seq == from) {
            Some(cursor) => cursor,
            None => match self.find(from)? {
                Some(cursor) => cursor,
                None => return Ok(None),
            },
        };
        let mut chunk = Chunk::default();
        let mut segment = Segment::open(&cursor)?;
        while cursor.seq < until {
            let Some(record) = segment.next(cursor.seq)? else {
                let Some(next) = self.after(&cursor)? else {
                    break;
                };
                cursor = next;
                segment = Segment::open(&cursor)?;
                continue;
            };
            if cursor.seq >= from {
                if chunk.count > 0 && chunk.bytes.len() + record.len() > max_bytes {
                    break;
                }
                if chunk.count == 0 {
                    chunk.first = cursor.seq;
                }
                chunk.count += 1;
                chunk.bytes.extend_from_slice(&record);
            }
            cursor.offset += (LENGTH + record.len() + CHECK) as u64;
            cursor.seq += 1;
        }
        self.cursor = Some(cursor);
        Ok((chunk.count > 0).then_some(chunk))
    }

    /// The start of the segment that contains a record, or of the oldest segment.
    fn find(&self, seq: u64) -> io::Result<Option<Cursor>> {
        let segments = segments(&self.directory)?;
        let contains = |path: &&PathBuf| first_of(path).is_some_and(|first| first <= seq);
        let segment = segments.iter().rfind(contains).or(segments.first());
        Ok(segment.and_then(|segment| start_of(segment)))
    }

    /// The start of the segment that continues at a cursor.
    fn after(&self, cursor: &Cursor) -> io::Result<Option<Cursor>> {
        let segments = segments(&self.directory)?;
        let next = segments.iter().find(|path| **path > cursor.segment);
        Ok(next
            .and_then(|segment| start_of(segment))
            .filter(|next| next.seq == cursor.seq))
    }
}

fn start_of(segment: &Path) -> Option<Cursor> {
    Some(Cursor {
        segment: segment.to_owned(),
        offset: 0,
        seq: first_of(segment)?,
    })
}

/// A segment that is being read. It is opened again for each chunk: a damaged segment is renamed,
/// and must not be read any more.
struct Segment {
    file: BufReader<File>,
    /// Number of bytes up to its end.
    left: u64,
}

impl Segment {
    fn open(cursor: &Cursor) -> io::Result<Self> {
        let mut file = File::open(&cursor.segment)?;
        let left = file.metadata()?.len().saturating_sub(cursor.offset);
        file.seek(SeekFrom::Start(cursor.offset))?;
        let file = BufReader::new(file);
        Ok(Self { file, left })
    }

    /// The next record, which must have this sequence number; `None` at the end.
    fn next(&mut self, seq: u64) -> io::Result<Option<Vec<u8>>> {
        if self.left == 0 {
            return Ok(None);
        }
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the log is damaged there");
        let mut length = [0; LENGTH];
        self.file.read_exact(&mut length)?;
        let size = u32::from_be_bytes(length) as usize;
        let frame_length = (LENGTH + size + CHECK) as u64;
        if size > MAX_RECORD || frame_length > self.left {
            return Err(damaged());
        }
        let mut frame = vec![0; LENGTH + size + CHECK];
        frame[..LENGTH].copy_from_slice(&length);
        self.file.read_exact(&mut frame[LENGTH..])?;
        self.left -= frame_length;
        let (payload, ..) = split_frame(&frame).ok_or_else(damaged)?;
        let record = Record::decode(payload).map_err(|_| damaged())?;
        match record.seq == seq {
            true => Ok(Some(payload.to_vec())),
            false => Err(damaged()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_log::Log;
    use crate::event_log::test_support::{append, chain};
    use doorward_protocol::event_log::LogWrite;
    use doorward_protocol::wire::{Bytes, hash, items};

    #[test]
    fn it_reads_on_from_anywhere_over_segments_and_only_what_is_durable() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = Log::open(directory.path()).unwrap().log;
        let mut tail = Tail::new(directory.path());
        assert_eq!(tail.read(0, 9, 1000).unwrap(), None);
        log.write(&[LogWrite::Segment(0)]).unwrap();
        let all = chain(0, Bytes([0; 32]), 9);
        log.write(&append(&all[..4])).unwrap();
        log.write(&[LogWrite::Segment(4)]).unwrap();
        log.write(&append(&all[4..])).unwrap();
        for from in 0..9 {
            for until in from..=9 {
                let mut tail = Tail::new(directory.path());
                let chunk = tail.read(from, until, usize::MAX).unwrap();
                let expected = &all[from as usize..until as usize];
                let chunk = chunk.unwrap_or_default();
                assert_eq!(items(&chunk.bytes).unwrap(), expected, "{from} {until}");
                assert_eq!(chunk.count, until - from);
            }
        }
        // Small chunks; a chunk is never empty.
        let (mut next, mut seen) = (0, Vec::new());
        while let Some(chunk) = tail.read(next, 9, 2 * all[0].len()).unwrap() {
            assert_eq!(chunk.first, next);
            assert!(chunk.count <= 2);
            next += chunk.count;
            seen.extend(chunk.bytes);
        }
        assert_eq!((next, seen), (9, all.concat()));
        assert_eq!(tail.read(0, 1, 1).unwrap().unwrap().count, 1);
        // The log continues, and so does the reader.
        let more = chain(9, hash(&all[8]), 1);
        assert_eq!(tail.read(9, 10, 1000).unwrap(), None);
        log.write(&append(&more)).unwrap();
        assert_eq!(tail.read(9, 10, 1000).unwrap().unwrap().bytes, more[0]);
        // Records that are no longer stored are skipped.
        log.write(&[LogWrite::Drop(4)]).unwrap();
        let mut tail = Tail::new(directory.path());
        assert_eq!(tail.read(0, 10, usize::MAX).unwrap().unwrap().first, 4);
    }

    #[test]
    fn a_record_that_is_not_whole_is_not_handed_on() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = Log::open(directory.path()).unwrap().log;
        log.write(&[LogWrite::Segment(0)]).unwrap();
        let all = chain(0, Bytes([0; 32]), 2);
        log.write(&append(&all)).unwrap();
        let path = segments(directory.path()).unwrap().remove(0);
        let mut bytes = std::fs::read(&path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let mut tail = Tail::new(directory.path());
        assert_eq!(tail.read(0, 1, 1000).unwrap().unwrap().count, 1);
        assert!(tail.read(1, 2, 1000).is_err());
        std::fs::write(&path, &bytes[..last]).unwrap();
        assert!(Tail::new(directory.path()).read(1, 2, 1000).is_err());
    }
}
