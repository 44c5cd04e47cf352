//! Reading on in a log that is being written: records as they stand there, from any number on.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::event_log::reader::segments;
use crate::event_log::writer::first_of;
use doorward_protocol::event_log::chain::{CHECK, LENGTH, split_frame};
use doorward_protocol::event_log::record::{MAX_RECORD, Record};

/// The encodings of records that follow one another.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// Sequence number of the first.
    pub first: u64,
    /// How many they are.
    pub count: u64,
    /// One after the other, a CBOR sequence (RFC 8742).
    pub bytes: Vec<u8>,
}

/// A place in the log.
pub struct Tail {
    directory: PathBuf,
    /// Where the next record begins, so that no segment is read twice.
    place: Option<Cursor>,
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
            place: None,
        }
    }

    /// Records from `from` on and before `until`, which must be durable: as many as fit in
    /// `room` bytes, and at least one. From later on if `from` is no longer kept; nothing if
    /// there is no such record.
    ///
    /// # Errors
    /// If the log cannot be read, or is not whole there.
    pub fn read(&mut self, from: u64, until: u64, room: usize) -> io::Result<Option<Chunk>> {
        let mut place = match self.place.take().filter(|place| place.seq == from) {
            Some(place) => place,
            None => match self.find(from)? {
                Some(place) => place,
                None => return Ok(None),
            },
        };
        let mut piece = Chunk::default();
        let mut segment = Segment::open(&place)?;
        while place.seq < until {
            let Some(record) = segment.next(place.seq)? else {
                let Some(next) = self.after(&place)? else {
                    break;
                };
                place = next;
                segment = Segment::open(&place)?;
                continue;
            };
            if place.seq >= from {
                if piece.count > 0 && piece.bytes.len() + record.len() > room {
                    break;
                }
                if piece.count == 0 {
                    piece.first = place.seq;
                }
                piece.count += 1;
                piece.bytes.extend_from_slice(&record);
            }
            place.offset += (LENGTH + record.len() + CHECK) as u64;
            place.seq += 1;
        }
        self.place = Some(place);
        Ok((piece.count > 0).then_some(piece))
    }

    /// The beginning of the segment that holds a record, or of the oldest.
    fn find(&self, seq: u64) -> io::Result<Option<Cursor>> {
        let segments = segments(&self.directory)?;
        let holds = |path: &&PathBuf| first_of(path).is_some_and(|first| first <= seq);
        let segment = segments.iter().rfind(holds).or(segments.first());
        Ok(segment.and_then(|segment| beginning(segment)))
    }

    /// The beginning of the segment after a place.
    fn after(&self, place: &Cursor) -> io::Result<Option<Cursor>> {
        let segments = segments(&self.directory)?;
        let next = segments.iter().find(|path| **path > place.segment);
        Ok(next
            .and_then(|segment| beginning(segment))
            .filter(|next| next.seq == place.seq))
    }
}

fn beginning(segment: &Path) -> Option<Cursor> {
    Some(Cursor {
        segment: segment.to_owned(),
        offset: 0,
        seq: first_of(segment)?,
    })
}

/// A segment that is being read. It is opened anew for each piece: what is broken is set aside under
/// another name, and must not be read on.
struct Segment {
    file: BufReader<File>,
    /// Bytes from here to its end.
    left: u64,
}

impl Segment {
    fn open(place: &Cursor) -> io::Result<Self> {
        let mut file = File::open(&place.segment)?;
        let left = file.metadata()?.len().saturating_sub(place.offset);
        file.seek(SeekFrom::Start(place.offset))?;
        let file = BufReader::new(file);
        Ok(Self { file, left })
    }

    /// The next record, which must be this one, or nothing at the end.
    fn next(&mut self, seq: u64) -> io::Result<Option<Vec<u8>>> {
        if self.left == 0 {
            return Ok(None);
        }
        let broken = || io::Error::new(io::ErrorKind::InvalidData, "the log is not whole there");
        let mut length = [0; LENGTH];
        self.file.read_exact(&mut length)?;
        let size = u32::from_be_bytes(length) as usize;
        let whole = (LENGTH + size + CHECK) as u64;
        if size > MAX_RECORD || whole > self.left {
            return Err(broken());
        }
        let mut frame = vec![0; LENGTH + size + CHECK];
        frame[..LENGTH].copy_from_slice(&length);
        self.file.read_exact(&mut frame[LENGTH..])?;
        self.left -= whole;
        let (payload, ..) = split_frame(&frame).ok_or_else(broken)?;
        let record = Record::decode(payload).map_err(|_| broken())?;
        match record.seq == seq {
            true => Ok(Some(payload.to_vec())),
            false => Err(broken()),
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
                let piece = tail.read(from, until, usize::MAX).unwrap();
                let expected = &all[from as usize..until as usize];
                let piece = piece.unwrap_or_default();
                assert_eq!(items(&piece.bytes).unwrap(), expected, "{from} {until}");
                assert_eq!(piece.count, until - from);
            }
        }
        // In small pieces, and a piece is never empty.
        let (mut next, mut seen) = (0, Vec::new());
        while let Some(piece) = tail.read(next, 9, 2 * all[0].len()).unwrap() {
            assert_eq!(piece.first, next);
            assert!(piece.count <= 2);
            next += piece.count;
            seen.extend(piece.bytes);
        }
        assert_eq!((next, seen), (9, all.concat()));
        assert_eq!(tail.read(0, 1, 1).unwrap().unwrap().count, 1);
        // The log goes on, and so does the reader.
        let more = chain(9, hash(&all[8]), 1);
        assert_eq!(tail.read(9, 10, 1000).unwrap(), None);
        log.write(&append(&more)).unwrap();
        assert_eq!(tail.read(9, 10, 1000).unwrap().unwrap().bytes, more[0]);
        // What is no longer kept is passed over.
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
