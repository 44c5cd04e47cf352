//! Human-readable and tabular rendering of log records.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::string::ToString;

use crate::event_log::record::{CommandOutcome, CommandRef, Event, Record};
use crate::wire::KeyBytes;

/// One record as a row of named columns; columns that do not apply are empty.
#[derive(Debug, Clone, Default)]
pub struct Row {
    /// Sequence number.
    pub seq: u64,
    /// The device's estimate of the time, in RFC 3339 format.
    pub at: String,
    /// Quality of that estimate, 0 to 3.
    pub quality: u8,
    /// The kind of event.
    pub event: &'static str,
    /// The sender's account.
    pub person: String,
    /// The requested operation.
    pub operation: String,
    /// The origin of the command: `cloud` or `local`.
    pub link: &'static str,
    /// The outcome.
    pub outcome: &'static str,
    /// The reason.
    pub code: String,
    /// SHA-256 of the command, in hexadecimal.
    pub command: String,
    /// The record as one line of text.
    pub text: String,
}

impl Row {
    /// The columns by name, in order.
    #[must_use]
    pub fn columns(&self) -> [(&'static str, String); 11] {
        [
            ("seq", self.seq.to_string()),
            ("at", self.at.clone()),
            ("quality", self.quality.to_string()),
            ("event", self.event.to_owned()),
            ("person", self.person.clone()),
            ("operation", self.operation.clone()),
            ("link", self.link.to_owned()),
            ("outcome", self.outcome.to_owned()),
            ("code", self.code.clone()),
            ("command", self.command.clone()),
            ("text", self.text.clone()),
        ]
    }
}

/// Renders a record.
#[must_use]
pub fn row(record: &Record) -> Row {
    let mut row = Row {
        seq: record.seq,
        at: record.at.to_string(),
        quality: record.quality,
        ..Row::default()
    };
    let (event, text) = match &record.event {
        Event::Snapshot(snapshot) => (
            "snapshot",
            format!(
                "epoch {}, {} clients",
                snapshot.epoch,
                snapshot.windows.len()
            ),
        ),
        Event::Epoch(epoch, why) => ("epoch", format!("new epoch {epoch}: {why}")),
        Event::Statement(applied) => (
            "statement",
            format!(
                "{} (version {}) for {}",
                applied.kind, applied.seq, applied.about
            ),
        ),
        Event::Intent(intent) => {
            row.set_command(&intent.asked);
            let command = intent.asked.command;
            (
                "intent",
                format!("{}, command {command}", request_text(&intent.asked)),
            )
        }
        Event::Executing(command, boot) => {
            row.command = command.to_string();
            (
                "executing",
                format!("command {command} started in boot {boot}"),
            )
        }
        Event::Outcome(outcome) => {
            row.set_outcome(outcome);
            ("outcome", outcome_text(outcome))
        }
        Event::Denied(asked, outcome) => {
            row.set_command(asked);
            row.set_outcome(outcome);
            (
                "denied",
                format!("{}: {}", request_text(asked), outcome_text(outcome)),
            )
        }
        Event::Counted(time) => ("time", format!("the time is at least {time}")),
        Event::DeniedMore(sender, count) => {
            row.person = sender.person.to_string();
            (
                "denied",
                format!("{count} more commands of {} were denied", sender.person),
            )
        }
    };
    (row.event, row.text) = (event, text);
    row
}

/// The key of the sender, if the record is about a command.
#[must_use]
pub fn holder(event: &Event) -> Option<&KeyBytes> {
    match event {
        Event::Intent(intent) => Some(&intent.asked.holder),
        Event::Outcome(outcome) => Some(&outcome.holder),
        Event::Denied(asked, _) => Some(&asked.holder),
        Event::DeniedMore(sender, _) => Some(&sender.holder),
        Event::Snapshot(_)
        | Event::Epoch(..)
        | Event::Statement(_)
        | Event::Executing(..)
        | Event::Counted(_) => None,
    }
}

impl Row {
    fn set_command(&mut self, asked: &CommandRef) {
        self.person = asked.person.to_string();
        self.operation = asked.operation.to_string();
        self.link = link(asked);
        self.command = asked.command.to_string();
    }

    fn set_outcome(&mut self, outcome: &CommandOutcome) {
        self.outcome = outcome.outcome.name();
        self.code = outcome
            .code
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        self.command = outcome.command.to_string();
    }
}

fn link(asked: &CommandRef) -> &'static str {
    if asked.local { "local" } else { "cloud" }
}

fn request_text(asked: &CommandRef) -> String {
    format!(
        "{} requested {} ({})",
        asked.person,
        asked.operation,
        link(asked)
    )
}

fn outcome_text(outcome: &CommandOutcome) -> String {
    let mut text = format!("{}, command {}", outcome.outcome.name(), outcome.command);
    if let Some(code) = &outcome.code {
        text = format!("{code}: {text}");
    }
    if let Some(detail) = &outcome.detail {
        text = format!("{text} ({detail})");
    }
    text
}
