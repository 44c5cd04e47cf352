//! `history.read`: the event log for those who may ask. The owner reads all of it, everybody
//! else what they did themselves.

use std::path::Path;

use crate::core::OperationResult;
use doorward_protocol::event_log::describe::{holder, row};
use doorward_protocol::event_log::record::Record;
use doorward_protocol::gate::{Code, Permit};
use doorward_protocol::wire::{Map, Value};
use doorward_transport::event_log::read_log;

/// Most records of one answer; a receipt is bounded.
const MOST: usize = 40;
/// Longest text of one record.
const LONGEST: usize = 280;

/// Up to 40 records from argument `from` on, or the newest, by number; `next` is where to go
/// on.
pub(super) fn read(permit: &Permit, state: &Path) -> OperationResult {
    let from = match permit.args().get("from") {
        None => None,
        Some(Value::Int(from)) => Some(u64::try_from(*from).unwrap_or(0)),
        Some(_) => return OperationResult::failed(Code::Param, "from is the number of a record"),
    };
    let mine = match visible(permit, state) {
        Ok(mine) => mine,
        Err(why) => return OperationResult::failed(Code::Failed, &why),
    };
    let begin = match from {
        Some(from) => mine.partition_point(|record| record.seq < from),
        None => mine.len().saturating_sub(MOST),
    };
    let page = mine.get(begin..).unwrap_or_default();
    let mut rows: Vec<(String, Value)> = page.iter().take(MOST).map(line).collect();
    if let Some(next) = page.get(MOST) {
        let next = i64::try_from(next.seq).unwrap_or(i64::MAX);
        rows.push(("next".to_owned(), Value::Int(next)));
    }
    OperationResult::done(Map::named(rows))
}

/// The records that the sender of a command may see.
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
    while text.len() > LONGEST {
        text.pop();
    }
    (format!("{:06}", row.seq), Value::Text(text))
}
