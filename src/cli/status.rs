//! `doorward status`: shows the status of the running daemon.

use doorward_terminal::out;
use doorward_terminal::outln;
use std::io::{IsTerminal, Read};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use crate::cli::DeviceFiles;
use crate::cli::openmetrics;
use crate::daemon::STATUS_SOCKET;
use doorward_terminal::{CliError, exit_status};

#[derive(Debug, Args)]
pub(super) struct Status {
    #[command(flatten)]
    files: DeviceFiles,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Print metrics for Prometheus: node_exporter reads them from a *.prom file.
    #[arg(long, conflicts_with = "json")]
    openmetrics: bool,
    /// Refresh every SECONDS; 2 if no number is given.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    watch: Option<u64>,
}

pub(super) fn run(args: &Status) -> Result<ExitCode, CliError> {
    let socket = args.files.state_dir()?.join(STATUS_SOCKET);
    loop {
        let text = read_status(&socket)?;
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
        if doorward_terminal::output::is_closed() {
            return Ok(ExitCode::SUCCESS);
        }
        std::thread::sleep(Duration::from_secs(seconds));
    }
}

fn read_status(path: &Path) -> Result<String, CliError> {
    let received = || -> std::io::Result<String> {
        let mut stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    received().map_err(|error| {
        CliError::new(
            exit_status::UNAVAILABLE,
            format!("cannot reach the daemon ({}: {error})", path.display()),
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
            "{} (next attempt in at most {} s)",
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
            Value::Null => format!("{}, not received", plain(&list["seq"])),
            age => format!("{}, {age} s old", plain(&list["seq"])),
        },
        value => value.to_string(),
    }
}
