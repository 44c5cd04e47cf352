//! Frames and the hash chain. A frame is the record's length (4 bytes, big-endian), the record, and
//! the first 8 bytes of its SHA-256. Each record contains the SHA-256 of the previous one.

use alloc::vec::Vec;

use super::record::{Event, MAX_RECORD, Record};
use crate::wire::{Bytes, Hash, hash};

/// Size of a frame's length field, in bytes.
pub const LENGTH: usize = 4;
/// Size of a frame's checksum, in bytes.
pub const CHECK: usize = 8;
/// Length of the shortest possible record, in bytes.
pub const MIN_RECORD: usize = 40;

/// Appends the frame of an encoded record to `out`. Returns whether the record's length is valid;
/// nothing is appended if not.
#[must_use]
pub fn append_frame(record: &[u8], out: &mut Vec<u8>) -> bool {
    let length = u32::try_from(record.len());
    let valid = (MIN_RECORD..=MAX_RECORD).contains(&record.len());
    let (Ok(length), true) = (length, valid) else {
        return false;
    };
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(record);
    out.extend_from_slice(&hash(record).0[..CHECK]);
    true
}

/// Splits off the first frame: the encoded record, its hash, and the bytes after it.
#[must_use]
pub fn split_frame(bytes: &[u8]) -> Option<(&[u8], Hash, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<LENGTH>()?;
    let length = u32::from_be_bytes(*length) as usize;
    if !(MIN_RECORD..=MAX_RECORD).contains(&length) || rest.len() < length + CHECK {
        return None;
    }
    let (payload, rest) = rest.split_at(length);
    let (check, after) = rest.split_at(CHECK);
    let hash = hash(payload);
    (hash.0[..CHECK] == *check).then_some((payload, hash, after))
}

/// Decodes the next record of the chain: the record, its hash, and the bytes after it. `before` and
/// `previous` are the previous record and its hash.
///
/// # Errors
/// The reason, if the bytes do not continue the chain.
pub fn next_record<'a>(
    bytes: &'a [u8],
    before: Option<&Record>,
    previous: Option<Hash>,
) -> Result<(Record, Hash, &'a [u8]), &'static str> {
    let (payload, this, after) = split_frame(bytes).ok_or("its length or checksum is wrong")?;
    let record = Record::decode(payload).map_err(|_| "it is not a record")?;
    let follows = match (before, previous) {
        (Some(before), Some(previous)) => {
            record.seq == before.seq + 1 && record.previous == previous
        }
        // The oldest segment that is still stored begins with a snapshot, or is the first.
        _ => record.seq == 0 || matches!(record.event, Event::Snapshot(_)),
    };
    if !follows || (record.seq == 0 && record.previous != Bytes([0; 32])) {
        return Err("it does not follow the previous record");
    }
    Ok((record, this, after))
}

/// Returns whether an incomplete last write explains these bytes: a truncated frame, or space that
/// was allocated and not filled. An invalid frame of full length is different: its record may
/// already have had an effect.
#[must_use]
pub fn is_cut_short(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH>() else {
        return true;
    };
    let length = u32::from_be_bytes(*length) as usize;
    let valid = (MIN_RECORD..=MAX_RECORD).contains(&length);
    (valid && rest.len() < length + CHECK) || bytes.iter().all(|byte| *byte == 0)
}

/// Returns whether a complete record follows the damage, at any offset. The damage is then not an
/// incomplete last write.
#[must_use]
pub fn holds_a_record(bytes: &[u8]) -> bool {
    (1..bytes.len()).any(|at| bytes.get(at..).and_then(split_frame).is_some())
}
