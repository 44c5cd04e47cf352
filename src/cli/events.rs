//! `doorward events`: the log for people.

use doorward_terminal::outln;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::cli::export;
use crate::cli::export::Format;
use crate::store::trim_log;
use doorward_terminal::log_verify::{self, LogHeadArg};
use doorward_terminal::{CliError, exit_status};
use doorward_transport::event_log::read_log;
use doorward_transport::files;

#[derive(Debug, Args)]
pub(super) struct Events {
    #[command(subcommand)]
    what: What,
    /// The state directory of the configuration.
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/var/lib/doorward",
        global = true
    )]
    state: PathBuf,
    /// One JSON object a line.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print every record, oldest first.
    List,
    /// Make room: remove all but the newest part of the log. Stop the daemon and keep a copy of
    /// the events first (`doorward events list --json`).
    Trim,
    /// Print the records for another program.
    Export {
        /// jsonl, csv (RFC 4180), or syslog (RFC 5424).
        #[arg(long, value_enum, default_value = "jsonl")]
        format: Format,
        /// The first record to print.
        #[arg(long, value_name = "SEQ", default_value_t = 0)]
        from: u64,
    },
    /// Check that no record is missing or changed, and name the first that is.
    Verify {
        /// The log must hold what this head covers, as a receipt or checkpoint showed it.
        #[arg(long, value_name = "SIZE:HASH")]
        head: Option<LogHeadArg>,
    },
}

pub(super) fn run(events: &Events) -> Result<ExitCode, CliError> {
    match &events.what {
        What::List => list(events)?,
        What::Export { format, from } => print(events, *format, *from)?,
        What::Verify { head } => verify(events, head.as_ref())?,
        What::Trim => {
            let gone = trim_log(&events.state)?;
            if events.json {
                outln!("{}", serde_json::json!({ "removed": gone }));
            } else {
                outln!("{gone} records removed");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(events: &Events) -> Result<(), CliError> {
    let format = if events.json {
        Format::Jsonl
    } else {
        Format::Text
    };
    print(events, format, 0)
}

fn print(events: &Events, format: Format, from: u64) -> Result<(), CliError> {
    let device = files::read(&events.state.join("identity/device.id"), 1024)
        .map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned());
    let mut out = std::io::stdout().lock();
    let log = read_log(&events.state.join("log"))?;
    let rows = log.records.iter().filter(|record| record.seq >= from);
    let written = export::write(&mut out, format, device.as_deref().unwrap_or("-"), rows);
    match written {
        // Whoever reads has read enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| CliError::new(exit_status::IO, error)),
    }
}

fn verify(events: &Events, head: Option<&LogHeadArg>) -> Result<(), CliError> {
    log_verify::verify(
        &events.state.join("log"),
        head.map(|head| head.0),
        events.json,
    )
}
