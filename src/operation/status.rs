//! `status.read`: what the device says of itself.

use crate::core::{DeviceStatus, OperationResult};
use doorward_protocol::wire::{Map, Text, Value};

/// The status as a flat table.
pub(super) fn read(facts: &DeviceStatus) -> OperationResult {
    OperationResult::done(rows(facts))
}

/// The same, a line each.
pub(super) fn text(facts: &DeviceStatus) -> String {
    let rows = rows(facts);
    let lines = rows
        .iter()
        .map(|(name, value)| format!("{name} = {value}\n"));
    lines.collect()
}

fn rows(facts: &DeviceStatus) -> Map<Text, Value> {
    let number = |n: u64| Value::Int(i64::try_from(n).unwrap_or(i64::MAX));
    let mut rows = vec![
        (
            "time".to_owned(),
            Value::Text(facts.now.estimate.to_string()),
        ),
        ("time.quality".to_owned(), number(facts.now.quality.into())),
        ("uptime_s".to_owned(), number(facts.now.uptime)),
        ("shares".to_owned(), number(facts.shares as u64)),
        ("log.records".to_owned(), number(facts.log_size)),
        ("log.used_percent".to_owned(), number(facts.log_used)),
        (
            "registration.seq".to_owned(),
            number(facts.standing.registration),
        ),
    ];
    for (audience, seq) in facts.standing.revocations.iter() {
        rows.push((format!("revocations.{audience}"), number(*seq)));
    }
    for (code, count) in &facts.refused {
        rows.push((format!("refused.{code}"), number(*count)));
    }
    Map::named(rows)
}
