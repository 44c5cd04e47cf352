//! The daemon's status as JSON, shown by `doorward status`.

use serde_json::{Map, Value, json};

use crate::core::Core;
use crate::core::DeviceStatus;
use crate::daemon::event_loop::Daemon;
use doorward_protocol::gate::StatementStore;

impl Daemon {
    /// Returns the status.
    pub(super) fn status(&mut self) -> Value {
        let status = self.core.status(&self.clock.read());
        let uptime = status.now.uptime;
        let refused = status.refused.iter();
        let refused = refused.map(|(code, count)| (code.name().to_owned(), json!(count)));
        let statements = self.core.statements();
        let missing: Vec<String> = status.missing.iter().map(ToString::to_string).collect();
        json!({
            "device": statements.device().as_str(),
            "owner": statements.registration().map(|r| r.sub.as_str()),
            "time": status.now.estimate.to_string(),
            "time_quality": status.now.quality,
            "time_s": status.now.estimate.0,
            "uptime_s": uptime,
            "epoch": status.standing.epoch.hex(),
            "links": self.links.json(uptime),
            "store": self.failed.as_deref().unwrap_or("works"),
            "since_start": self.notes,
            "registration": status.standing.registration,
            "lists": lists(statements, &status),
            "missing": missing,
            "leases": leases(statements, &status),
            "shares": status.shares,
            "log": {
                "records": status.log_size,
                "used_percent": status.log_used,
                "acknowledged": status.acknowledged,
            },
            "underway": running(&self.core),
            "refused": Map::from_iter(refused),
        })
    }
}

/// The commands that were allowed and have not finished.
fn running(core: &Core) -> Value {
    let rows = core
        .running_commands()
        .into_iter()
        .map(|(person, operation, rows)| {
            let progress = rows.iter();
            let progress = progress.map(|(name, value)| (name.to_string(), json!(value)));
            json!({
                "person": person.as_str(),
                "operation": operation.as_str(),
                "progress": Map::from_iter(progress),
            })
        });
    Value::Array(rows.collect())
}

/// The revocation lists: sequence number, and age in seconds if the device holds the list.
fn lists(statements: &StatementStore, status: &DeviceStatus) -> Value {
    let lists = status.standing.revocations.iter().map(|(audience, seq)| {
        let held = statements.revocations(audience);
        let age = held.map(|list| status.now.estimate.since(list.iat));
        (audience.to_string(), json!({"seq": seq, "age_s": age}))
    });
    Value::Object(lists.collect())
}

/// Remaining offline validity by class, in seconds: how long shares issued before the device's
/// newest revocation list stay valid without a newer one.
fn leases(statements: &StatementStore, status: &DeviceStatus) -> Value {
    let device = doorward_protocol::wire::Audience::Device(statements.device().clone());
    let (Some(registration), Some(list)) =
        (statements.registration(), statements.revocations(&device))
    else {
        return json!({});
    };
    let leases = registration.body.leases.iter().map(|(class, lease)| {
        let age = status.now.estimate.since(list.iat);
        (class.name().to_owned(), json!(lease.saturating_sub(age)))
    });
    Value::Object(leases.collect())
}
