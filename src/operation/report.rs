//! `report.read`: CSV tables (RFC 4180) from the event log.

use std::collections::BTreeMap;
use std::path::Path;

use crate::operation::history::visible;
use doorward_protocol::event_log::describe::row;
use doorward_protocol::event_log::record::{Event, Record};
use doorward_protocol::gate::Permit;
use doorward_protocol::wire::{Outcome, Timestamp};
use doorward_transport::csv::csv_field;

/// The names of the reports.
pub(super) const KINDS: [&str; 2] = ["events", "operations"];

/// Returns a report. The owner's includes all users, that of other users only their own actions.
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

/// The number of commands per day and operation, by outcome.
fn operations(records: &[Record]) -> String {
    let mut requested = BTreeMap::new();
    let mut counts: BTreeMap<(String, String), [u64; 4]> = BTreeMap::new();
    for record in records {
        let (operation, outcome) = match &record.event {
            Event::Intent(intent) => {
                requested.insert(intent.asked.command, intent.asked.operation.clone());
                continue;
            }
            Event::Denied(denied, verdict) => (denied.operation.clone(), verdict.outcome),
            Event::Outcome(verdict) => match requested.remove(&verdict.command) {
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

/// A line of a CSV table.
fn line(fields: &[&str]) -> String {
    let fields = fields.iter().map(|field| csv_field(field));
    fields.collect::<Vec<_>>().join(",") + "\r\n"
}
