//! `report.read`: tables for people, as CSV (RFC 4180), from what is on the device.

use std::collections::BTreeMap;
use std::path::Path;

use crate::operation::history::visible;
use doorward_protocol::event_log::describe::row;
use doorward_protocol::event_log::record::{Event, Record};
use doorward_protocol::gate::Permit;
use doorward_protocol::wire::{Outcome, Timestamp};

/// The tables that there are.
pub(super) const KINDS: [&str; 2] = ["events", "operations"];

/// One of them. The owner's are about everybody, those of others about what they did themselves.
pub(super) fn table(kind: &str, permit: &Permit, state: &Path) -> Result<String, String> {
    let records = visible(permit, state)?;
    Ok(match kind {
        "operations" => operations(&records),
        _ => events(&records),
    })
}

fn events(records: &[Record]) -> String {
    let mut csv = line(&["record", "time", "time_quality", "event", "text"]);
    for record in records {
        let row = row(record);
        csv += &line(&[
            &row.seq.to_string(),
            &row.at.to_string(),
            &record.quality.to_string(),
            row.event,
            &row.text,
        ]);
    }
    csv
}

/// How often each operation was asked for on each day, and what came of it.
fn operations(records: &[Record]) -> String {
    let mut asked = BTreeMap::new();
    let mut counts: BTreeMap<(String, String), [u64; 4]> = BTreeMap::new();
    for record in records {
        let (operation, outcome) = match &record.event {
            Event::Intent(intent) => {
                asked.insert(intent.asked.command, intent.asked.operation.clone());
                continue;
            }
            Event::Denied(denied, verdict) => (denied.operation.clone(), verdict.outcome),
            Event::Outcome(verdict) => match asked.remove(&verdict.command) {
                Some(operation) => (operation, verdict.outcome),
                None => continue,
            },
            _ => continue,
        };
        let column = match outcome {
            Outcome::Done | Outcome::Allowed => 0,
            Outcome::Failed => 1,
            Outcome::Unknown | Outcome::Executing => 2,
            Outcome::Denied | Outcome::Accepted => 3,
        };
        let day = (day(record.at), operation.to_string());
        if let Some(count) = counts.entry(day).or_default().get_mut(column) {
            *count += 1;
        }
    }
    let mut csv = line(&["day", "operation", "done", "failed", "unknown", "denied"]);
    for ((day, operation), counts) in counts {
        let [done, failed, unknown, denied] = counts.map(|count| count.to_string());
        csv += &line(&[&day, &operation, &done, &failed, &unknown, &denied]);
    }
    csv
}

fn day(at: Timestamp) -> String {
    at.to_string().chars().take(10).collect()
}

/// A line of it. What a spreadsheet would take for a formula is made a text.
fn line(fields: &[&str]) -> String {
    let fields = fields.iter().map(|field| {
        let formula = field.starts_with(['=', '+', '-', '@', '\t', '\r']);
        let text = format!("{}{field}", if formula { "'" } else { "" });
        match text.contains([',', '"', '\n', '\r']) {
            true => format!("\"{}\"", text.replace('"', "\"\"")),
            false => text,
        }
    });
    fields.collect::<Vec<_>>().join(",") + "\r\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_one_field_and_never_a_formula() {
        for (field, expected) in [
            ("plain", "plain\r\n"),
            ("a,b", "\"a,b\"\r\n"),
            ("say \"hi\"", "\"say \"\"hi\"\"\"\r\n"),
            ("=1+1", "'=1+1\r\n"),
            ("@x", "'@x\r\n"),
            ("-2,3", "\"'-2,3\"\r\n"),
        ] {
            assert_eq!(line(&[field]), expected);
        }
    }
}
