//! `status.read`: the device's status.

use crate::core::{DeviceStatus, OperationResult};
use doorward_protocol::wire::{Map, Text, Value};

/// Returns the status as a flat table.
pub(super) fn read(status: &DeviceStatus) -> OperationResult {
    OperationResult::done(rows(status))
}

/// Returns the status as text, one value per line.
pub(super) fn text(status: &DeviceStatus) -> String {
    let rows = rows(status);
    let lines = rows
        .iter()
        .map(|(name, value)| format!("{name} = {value}\n"));
    lines.collect()
}

fn rows(status: &DeviceStatus) -> Map<Text, Value> {
    let number = |n: u64| Value::Int(i64::try_from(n).unwrap_or(i64::MAX));
    let mut rows = vec![
        (
            "time".to_owned(),
            Value::Text(status.now.estimate.to_string()),
        ),
        ("time.quality".to_owned(), number(status.now.quality.into())),
        ("uptime_s".to_owned(), number(status.now.uptime)),
        ("shares".to_owned(), number(status.shares as u64)),
        ("log.records".to_owned(), number(status.log_size)),
        ("log.used_percent".to_owned(), number(status.log_used)),
        (
            "registration.seq".to_owned(),
            number(status.standing.registration),
        ),
    ];
    for (audience, seq) in status.standing.revocations.iter() {
        rows.push((format!("revocations.{audience}"), number(*seq)));
    }
    for (code, count) in &status.refused {
        rows.push((format!("refused.{code}"), number(*count)));
    }
    Map::named(rows)
}
