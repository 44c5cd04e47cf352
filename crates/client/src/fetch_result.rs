//! Results that are larger than a receipt, assembled from chunks. Missing chunks are requested
//! again.

use std::collections::BTreeMap;

use crate::send::{SendParams, send};
use crate::{ClientError, CommandRequest};
use doorward_protocol::wire::{Bytes, Chunk, Hash, Map, Outcome, Receipt, Text, Value, hash};

/// Largest accepted result, in bytes.
const MAX_RESULT: usize = 64 << 20;

/// The result as its receipt describes it.
struct Described {
    of: Hash,
    size: usize,
    sha256: Hash,
}

impl Described {
    fn read(receipt: &Receipt) -> Option<Self> {
        let row = |name| receipt.body.result.get(name);
        let text = |name| match row(name) {
            Some(Value::Text(text)) => Bytes::from_hex(text),
            _ => None,
        };
        let Some(Value::Int(size)) = row("size") else {
            return None;
        };
        Some(Self {
            of: text("result")?,
            size: usize::try_from(*size)
                .ok()
                .filter(|size| *size <= MAX_RESULT)?,
            sha256: text("sha256")?,
        })
    }
}

/// Assembles the result that a receipt describes, from the chunks received so far and those that
/// are requested again. The SHA-256 of the whole is checked against the receipt.
///
/// # Errors
/// If the receipt describes no result, or if it cannot be completed.
pub async fn fetch_result(
    params: &SendParams<'_>,
    receipt: &Receipt,
    chunks: Vec<Chunk>,
) -> Result<Vec<u8>, ClientError> {
    let Some(described) = Described::read(receipt) else {
        return Err(ClientError::NoResult);
    };
    let mut held = BTreeMap::new();
    keep(&mut held, &described, chunks);
    let mut missing = first_missing(&held, described.size);
    while let Some(from) = missing {
        let command = CommandRequest {
            args: rest_args(&params.command.args, &described.of, from),
            ..params.command.clone()
        };
        let params = SendParams {
            command: &command,
            results: true,
            ..*params
        };
        let sent = send(&params).await?;
        let done = |receipt: &Receipt| receipt.body.outcome == Outcome::Done;
        if !sent.receipt.as_ref().is_some_and(done) {
            let detail = sent.receipt.and_then(|receipt| receipt.body.detail);
            let why = detail.map_or("no answer".to_owned(), |detail| detail.to_string());
            return Err(incomplete(from, described.size, &why));
        }
        keep(&mut held, &described, sent.chunks);
        let next = first_missing(&held, described.size);
        if next == Some(from) {
            return Err(incomplete(from, described.size, "no further chunks arrive"));
        }
        missing = next;
    }
    let bytes: Vec<u8> = held.into_values().flatten().collect();
    if bytes.len() != described.size || hash(&bytes) != described.sha256 {
        return Err(ClientError::WrongResult);
    }
    Ok(bytes)
}

fn incomplete(from: usize, size: usize, why: &str) -> ClientError {
    ClientError::Incomplete {
        from,
        size,
        why: why.to_owned(),
    }
}

/// The arguments that request a result from an offset on.
fn rest_args(args: &Map<Text, Value>, of: &Hash, from: usize) -> Map<Text, Value> {
    let more = [
        ("of", Value::Text(of.hex())),
        ("from", Value::Int(i64::try_from(from).unwrap_or(i64::MAX))),
    ];
    let more = Map::named(more);
    let more = more
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()));
    let args = args
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()));
    Map::new(args.chain(more))
}

/// Stores chunks by their offset.
fn keep(held: &mut BTreeMap<usize, Vec<u8>>, described: &Described, chunks: Vec<Chunk>) {
    for chunk in chunks {
        let Ok(offset) = usize::try_from(chunk.offset) else {
            continue;
        };
        let fits = offset
            .checked_add(chunk.bytes.len())
            .is_some_and(|end| end <= described.size);
        if chunk.result == described.of && fits && !chunk.bytes.is_empty() {
            held.entry(offset).or_insert(chunk.bytes);
        }
    }
}

/// Offset of the first missing byte.
fn first_missing(held: &BTreeMap<usize, Vec<u8>>, size: usize) -> Option<usize> {
    let mut end = 0;
    for (offset, bytes) in held {
        if *offset > end {
            break;
        }
        end = end.max(offset + bytes.len());
    }
    (end < size).then_some(end)
}
