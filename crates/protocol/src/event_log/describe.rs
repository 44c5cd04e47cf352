//! Records in words, for people and for their tools.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::string::ToString;

use crate::event_log::record::{CommandOutcome, CommandRef, Event, Record};
use crate::wire::KeyBytes;

/// One record as a row of named columns; what does not apply is empty.
#[derive(Debug, Clone, Default)]
pub struct Row {
    /// Sequence number.
    pub seq: u64,
    /// The device's estimate of the time, RFC 3339.
    pub at: String,
    /// Quality of that estimate, 0 to 3.
    pub quality: u8,
    /// What kind of event.
    pub event: &'static str,
    /// The account that asked.
    pub person: String,
    /// What was asked.
    pub operation: String,
    /// Which way it came: `cloud` or `local`.
    pub link: &'static str,
    /// How far it came.
    pub outcome: &'static str,
    /// Why.
    pub code: String,
    /// SHA-256 of the command, in hexadecimal.
    pub command: String,
    /// All of it as a sentence.
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

/// Puts a record into words.
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
        Event::Epoch(epoch, why) => ("epoch", format!("{epoch}: {why}")),
        Event::Statement(applied) => (
            "statement",
            format!("{} {} about {}", applied.kind, applied.seq, applied.about),
        ),
        Event::Intent(intent) => {
            row.ask(&intent.asked);
            let command = intent.asked.command;
            (
                "intent",
                format!("{}, command {command}", wish(&intent.asked)),
            )
        }
        Event::Executing(command, boot) => {
            row.command = command.to_string();
            ("executing", format!("command {command} in boot {boot}"))
        }
        Event::Outcome(verdict) => {
            row.end(verdict);
            ("outcome", end(verdict))
        }
        Event::Denied(asked, verdict) => {
            row.ask(asked);
            row.end(verdict);
            ("denied", format!("{}: {}", wish(asked), end(verdict)))
        }
        Event::Counted(time) => ("time", format!("{time} has passed for certain")),
        Event::DeniedMore(sender, count) => {
            row.person = sender.person.to_string();
            (
                "denied",
                format!("{count} more of {} were refused", sender.person),
            )
        }
    };
    (row.event, row.text) = (event, text);
    row
}

/// Whose command a record is about, if it is about one.
#[must_use]
pub fn holder(event: &Event) -> Option<&KeyBytes> {
    match event {
        Event::Intent(intent) => Some(&intent.asked.holder),
        Event::Outcome(verdict) => Some(&verdict.holder),
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
    fn ask(&mut self, asked: &CommandRef) {
        self.person = asked.person.to_string();
        self.operation = asked.operation.to_string();
        self.link = link(asked);
        self.command = asked.command.to_string();
    }

    fn end(&mut self, verdict: &CommandOutcome) {
        self.outcome = verdict.outcome.name();
        self.code = verdict
            .code
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        self.command = verdict.command.to_string();
    }
}

fn link(asked: &CommandRef) -> &'static str {
    if asked.local { "local" } else { "cloud" }
}

fn wish(asked: &CommandRef) -> String {
    format!(
        "{} asks for {} by the {} link",
        asked.person,
        asked.operation,
        link(asked)
    )
}

fn end(verdict: &CommandOutcome) -> String {
    let mut text = format!("{}, command {}", verdict.outcome.name(), verdict.command);
    if let Some(code) = &verdict.code {
        text = format!("{code}: {text}");
    }
    if let Some(detail) = &verdict.detail {
        text = format!("{text} ({detail})");
    }
    text
}
