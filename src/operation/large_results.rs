//! Results that are larger than a receipt: kept for whoever asked, sent in pieces on a topic of
//! their own. The receipt has the size and the SHA-256; what got lost on the way is asked for
//! again with `of` and `from`.

use std::path::{Path, PathBuf};

use crate::core::{OperationResult, ReplyTopic};
use crate::operation::OperationContext;
use doorward_protocol::gate::{Code, Permit};
use doorward_protocol::wire::{Bytes, Chunk, Hash, KeyBytes, Map, Value, hash, to_bytes};
use doorward_transport::files;
use doorward_transport::files::FileError;

/// Bytes in one piece.
const CHUNK: usize = 16 * 1024;
/// Pieces that are sent for one command; `next` in its receipt is where to go on.
const MAX_CHUNKS: usize = 64;
/// Largest result, in bytes.
pub(super) const MAX_RESULT: usize = 8 << 20;
/// Results that are kept; the oldest goes.
const KEPT: usize = 8;

/// Which result is asked for once more, if one is.
pub(super) fn resend_request(permit: &Permit) -> Option<Result<Hash, OperationResult>> {
    let of = permit.args().get("of")?;
    let Value::Text(of) = of else {
        return Some(Err(no_such()));
    };
    Some(Bytes::from_hex(of).ok_or_else(no_such))
}

fn no_such() -> OperationResult {
    OperationResult::failed(
        Code::Failed,
        "the device keeps no such result of yours any more",
    )
}

/// Keeps a new result and sends its beginning.
pub(super) async fn new(
    state: &Path,
    permit: &Permit,
    context: &OperationContext,
    bytes: Vec<u8>,
) -> OperationResult {
    if bytes.len() > MAX_RESULT {
        return OperationResult::failed(Code::TooLarge, "the result is larger than 8 MiB");
    }
    let of = context.command();
    if let Err(error) = keep(state, &permit.caller().key, &of, &bytes) {
        return OperationResult::failed(Code::Failed, &error.to_string());
    }
    send(&bytes, &of, 0, permit, context).await
}

/// Sends more of one that was kept.
pub(super) async fn resend(
    state: &Path,
    permit: &Permit,
    context: &OperationContext,
    of: &Hash,
) -> OperationResult {
    let from = match permit.args().get("from") {
        Some(Value::Int(from)) => usize::try_from(*from).unwrap_or(usize::MAX),
        _ => 0,
    };
    let path = path(state, &permit.caller().key, of);
    match files::read(&path, MAX_RESULT as u64) {
        Ok(bytes) if from < bytes.len() => send(&bytes, of, from, permit, context).await,
        Ok(_) => OperationResult::failed(Code::Param, "from is beyond its end"),
        Err(_) => no_such(),
    }
}

async fn send(
    bytes: &[u8],
    of: &Hash,
    from: usize,
    permit: &Permit,
    context: &OperationContext,
) -> OperationResult {
    let mut next = from;
    let rest = bytes.get(from..).unwrap_or_default();
    for piece in rest.chunks(CHUNK).take(MAX_CHUNKS) {
        let chunk = Chunk {
            result: *of,
            offset: next as u64,
            bytes: piece.to_vec(),
        };
        let topic = ReplyTopic::Results(permit.caller().key, context.command());
        context.send_chunk(topic, to_bytes(&chunk)).await;
        next += piece.len();
    }
    let number = |n: usize| Value::Int(i64::try_from(n).unwrap_or(i64::MAX));
    let mut rows = vec![
        ("result", Value::Text(of.hex())),
        ("size", number(bytes.len())),
        ("sha256", Value::Text(hash(bytes).hex())),
    ];
    if next < bytes.len() {
        rows.push(("next", number(next)));
    }
    OperationResult::done(Map::named(rows))
}

/// Lets go of all of them.
pub(super) fn clear(state: &Path) {
    files::sweep(&directory(state), |_| false);
}

fn directory(state: &Path) -> PathBuf {
    state.join("results")
}

/// Only whoever asked for it finds it: their key is in its name.
fn path(state: &Path, holder: &KeyBytes, of: &Hash) -> PathBuf {
    directory(state).join(format!("{}-{}", of.hex(), holder.hex()))
}

fn keep(state: &Path, holder: &KeyBytes, of: &Hash, bytes: &[u8]) -> Result<(), FileError> {
    let directory = directory(state);
    files::create_private_directory(&directory)?;
    let mut held: Vec<_> = std::fs::read_dir(&directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    held.sort();
    let many = (held.len() + 1).saturating_sub(KEPT);
    for (_, oldest) in held.iter().take(many) {
        let _ = std::fs::remove_file(oldest);
    }
    files::replace(&path(state, holder, of), bytes, 0o600)
}
