//! How the device is, as JSON: what `doorward status` shows.

use serde_json::{Map, Value, json};

use crate::core::Core;
use crate::core::DeviceStatus;
use crate::daemon::event_loop::Daemon;
use doorward_protocol::gate::StatementStore;

impl Daemon {
    /// How the device is.
    pub(super) fn status(&mut self) -> Value {
        let facts = self.core.status(&self.clock.read());
        let uptime = facts.now.uptime;
        let refused = facts.refused.iter();
        let refused = refused.map(|(code, count)| (code.name().to_owned(), json!(count)));
        let known = self.core.statements();
        let missing: Vec<String> = facts.missing.iter().map(ToString::to_string).collect();
        json!({
            "device": known.device().as_str(),
            "owner": known.registration().map(|r| r.sub.as_str()),
            "time": facts.now.estimate.to_string(),
            "time_quality": facts.now.quality,
            "time_s": facts.now.estimate.0,
            "uptime_s": uptime,
            "epoch": facts.standing.epoch.hex(),
            "links": self.links.json(uptime),
            "store": self.failed.as_deref().unwrap_or("works"),
            "since_start": self.notes,
            "registration": facts.standing.registration,
            "lists": lists(known, &facts),
            "missing": missing,
            "leases": leases(known, &facts),
            "shares": facts.shares,
            "log": {
                "records": facts.log_size,
                "used_percent": facts.log_used,
                "acknowledged": facts.acknowledged,
            },
            "underway": underway(&self.core),
            "refused": Map::from_iter(refused),
        })
    }
}

/// What was allowed and has not ended.
fn underway(core: &Core) -> Value {
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

/// The revocation lists: their numbers, and their age in seconds if the device holds them.
fn lists(known: &StatementStore, facts: &DeviceStatus) -> Value {
    let lists = facts.standing.revocations.iter().map(|(audience, seq)| {
        let held = known.revocations(audience);
        let age = held.map(|list| facts.now.estimate.since(list.iat));
        (audience.to_string(), json!({"seq": seq, "age_s": age}))
    });
    Value::Object(lists.collect())
}

/// How many seconds shares from before the newest list of this device still count without a
/// newer one, by class.
fn leases(known: &StatementStore, facts: &DeviceStatus) -> Value {
    let device = doorward_protocol::wire::Audience::Device(known.device().clone());
    let (Some(registration), Some(list)) = (known.registration(), known.revocations(&device))
    else {
        return json!({});
    };
    let leases = registration.body.leases.iter().map(|(class, lease)| {
        let age = facts.now.estimate.since(list.iat);
        (class.name().to_owned(), json!(lease.saturating_sub(age)))
    });
    Value::Object(leases.collect())
}
