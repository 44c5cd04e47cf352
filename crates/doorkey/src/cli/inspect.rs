//! `doorkey inspect`: shows the signed objects in a file.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use minicbor::Decoder;
use minicbor::data::Type;
use serde_json::{Map, Value, json};

use crate::cli::args::OutputArgs;
use doorward_protocol::wire::{Envelope, Kind, MAX_BUNDLE, PublicKey, Timestamp};
use doorward_terminal::{CliError, exit_status, outln};

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  doorkey inspect anna.pass
  doorkey inspect - --json")]
pub(crate) struct Inspect {
    /// File with signed objects, as bytes or as hexadecimal text; - for standard input
    file: PathBuf,
    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) fn run(args: &Inspect) -> Result<ExitCode, CliError> {
    let path = args.file.as_path();
    let mut bytes = Vec::new();
    let limit = 4 * MAX_BUNDLE as u64;
    let read = if path == Path::new("-") {
        std::io::stdin().take(limit).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    read.map_err(|error| {
        CliError::new(
            exit_status::IO,
            format!("cannot read {}: {error}", path.display()),
        )
    })?;
    let hex: Vec<u8> = bytes
        .iter()
        .copied()
        .filter(|b| !b.is_ascii_whitespace())
        .collect();
    if let Ok(decoded) = data_encoding::HEXLOWER_PERMISSIVE.decode(&hex)
        && !decoded.is_empty()
    {
        bytes = decoded;
    }
    let items = items(&bytes)?;
    if args.output.json {
        doorward_terminal::print_json(&Value::Array(items));
    } else {
        for item in &items {
            print_tree(item, 0);
            outln!();
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn items(bytes: &[u8]) -> Result<Vec<Value>, CliError> {
    let mut items = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let mut decoder = Decoder::new(rest);
        decoder.skip().map_err(|error| {
            CliError::new(exit_status::DATA, format!("the file is not CBOR: {error}"))
        })?;
        let (item, after) = rest.split_at(decoder.position().min(rest.len()));
        let envelope = Envelope::parse(item).map_err(|error| {
            CliError::new(
                exit_status::DATA,
                format!("item {}: {error}", items.len() + 1),
            )
        })?;
        items.push(describe(&envelope)?);
        rest = after;
    }
    if items.is_empty() {
        return Err(CliError::new(exit_status::DATA, "the file is empty"));
    }
    Ok(items)
}

fn describe(envelope: &Envelope<'_>) -> Result<Value, CliError> {
    let claims = value(&mut Decoder::new(envelope.payload()), 0)
        .map_err(|error| CliError::new(exit_status::DATA, format!("the claims: {error}")))?;
    let signature = PublicKey::new(&envelope.signer)
        .and_then(|key| envelope.verify(&key))
        .map_or_else(|error| error.to_string(), |()| "holds".to_owned());
    Ok(json!({
        "object": envelope.kind.name(),
        "signed by": envelope.signer.hex(),
        "signature": signature,
        "sha-256": envelope.hash().hex(),
        "claims": named(claims, CLAIMS, envelope.kind),
    }))
}

/// Names of the claims and of the private claim's keys, as in docs/protocol.md.
const CLAIMS: &[(&str, &str)] = &[
    ("1", "iss"),
    ("2", "sub"),
    ("3", "aud"),
    ("4", "exp"),
    ("5", "nbf"),
    ("6", "iat"),
    ("7", "cti"),
    ("8", "cnf"),
    ("-65537", "doorward"),
];

/// Names of the private claim's keys, in the order of their numbers.
fn private(kind: Kind) -> Vec<&'static str> {
    let names = match kind {
        Kind::Issuers => "format version roles",
        Kind::Registration => {
            "format seq device-key region model site plan plan-table demo slots leases since ages"
        }
        Kind::Share => "format version permissions by description lease region group limits",
        Kind::Roster => "format seq members",
        Kind::Revocations => "format seq next shares holders subjects before",
        Kind::Release => "format vendor model version size sha256 minimum",
        Kind::Command => "format counter instance epoch operation args until dry",
        Kind::Approval => "format command",
        Kind::Receipt => "format command outcome code detail result standing log",
        Kind::State => "format standing operations log",
        Kind::Checkpoint => "format log epoch",
        Kind::Licence => "format number features",
        Kind::Notice => "format share news",
    };
    names.split(' ').collect()
}

fn named(claims: Value, names: &[(&str, &str)], kind: Kind) -> Value {
    let Value::Object(fields) = claims else {
        return claims;
    };
    let mut out = Map::new();
    for (key, mut value) in fields {
        if key == "-65537"
            && let Value::Object(fields) = value
        {
            let keys = private(kind);
            let named = fields.into_iter().map(|(key, value)| {
                let name = key.parse().ok().and_then(|at: usize| keys.get(at));
                (name.map_or(key, |name| (*name).to_owned()), value)
            });
            value = Value::Object(named.collect());
        }
        let time = matches!(key.as_str(), "4" | "5" | "6");
        if let (true, Some(seconds)) = (time, value.as_u64()) {
            value = Value::String(Timestamp(seconds).to_string());
        }
        let name = names.iter().find(|(number, _)| *number == key);
        out.insert(name.map_or(key, |(_, name)| (*name).to_owned()), value);
    }
    Value::Object(out)
}

/// A CBOR value as JSON; byte strings in hexadecimal.
fn value(d: &mut Decoder<'_>, depth: usize) -> Result<Value, minicbor::decode::Error> {
    if depth > 8 {
        return Err(minicbor::decode::Error::message("nested too deeply"));
    }
    Ok(match d.datatype()? {
        Type::Bool => json!(d.bool()?),
        Type::String => json!(d.str()?),
        Type::Bytes => json!(data_encoding::HEXLOWER.encode(d.bytes()?)),
        Type::Array => {
            let count = d.array()?.unwrap_or(0);
            let items: Result<Vec<_>, _> = (0..count).map(|_| value(d, depth + 1)).collect();
            Value::Array(items?)
        }
        Type::Map => {
            let mut fields = Map::new();
            for _ in 0..d.map()?.unwrap_or(0) {
                let key = match value(d, depth + 1)? {
                    Value::String(text) => text,
                    other => other.to_string(),
                };
                fields.insert(key, value(d, depth + 1)?);
            }
            Value::Object(fields)
        }
        _ => {
            let number: i128 = d.int()?.into();
            i64::try_from(number).map_or_else(|_| json!(number.to_string()), |n| json!(n))
        }
    })
}

fn print_tree(value: &Value, depth: usize) {
    let Value::Object(fields) = value else {
        return;
    };
    for (name, value) in fields {
        let indent = "  ".repeat(depth);
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                outln!("{indent}{name}:");
                print_tree(value, depth + 1);
            }
            Value::Object(_) => outln!("{indent}{name}: (anything)"),
            Value::String(text) => outln!("{indent}{name}: {}", text.escape_debug()),
            other => outln!("{indent}{name}: {other}"),
        }
    }
}
