//! `doorward events`: the log for people.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::{Failure, status};
use crate::store::record::{Asked, Event, Record, Verdict};
use crate::store::{read_log, trim_log};

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
    /// Check that no record is missing or changed, and name the first that is.
    Verify,
}

pub(super) fn run(events: &Events) -> Result<ExitCode, Failure> {
    match events.what {
        What::List => list(events)?,
        What::Verify => verify(events)?,
        What::Trim => {
            let gone = trim_log(&events.state)?;
            if events.json {
                println!("{}", serde_json::json!({ "removed": gone }));
            } else {
                println!("{gone} records removed");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(events: &Events) -> Result<(), Failure> {
    for record in &read_log(&events.state.join("log"))?.records {
        print(record, events.json);
    }
    Ok(())
}

fn verify(events: &Events) -> Result<(), Failure> {
    let found = read_log(&events.state.join("log"))?;
    if let Some(damage) = &found.damage {
        return Err(Failure::new(status::DATA, damage)
            .with_remedy("Keep a copy of the state directory as evidence."));
    }
    let count = found.records.len();
    let head = found.records.last().map_or_else(
        || "none".to_owned(),
        |record| crate::wire::hash(&record.encode()).hex(),
    );
    if events.json {
        println!(
            "{}",
            serde_json::json!({"ok": true, "records": count, "head": head})
        );
    } else {
        println!("{count} records, unbroken; head {head}");
    }
    Ok(())
}

fn print(record: &Record, json: bool) {
    let (kind, text) = describe(&record.event);
    if json {
        println!(
            "{}",
            serde_json::json!({
                "seq": record.seq, "at": record.at.to_string(), "quality": record.quality,
                "event": kind, "text": text,
            })
        );
    } else {
        println!("{:>6}  {}  {kind:<9}  {text}", record.seq, record.at);
    }
}

fn describe(event: &Event) -> (&'static str, String) {
    match event {
        Event::Snapshot(snapshot) => (
            "snapshot",
            format!(
                "epoch {}, {} clients",
                snapshot.epoch,
                snapshot.windows.len()
            ),
        ),
        Event::Epoch(epoch, why) => ("epoch", format!("{epoch}: {why}")),
        Event::Statement(applied) => (
            "statement",
            format!("{} {} about {}", applied.kind, applied.seq, applied.about),
        ),
        Event::Intent(intent) => (
            "intent",
            format!("{}, command {}", wish(&intent.asked), intent.asked.command),
        ),
        Event::Executing(command, boot) => {
            ("executing", format!("command {command} in boot {boot}"))
        }
        Event::Outcome(verdict) => ("outcome", end(verdict)),
        Event::Counted(time) => ("time", format!("{time} has passed for certain")),
        Event::DeniedMore(sender, count) => (
            "denied",
            format!("{count} more of {} were refused", sender.person),
        ),
        Event::Denied(asked, verdict) => ("denied", format!("{}: {}", wish(asked), end(verdict))),
    }
}

fn wish(asked: &Asked) -> String {
    let link = if asked.local { "local" } else { "cloud" };
    format!(
        "{} asks for {} by the {link} link",
        asked.person, asked.operation
    )
}

fn end(verdict: &Verdict) -> String {
    let mut text = format!("{}, command {}", verdict.outcome.name(), verdict.command);
    if let Some(code) = &verdict.code {
        text = format!("{code}: {text}");
    }
    if let Some(detail) = &verdict.detail {
        text = format!("{text} ({detail})");
    }
    text
}
