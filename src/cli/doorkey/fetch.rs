//! Results that are larger than a receipt: put together from their pieces, with what got lost on
//! the way asked for again.

use std::collections::BTreeMap;

use crate::cli::send::{Request, send};
use crate::cli::{Failure, status};
use crate::issuer::Wish;
use crate::wire::{Bytes, Chunk, Hash, Map, Outcome, Receipt, Text, Value, hash};

/// Largest result that is taken, in bytes.
const LARGEST: usize = 64 << 20;

/// What the receipt says of the result.
struct Promised {
    of: Hash,
    size: usize,
    sha256: Hash,
}

impl Promised {
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
                .filter(|size| *size <= LARGEST)?,
            sha256: text("sha256")?,
        })
    }
}

/// The whole result, as the receipt describes it.
///
/// # Errors
/// If it has none, or if it cannot be had.
pub(super) async fn whole(
    request: &Request<'_>,
    receipt: &Receipt,
    pieces: Vec<Chunk>,
) -> Result<Vec<u8>, Failure> {
    let Some(promised) = Promised::read(receipt) else {
        let why = "this operation has no result beyond its receipt, so nothing was written";
        return Err(Failure::new(status::DATA, why).with_remedy("Leave --out away."));
    };
    let mut held = BTreeMap::new();
    keep(&mut held, &promised, pieces);
    let mut missing = first_missing(&held, promised.size);
    while let Some(from) = missing {
        let wish = Wish {
            args: again(&request.wish.args, &promised.of, from),
            ..request.wish.clone()
        };
        let request = Request {
            wish: &wish,
            results: true,
            ..*request
        };
        let sent = send(&request).await?;
        let done = |receipt: &Receipt| receipt.body.outcome == Outcome::Done;
        if !sent.receipt.as_ref().is_some_and(done) {
            let detail = sent.receipt.and_then(|receipt| receipt.body.detail);
            let why = detail.map_or("no answer".to_owned(), |detail| detail.to_string());
            return Err(incomplete(from, promised.size, &why));
        }
        keep(&mut held, &promised, sent.pieces);
        let next = first_missing(&held, promised.size);
        if next == Some(from) {
            return Err(incomplete(from, promised.size, "its pieces do not arrive"));
        }
        missing = next;
    }
    let bytes: Vec<u8> = held.into_values().flatten().collect();
    if bytes.len() != promised.size || hash(&bytes) != promised.sha256 {
        let why = "what came is not the result that the receipt names; somebody on the way may \
                   have put in pieces of their own";
        return Err(Failure::new(status::DATA, why).with_remedy("Ask again, over another broker."));
    }
    Ok(bytes)
}

fn incomplete(got: usize, size: usize, why: &str) -> Failure {
    let why = format!("{got} of {size} bytes of the result have come: {why}");
    Failure::new(status::UNAVAILABLE, why)
}

/// The same command for the rest of a result.
fn again(args: &Map<Text, Value>, of: &Hash, from: usize) -> Map<Text, Value> {
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

/// Keeps pieces by where they begin.
fn keep(held: &mut BTreeMap<usize, Vec<u8>>, promised: &Promised, pieces: Vec<Chunk>) {
    for piece in pieces {
        let Ok(offset) = usize::try_from(piece.offset) else {
            continue;
        };
        let fits = offset
            .checked_add(piece.bytes.len())
            .is_some_and(|end| end <= promised.size);
        if piece.result == promised.of && fits && !piece.bytes.is_empty() {
            held.entry(offset).or_insert(piece.bytes);
        }
    }
}

/// Where the first gap is.
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
