//! The event log in the formats that other programs read.

use std::io::Write;

use serde_json::{Map, Value};

use doorward_protocol::event_log::describe::{Row, row};
use doorward_protocol::event_log::record::Record;

/// The private enterprise number that RFC 5612 keeps for examples.
const ENTERPRISE: u32 = 32473;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// One line a record, for people.
    #[value(skip)]
    Text,
    Jsonl,
    Csv,
    Syslog,
}

pub(super) fn write<'a>(
    out: &mut impl Write,
    format: Format,
    device: &str,
    records: impl Iterator<Item = &'a Record>,
) -> std::io::Result<()> {
    if format == Format::Csv {
        let names = Row::default().columns().map(|(name, _)| name);
        write!(out, "{}\r\n", names.join(","))?;
    }
    for record in records {
        let row = row(record);
        match format {
            Format::Text => {
                writeln!(
                    out,
                    "{:>6}  {}  {:<9}  {}",
                    row.seq, row.at, row.event, row.text
                )?;
            }
            Format::Jsonl => writeln!(out, "{}", json(&row))?,
            Format::Csv => {
                let cells = row.columns().map(|(_, cell)| quoted(&cell));
                write!(out, "{}\r\n", cells.join(","))?;
            }
            Format::Syslog => writeln!(out, "{}", syslog(device, &row))?,
        }
    }
    out.flush()
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

/// RFC 4180. What a spreadsheet would take for a formula is shown as text.
fn quoted(cell: &str) -> String {
    let formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let cell = if formula {
        format!("'{cell}")
    } else {
        cell.to_owned()
    };
    if cell.contains(['"', ',', '\r', '\n']) || formula {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell
    }
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
    fn a_cell_is_quoted_where_rfc_4180_wants_it_and_is_never_a_formula() {
        assert_eq!(quoted("plain"), "plain");
        assert_eq!(quoted("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(quoted("=1+1"), "\"'=1+1\"");
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
