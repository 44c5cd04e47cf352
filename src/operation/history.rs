//! `history.read`: the event log. The owner reads all of it, other users only their own actions.

use std::path::Path;

use crate::core::OperationResult;
use doorward_protocol::event_log::describe::{holder, row};
use doorward_protocol::event_log::record::Record;
use doorward_protocol::gate::{Code, Permit};
use doorward_protocol::wire::{Map, Value, truncate};
use doorward_transport::event_log::read_log;

/// Maximum number of records in one result, since a receipt is bounded.
const MAX_RECORDS: usize = 40;
/// Maximum length of the text of one record, in bytes.
const MAX_TEXT: usize = 280;

/// Returns up to 40 records by number, from argument `from` on, or the newest ones. `next` is the
/// first record that is not included.
pub(super) fn read(permit: &Permit, state: &Path) -> OperationResult {
    let from = match permit.args().get("from") {
        None => None,
        Some(Value::Int(from)) => Some(u64::try_from(*from).unwrap_or(0)),
        Some(_) => {
            return OperationResult::failed(Code::Param, "from must be the number of a record");
        }
    };
    let records = match visible(permit, state) {
        Ok(records) => records,
        Err(why) => return OperationResult::failed(Code::Failed, &why),
    };
    let start = match from {
        Some(from) => records.partition_point(|record| record.seq < from),
        None => records.len().saturating_sub(MAX_RECORDS),
    };
    let page = records.get(start..).unwrap_or_default();
    let mut rows: Vec<(String, Value)> = page.iter().take(MAX_RECORDS).map(line).collect();
    if let Some(next) = page.get(MAX_RECORDS) {
        let next = i64::try_from(next.seq).unwrap_or(i64::MAX);
        rows.push(("next".to_owned(), Value::Int(next)));
    }
    OperationResult::done(Map::named(rows))
}

/// Returns the records that the sender of a command may see.
pub(super) fn visible(permit: &Permit, state: &Path) -> Result<Vec<Record>, String> {
    let log = read_log(&state.join("log")).map_err(|error| error.to_string())?;
    let owner = permit.share().is_none();
    let mut records = log.records;
    records.retain(|record| owner || holder(&record.event) == Some(&permit.caller().key));
    Ok(records)
}

fn line(record: &Record) -> (String, Value) {
    let row = row(record);
    let mut text = format!("{} {}: {}", row.at, row.event, row.text);
    truncate(&mut text, MAX_TEXT);
    (format!("{:06}", row.seq), Value::Text(text))
}
