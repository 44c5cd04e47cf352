//! `doorward events`: the event log for people and for other programs.

use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::DeviceFiles;
use crate::cli::export;
use crate::cli::export::Format;
use crate::store::trim_log;
use doorward_terminal::CliError;
use doorward_terminal::log_verify::{self, LogHeadArg};
use doorward_terminal::outln;
use doorward_transport::event_log::read_log;
use doorward_transport::files;

#[derive(Debug, Args)]
pub(super) struct Events {
    #[command(subcommand)]
    command: EventsCommand,
}

#[derive(Debug, Subcommand)]
enum EventsCommand {
    /// List all records of the event log, oldest first.
    #[command(after_long_help = "Examples:
  doorward events list
  doorward events list --json")]
    List {
        #[command(flatten)]
        files: DeviceFiles,
        /// Print one JSON object per line.
        #[arg(long)]
        json: bool,
    },
    /// Delete all records but the newest part, to free space in a full log.
    ///
    /// Stop the daemon, and keep a copy of the records first (`doorward events list --json`).
    #[command(after_long_help = "Examples:
  doorward events trim
  doorward events trim --state /var/lib/doorward --json")]
    Trim {
        #[command(flatten)]
        files: DeviceFiles,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Export the records for another program.
    #[command(after_long_help = "Examples:
  doorward events export
  doorward events export --format csv
  doorward events export --format syslog --from 1000")]
    Export {
        #[command(flatten)]
        files: DeviceFiles,
        /// jsonl, csv (RFC 4180), or syslog (RFC 5424).
        #[arg(long, value_enum, default_value = "jsonl")]
        format: Format,
        /// Sequence number of the first record to print.
        #[arg(long, value_name = "SEQ", default_value_t = 0)]
        from: u64,
    },
    /// Verify that no record is missing or changed; report the first one that is.
    #[command(after_long_help = "Examples:
  doorward events verify
  doorward events verify --state /var/lib/doorward --json")]
    Verify {
        #[command(flatten)]
        files: DeviceFiles,
        /// Check also that the log contains the records under this head, which a receipt or a
        /// checkpoint has shown.
        #[arg(long, value_name = "SIZE:HASH")]
        head: Option<LogHeadArg>,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(events: &Events) -> Result<ExitCode, CliError> {
    match &events.command {
        EventsCommand::List { files, json } => {
            let format = if *json { Format::Jsonl } else { Format::Text };
            print(&files.state_dir()?, format, 0)?;
        }
        EventsCommand::Export {
            files,
            format,
            from,
        } => print(&files.state_dir()?, *format, *from)?,
        EventsCommand::Verify { files, head, json } => {
            let log = files.state_dir()?.join("log");
            log_verify::verify(&log, head.as_ref().map(|head| head.0), *json)?;
        }
        EventsCommand::Trim { files, json } => {
            let removed = trim_log(&files.state_dir()?)?;
            match removed {
                _ if *json => outln!("{}", json!({ "removed": removed })),
                0 => outln!("no records removed: only the newest part is left"),
                _ => outln!("{removed} records removed"),
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print(state: &Path, format: Format, from: u64) -> Result<(), CliError> {
    let device = files::read(&state.join("identity/device.id"), 1024)
        .map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned());
    let log = read_log(&state.join("log"))?;
    let records = log.records.iter().filter(|record| record.seq >= from);
    let count = export::print(format, device.as_deref().unwrap_or("-"), records);
    match (count, format) {
        (0, Format::Text) => outln!("The event log has no records."),
        // Standard output is for another program.
        (0, _) => eprintln!("no records from sequence number {from} on"),
        _ => {}
    }
    Ok(())
}
