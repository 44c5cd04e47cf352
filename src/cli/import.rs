//! `doorward import`: takes statements that somebody has brought.

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

use crate::daemon::IMPORT_SOCKET;
use doorward_protocol::gate::Code;
use doorward_protocol::wire::{Envelope, MAX_BUNDLE, MAX_ITEMS, items};
use doorward_terminal::{CliError, exit_status};
use doorward_transport::files;

/// A file is no larger than this, in bytes.
const MAX_FILE: u64 = 16 << 20;

#[derive(Debug, Args)]
pub(super) struct Import {
    /// What was brought: from `doorkey bundle`, or any statements one after the other.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The state directory of the configuration.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/doorward")]
    state: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Import) -> Result<ExitCode, CliError> {
    let mut count = 0;
    let mut refused = BTreeMap::<String, u64>::new();
    for file in &args.files {
        let bytes = files::read(file, MAX_FILE)?;
        for bundle in bundles(file, &bytes)? {
            count += bundle.1;
            for (code, times) in hand_over(&args.state, &bundle.0)? {
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
    outln!("{count} statements were taken to the device");
    for (name, times) in &refused {
        outln!("refused  {times} of them: {name}");
        if let Some(code) = Code::from_name(name) {
            outln!("         {}", code.sentence());
            outln!("         {}", code.remedy());
        }
    }
    if refused.is_empty() {
        outln!("It knows them now; `doorward status` says what it has.");
    }
    Ok(ExitCode::from(exit))
}

/// Statements, cut into bundles as large as a device takes them, with the number in each.
fn bundles(file: &Path, bytes: &[u8]) -> Result<Vec<(Vec<u8>, usize)>, CliError> {
    let wrong = |why: String| {
        CliError::new(exit_status::DATA, format!("{}: {why}", file.display())).with_remedy(
            "It should be what `doorkey bundle` or `doorkey cancel --out` has written.",
        )
    };
    let mut envelopes = Vec::new();
    for item in items(bytes).map_err(|error| wrong(error.to_string()))? {
        let envelope = Envelope::parse(item).map_err(|error| wrong(error.to_string()))?;
        if !envelope.kind.is_statement() {
            let kind = envelope.kind.name();
            return Err(wrong(format!("it holds a {kind}, which is no statement")));
        }
        envelopes.push(envelope);
    }
    let mut bundles: Vec<(Vec<u8>, usize)> = Vec::new();
    // What several have signed counts only together.
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
        true => Err(wrong("it is empty".to_owned())),
        false => Ok(bundles),
    }
}

/// Gives the daemon a bundle. Returns what of it was refused, by code.
fn hand_over(state: &Path, bundle: &[u8]) -> Result<BTreeMap<String, u64>, CliError> {
    let path = state.join(IMPORT_SOCKET);
    let talk = || -> std::io::Result<Value> {
        let mut stream = UnixStream::connect(&path)?;
        stream.set_read_timeout(Some(Duration::from_secs(40)))?;
        stream.write_all(bundle)?;
        stream.shutdown(Shutdown::Write)?;
        let mut text = String::new();
        stream.take(1 << 16).read_to_string(&mut text)?;
        Ok(serde_json::from_str(&text)?)
    };
    let word = talk().map_err(|error| {
        let why = format!("nobody answers on {}: {error}", path.display());
        CliError::new(exit_status::UNAVAILABLE, why).with_remedy(
            "Is the daemon running, and with this state directory? You may need to be root.",
        )
    })?;
    if word["taken"] != true {
        return Err(CliError::new(
            exit_status::UNAVAILABLE,
            "the device could not write it down",
        )
        .with_remedy("`doorward status` says what is wrong with the store."));
    }
    let refused = word["refused"].as_object().into_iter().flatten();
    Ok(refused
        .filter_map(|(code, count)| Some((code.clone(), count.as_u64()?)))
        .collect())
}
