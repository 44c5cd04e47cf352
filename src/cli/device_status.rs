//! `doorward status`: how the running daemon is.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::{Failure, status};
use crate::agent::STATUS_SOCKET;

#[derive(Debug, Args)]
pub(super) struct Status {
    /// The state directory of the configuration.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/doorward")]
    state: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Status) -> Result<ExitCode, Failure> {
    let text = ask(&args.state.join(STATUS_SOCKET))?;
    if args.json {
        print!("{text}");
        return Ok(ExitCode::SUCCESS);
    }
    let value: Value =
        serde_json::from_str(&text).map_err(|error| Failure::new(status::DATA, error))?;
    for (name, value) in value.as_object().into_iter().flatten() {
        show(name, value);
    }
    Ok(ExitCode::SUCCESS)
}

fn ask(path: &Path) -> Result<String, Failure> {
    let asked = || -> std::io::Result<String> {
        let mut stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    asked().map_err(|error| {
        Failure::new(
            status::UNAVAILABLE,
            format!("nobody answers on {}: {error}", path.display()),
        )
        .with_remedy(
            "Is the daemon running, and with this state directory? You may need to be root.",
        )
    })
}

fn show(name: &str, value: &Value) {
    match value {
        Value::Object(rows) if rows.is_empty() => println!("{name:<14} none"),
        Value::Object(rows) => {
            for (row, value) in rows {
                println!("{:<14} {}", format!("{name}.{row}"), plain(value));
            }
        }
        Value::Array(rows) if rows.is_empty() => println!("{name:<14} none"),
        Value::Array(rows) => {
            for row in rows {
                println!("{name:<14} {}", plain(row));
            }
        }
        value => println!("{name:<14} {}", plain(value)),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(link) if link.get("up") == Some(&Value::Bool(true)) => "connected".to_owned(),
        Value::Object(link) => link.get("why").map_or_else(String::new, plain),
        value => value.to_string(),
    }
}
