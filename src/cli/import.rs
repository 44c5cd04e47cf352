//! `doorward import`: gives the daemon statements from files.

use doorward_terminal::outln;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::DeviceFiles;
use crate::daemon::IMPORT_SOCKET;
use doorward_protocol::gate::Code;
use doorward_protocol::wire::{Envelope, MAX_BUNDLE, MAX_ITEMS, items};
use doorward_terminal::{CliError, exit_status};
use doorward_transport::files;

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 16 << 20;

#[derive(Debug, Args)]
pub(super) struct Import {
    /// File from `doorkey bundle`, or any signed statements one after the other.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    device: DeviceFiles,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Import) -> Result<ExitCode, CliError> {
    let state = args.device.state_dir()?;
    let mut count = 0;
    let mut refused = BTreeMap::<String, u64>::new();
    for file in &args.files {
        let bytes = files::read(file, MAX_FILE)?;
        for bundle in bundles(file, &bytes)? {
            count += bundle.1;
            for (code, times) in send_to_daemon(&state, &bundle.0)? {
                *refused.entry(code).or_default() += times;
            }
        }
    }
    let exit = if refused.is_empty() {
        0
    } else {
        exit_status::DENIED
    };
    if args.json {
        outln!("{}", json!({"statements": count, "refused": refused}));
        return Ok(ExitCode::from(exit));
    }
    outln!("{count} statements sent to the daemon");
    for (name, times) in &refused {
        outln!("refused  {times} of {count}: {name}");
        if let Some(code) = Code::from_name(name) {
            outln!("         {}", code.sentence());
            outln!("         {}", code.remedy());
        }
    }
    if refused.is_empty() {
        outln!("All were accepted; `doorward status` shows the current versions.");
    }
    Ok(ExitCode::from(exit))
}

/// Splits statements into bundles of the size that a device accepts; returns each with its number
/// of statements.
fn bundles(file: &Path, bytes: &[u8]) -> Result<Vec<(Vec<u8>, usize)>, CliError> {
    let invalid = |why: String| {
        CliError::new(exit_status::DATA, format!("{}: {why}", file.display()))
            .with_remedy("Give a file that `doorkey bundle` or `doorkey cancel --out` has written.")
    };
    let mut envelopes = Vec::new();
    for item in items(bytes).map_err(|error| invalid(error.to_string()))? {
        let envelope = Envelope::parse(item).map_err(|error| invalid(error.to_string()))?;
        if !envelope.kind.is_statement() {
            let kind = envelope.kind.name();
            return Err(invalid(format!(
                "it contains a {kind}, which is not a statement"
            )));
        }
        envelopes.push(envelope);
    }
    let mut bundles: Vec<(Vec<u8>, usize)> = Vec::new();
    // Signatures of several keys on the same statement are valid only together.
    for same in envelopes.chunk_by(|a, b| a.kind == b.kind && a.payload() == b.payload()) {
        let part: Vec<u8> = same.iter().flat_map(Envelope::bytes).copied().collect();
        match bundles.last_mut() {
            Some((bundle, count))
                if *count + same.len() <= MAX_ITEMS && bundle.len() + part.len() <= MAX_BUNDLE =>
            {
                bundle.extend_from_slice(&part);
                *count += same.len();
            }
            _ => bundles.push((part, same.len())),
        }
    }
    match bundles.is_empty() {
        true => Err(invalid("it is empty".to_owned())),
        false => Ok(bundles),
    }
}

/// Sends a bundle to the daemon. Returns the number of refused statements by code.
fn send_to_daemon(state: &Path, bundle: &[u8]) -> Result<BTreeMap<String, u64>, CliError> {
    let path = state.join(IMPORT_SOCKET);
    let exchange = || -> std::io::Result<Value> {
        let mut stream = UnixStream::connect(&path)?;
        stream.set_read_timeout(Some(Duration::from_secs(40)))?;
        stream.write_all(bundle)?;
        stream.shutdown(Shutdown::Write)?;
        let mut text = String::new();
        stream.take(1 << 16).read_to_string(&mut text)?;
        Ok(serde_json::from_str(&text)?)
    };
    let reply = exchange().map_err(|error| {
        let why = format!("cannot reach the daemon ({}: {error})", path.display());
        CliError::new(exit_status::UNAVAILABLE, why).with_remedy(
            "Is the daemon running, and with this state directory? You may need to be root.",
        )
    })?;
    if reply["taken"] != true {
        return Err(CliError::new(
            exit_status::UNAVAILABLE,
            "the daemon could not store the statements",
        )
        .with_remedy("`doorward status` shows what is wrong with the database."));
    }
    let refused = reply["refused"].as_object().into_iter().flatten();
    Ok(refused
        .filter_map(|(code, count)| Some((code.clone(), count.as_u64()?)))
        .collect())
}
