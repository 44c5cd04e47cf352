//! The event log in the formats that other programs read.

use serde_json::{Map, Value};

use doorward_protocol::event_log::describe::{Row, row};
use doorward_protocol::event_log::record::Record;
use doorward_terminal::{out, outln};
use doorward_transport::csv::csv_field;

/// The private enterprise number that RFC 5612 reserves for examples.
const ENTERPRISE: u32 = 32473;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// One line per record, for people.
    #[value(skip)]
    Text,
    Jsonl,
    Csv,
    Syslog,
}

/// Prints the records; returns their number.
pub(super) fn print<'a>(
    format: Format,
    device: &str,
    records: impl Iterator<Item = &'a Record>,
) -> usize {
    if format == Format::Csv {
        let names = Row::default().columns().map(|(name, _)| name);
        out!("{}\r\n", names.join(","));
    }
    let mut count = 0;
    for record in records {
        let row = row(record);
        match format {
            Format::Text => outln!("{:>6}  {}  {:<9}  {}", row.seq, row.at, row.event, row.text),
            Format::Jsonl => outln!("{}", json(&row)),
            Format::Csv => {
                let cells = row.columns().map(|(_, cell)| csv_field(&cell));
                out!("{}\r\n", cells.join(","));
            }
            Format::Syslog => outln!("{}", syslog(device, &row)),
        }
        count += 1;
    }
    count
}

fn json(row: &Row) -> Value {
    let mut object = Map::new();
    for (name, cell) in row.columns() {
        let value = match name {
            "seq" => row.seq.into(),
            "quality" => row.quality.into(),
            _ if cell.is_empty() => continue,
            _ => cell.into(),
        };
        object.insert(name.to_owned(), value);
    }
    Value::Object(object)
}

/// RFC 5424, with facility 13 (log audit).
fn syslog(device: &str, row: &Row) -> String {
    let severity = match (row.event, row.outcome) {
        ("denied", _) => 4,
        ("outcome", "failed" | "unknown") => 3,
        ("epoch", _) => 4,
        _ => 6,
    };
    let data: String = row
        .columns()
        .iter()
        .filter(|(name, cell)| !cell.is_empty() && !matches!(*name, "at" | "event" | "text"))
        .map(|(name, cell)| format!(" {name}=\"{}\"", escaped(cell)))
        .collect();
    format!(
        "<{}>1 {} {device} doorward - {} [doorward@{ENTERPRISE}{data}] {}",
        13 * 8 + severity,
        row.at,
        row.event,
        row.text
    )
}

fn escaped(cell: &str) -> String {
    cell.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace(']', "\\]")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied() -> Row {
        Row {
            seq: 7,
            at: "2026-11-24T04:00:00Z".into(),
            quality: 3,
            event: "denied",
            person: "=cmd|a]b\"c".into(),
            code: "not_granted".into(),
            text: "anna, who asks".into(),
            ..Row::default()
        }
    }

    #[test]
    fn a_syslog_line_is_as_rfc_5424_says() {
        assert_eq!(
            syslog("ups-7", &denied()),
            "<108>1 2026-11-24T04:00:00Z ups-7 doorward - denied [doorward@32473 seq=\"7\" \
             quality=\"3\" person=\"=cmd|a\\]b\\\"c\" code=\"not_granted\"] anna, who asks"
        );
    }

    #[test]
    fn a_json_line_leaves_out_what_does_not_apply() {
        let json = json(&denied());
        assert_eq!(json["seq"], 7);
        assert_eq!(json.get("operation"), None);
    }
}
