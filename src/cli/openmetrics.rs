//! The device's status for Prometheus, in the text format that node_exporter reads from a file
//! (OpenMetrics 1.0, section 3). Metrics are named after the fields of `doorward status --json`.

use serde_json::Value;

/// Name, type, help text, path in the status, and label of the rows.
const METRICS: [(&str, &str, &str, &str, &str); 14] = [
    (
        "doorward_link_up",
        "gauge",
        "Whether a link is connected.",
        "/links/*/up",
        "link",
    ),
    (
        "doorward_link_losses",
        "counter",
        "Connections lost or refused.",
        "/links/*/losses",
        "link",
    ),
    (
        "doorward_link_waiting_messages",
        "gauge",
        "Messages queued for the broker.",
        "/links/*/waiting",
        "link",
    ),
    (
        "doorward_time_seconds",
        "gauge",
        "The device's estimate of the time.",
        "/time_s",
        "",
    ),
    (
        "doorward_time_quality",
        "gauge",
        "0 none, 1 floor, 2 clock, 3 confirmed.",
        "/time_quality",
        "",
    ),
    (
        "doorward_shares",
        "gauge",
        "Shares stored on the device.",
        "/shares",
        "",
    ),
    (
        "doorward_list_number",
        "gauge",
        "Number of a revocation list.",
        "/lists/*/seq",
        "audience",
    ),
    (
        "doorward_list_age_seconds",
        "gauge",
        "Age of a revocation list.",
        "/lists/*/age_s",
        "audience",
    ),
    (
        "doorward_lease_left_seconds",
        "gauge",
        "Remaining offline validity of shares.",
        "/leases/*",
        "class",
    ),
    (
        "doorward_log_records",
        "gauge",
        "Records in the event log.",
        "/log/records",
        "",
    ),
    (
        "doorward_log_acknowledged",
        "gauge",
        "Records collected by another machine.",
        "/log/acknowledged",
        "",
    ),
    (
        "doorward_log_used_percent",
        "gauge",
        "Used part of the event log's capacity.",
        "/log/used_percent",
        "",
    ),
    (
        "doorward_uptime_seconds",
        "gauge",
        "Time since the machine started.",
        "/uptime_s",
        "",
    ),
    (
        "doorward_refused",
        "counter",
        "Messages refused since the daemon started.",
        "/refused/*",
        "code",
    ),
];

/// The metrics of a status.
pub(super) fn from_status(status: &Value) -> String {
    let works = status["store"] == "works";
    let mut text = metric("doorward_store_up", "gauge", "Whether the database works.");
    text += &format!("doorward_store_up {}\n", u8::from(works));
    for (name, kind, help, path, label) in METRICS {
        text += &metric(name, kind, help);
        let suffix = if kind == "counter" { "_total" } else { "" };
        let Some((table, field)) = path.split_once("/*") else {
            if let Some(number) = number(status.pointer(path)) {
                text += &format!("{name}{suffix} {number}\n");
            }
            continue;
        };
        let rows = status.pointer(table).and_then(Value::as_object);
        for (row, value) in rows.into_iter().flatten() {
            if let Some(number) = number(value.pointer(field)) {
                text += &format!("{name}{suffix}{{{label}=\"{}\"}} {number}\n", escaped(row));
            }
        }
    }
    text + "# EOF\n"
}

fn metric(name: &str, kind: &str, help: &str) -> String {
    format!("# TYPE {name} {kind}\n# HELP {name} {help}\n")
}

fn number(value: Option<&Value>) -> Option<u64> {
    let value = value?;
    value.as_u64().or_else(|| value.as_bool().map(u64::from))
}

/// Escapes the value of a label.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_fields_of_a_status_become_metrics() {
        let status = json!({
            "store": "works",
            "links": {"cloud": {"up": true, "losses": 3, "waiting": 0}, "local": {"up": false}},
            "shares": 4,
            "lists": {"ups\"7": {"seq": 9, "age_s": null}},
            "leases": {"read": 60},
            "refused": {"no_grant": 2},
        });
        let text = from_status(&status);
        for line in [
            "# TYPE doorward_link_up gauge",
            "doorward_link_up{link=\"cloud\"} 1",
            "doorward_link_up{link=\"local\"} 0",
            "doorward_link_losses_total{link=\"cloud\"} 3",
            "doorward_store_up 1",
            "doorward_shares 4",
            "doorward_list_number{audience=\"ups\\\"7\"} 9",
            "doorward_lease_left_seconds{class=\"read\"} 60",
            "doorward_refused_total{code=\"no_grant\"} 2",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
        assert!(!text.contains("doorward_list_age_seconds{"));
        assert!(text.ends_with("# EOF\n"));
        assert!(from_status(&json!({"store": "full"})).contains("doorward_store_up 0"));
    }
}
