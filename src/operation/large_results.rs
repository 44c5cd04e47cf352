//! Results that are larger than a receipt: stored for the requester and sent in chunks on a topic
//! of their own. The receipt has the size and the SHA-256; lost chunks are requested again with
//! the arguments `of` and `from`.

use std::path::{Path, PathBuf};

use crate::core::{OperationResult, ReplyTopic};
use crate::operation::OperationContext;
use doorward_protocol::gate::{Code, Permit};
use doorward_protocol::wire::{Bytes, Chunk, Hash, KeyBytes, Map, Value, hash, to_bytes};
use doorward_transport::files;
use doorward_transport::files::FileError;

/// Bytes in one chunk.
const CHUNK: usize = 16 * 1024;
/// Maximum number of chunks per command; `next` in its receipt is the offset of the rest.
const MAX_CHUNKS: usize = 64;
/// Maximum size of a result, in bytes.
pub(super) const MAX_RESULT: usize = 8 << 20;
/// Maximum number of stored results; the oldest is deleted first.
const MAX_STORED: usize = 8;

/// Returns the stored result that a command requests, if it has the argument `of`.
pub(super) fn resend_request(permit: &Permit) -> Option<Result<Hash, OperationResult>> {
    let of = permit.args().get("of")?;
    let Value::Text(of) = of else {
        return Some(Err(not_stored()));
    };
    Some(Bytes::from_hex(of).ok_or_else(not_stored))
}

fn not_stored() -> OperationResult {
    OperationResult::failed(
        Code::Failed,
        "no such result of yours is stored on the device",
    )
}

/// Stores a new result and sends its beginning.
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
    if let Err(error) = store(state, &permit.caller().key, &of, &bytes) {
        return OperationResult::failed(Code::Failed, &error.to_string());
    }
    send(&bytes, &of, 0, permit, context).await
}

/// Sends more of a stored result.
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
        Ok(_) => OperationResult::failed(Code::Param, "from is beyond the end of the result"),
        Err(_) => not_stored(),
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
    for bytes_of_chunk in rest.chunks(CHUNK).take(MAX_CHUNKS) {
        let chunk = Chunk {
            result: *of,
            offset: next as u64,
            bytes: bytes_of_chunk.to_vec(),
        };
        let topic = ReplyTopic::Results(permit.caller().key, context.command());
        context.send_chunk(topic, to_bytes(&chunk)).await;
        next += bytes_of_chunk.len();
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

/// Deletes all stored results.
pub(super) fn clear(state: &Path) {
    files::sweep(&directory(state), |_| false);
}

fn directory(state: &Path) -> PathBuf {
    state.join("results")
}

/// The path of a stored result. The name contains the requester's key, so others cannot request it.
fn path(state: &Path, holder: &KeyBytes, of: &Hash) -> PathBuf {
    directory(state).join(format!("{}-{}", of.hex(), holder.hex()))
}

fn store(state: &Path, holder: &KeyBytes, of: &Hash, bytes: &[u8]) -> Result<(), FileError> {
    let directory = directory(state);
    files::create_private_directory(&directory)?;
    let mut stored: Vec<_> = std::fs::read_dir(&directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    stored.sort();
    let excess = (stored.len() + 1).saturating_sub(MAX_STORED);
    for (_, oldest) in stored.iter().take(excess) {
        let _ = std::fs::remove_file(oldest);
    }
    files::replace(&path(state, holder, of), bytes, 0o600)
}
