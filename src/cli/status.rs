//! `doorward status`: how the running daemon is.

use doorward_terminal::out;
use doorward_terminal::outln;
use std::io::{IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use crate::cli::openmetrics;
use crate::daemon::STATUS_SOCKET;
use doorward_terminal::{CliError, exit_status};

#[derive(Debug, Args)]
pub(super) struct Status {
    /// The state directory of the configuration.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/doorward")]
    state: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Print metrics for Prometheus, as its node_exporter reads them from a *.prom file.
    #[arg(long, conflicts_with = "json")]
    openmetrics: bool,
    /// Go on, every so many seconds.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    watch: Option<u64>,
}

pub(super) fn run(args: &Status) -> Result<ExitCode, CliError> {
    loop {
        let text = ask(&args.state.join(STATUS_SOCKET))?;
        let value: Value =
            serde_json::from_str(&text).map_err(|error| CliError::new(exit_status::DATA, error))?;
        if args.watch.is_some() && std::io::stdout().is_terminal() {
            out!("\x1b[2J\x1b[H");
        }
        if args.json {
            out!("{text}");
        } else if args.openmetrics {
            out!("{}", openmetrics::from_status(&value));
        } else {
            for (name, value) in value.as_object().into_iter().flatten() {
                show(name, value);
            }
        }
        let Some(seconds) = args.watch else {
            return Ok(ExitCode::SUCCESS);
        };
        std::io::stdout()
            .flush()
            .map_err(|error| CliError::new(exit_status::IO, error))?;
        std::thread::sleep(Duration::from_secs(seconds));
    }
}

fn ask(path: &Path) -> Result<String, CliError> {
    let asked = || -> std::io::Result<String> {
        let mut stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    asked().map_err(|error| {
        CliError::new(
            exit_status::UNAVAILABLE,
            format!("nobody answers on {}: {error}", path.display()),
        )
        .with_remedy(
            "Is the daemon running, and with this state directory? You may need to be root.",
        )
    })
}

fn show(name: &str, value: &Value) {
    match value {
        Value::Object(rows) if rows.is_empty() => outln!("{name:<14} none"),
        Value::Object(rows) => {
            for (row, value) in rows {
                outln!("{:<14} {}", format!("{name}.{row}"), plain(value));
            }
        }
        Value::Array(rows) if rows.is_empty() => outln!("{name:<14} none"),
        Value::Array(rows) => {
            for row in rows {
                outln!("{name:<14} {}", plain(row));
            }
        }
        value => outln!("{name:<14} {}", plain(value)),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(link) if link.get("up") == Some(&Value::Bool(true)) => "connected".to_owned(),
        Value::Object(link) if link.contains_key("why") => format!(
            "{} (again in at most {} s)",
            plain(&link["why"]),
            plain(&link["next_try_s"])
        ),
        Value::Object(row) if row.contains_key("operation") => {
            let progress = row["progress"].as_object().into_iter().flatten();
            let progress = progress.map(|(name, value)| format!(", {name} {}", plain(value)));
            let progress: String = progress.collect();
            format!(
                "{} for {}{progress}",
                plain(&row["operation"]),
                plain(&row["person"])
            )
        }
        Value::Object(list) if list.contains_key("seq") => match &list["age_s"] {
            Value::Null => format!("{}, not held", plain(&list["seq"])),
            age => format!("{}, {age} s old", plain(&list["seq"])),
        },
        value => value.to_string(),
    }
}
