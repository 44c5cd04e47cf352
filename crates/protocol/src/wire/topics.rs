//! MQTT topic names. Reply topics are derived from keys, never taken from a message.

use alloc::format;
use alloc::string::String;

use crate::wire::{Audience, Bytes, Id, KeyBytes, Kind};

const ROOT: &str = "doorward/v1";

/// The topic of commands to a device.
#[must_use]
pub fn command(device: &Id) -> String {
    format!("{ROOT}/{device}/command")
}

/// The topic of receipts to the holder of a key.
#[must_use]
pub fn receipts(device: &Id, holder: &KeyBytes) -> String {
    format!("{ROOT}/{device}/receipts/{holder}")
}

/// The topic of chunks of large results to the holder of a key.
#[must_use]
pub fn results(device: &Id, holder: &KeyBytes) -> String {
    format!("{ROOT}/{device}/results/{holder}")
}

/// The topic of notifications to the holder of a key.
#[must_use]
pub fn notices(device: &Id, holder: &KeyBytes) -> String {
    format!("{ROOT}/{device}/notices/{holder}")
}

/// The topic of a device's confirmations and refusals of shares.
#[must_use]
pub fn confirmations(device: &Id) -> String {
    format!("{ROOT}/{device}/confirmations")
}

/// The filters of an issuer for reports of all devices: `state` and confirmations.
#[must_use]
pub fn device_report_filters() -> [String; 2] {
    [format!("{ROOT}/+/state"), format!("{ROOT}/+/confirmations")]
}

/// Parses the topic of a device report: the device, and whether it is its `state`.
#[must_use]
pub fn parse_device_topic(topic: &str) -> Option<(Id, bool)> {
    let rest = topic.strip_prefix(ROOT)?.strip_prefix('/')?;
    let (device, name) = rest.split_once('/')?;
    let device = Id::new(device).ok()?;
    match name {
        "state" => Some((device, true)),
        "confirmations" => Some((device, false)),
        _ => None,
    }
}

/// The topic of a device's retained `state`.
#[must_use]
pub fn state(device: &Id) -> String {
    format!("{ROOT}/{device}/state")
}

/// The topic of checkpoints of a device's event log.
#[must_use]
pub fn events(device: &Id) -> String {
    format!("{ROOT}/{device}/events")
}

/// The topic of the records of a device's event log, for a collector.
#[must_use]
pub fn records(device: &Id) -> String {
    format!("{ROOT}/{device}/records")
}

/// The topic of a link's presence: `up` from the device, `down` from the broker as its last will.
/// It is not signed, and no decision depends on it.
#[must_use]
pub fn link(device: &Id, name: &str) -> String {
    format!("{ROOT}/{device}/link/{name}")
}

/// The topic of a retained statement for `audience`. `id` distinguishes statements of one kind: a
/// share's id or a group's key.
#[must_use]
pub fn statement(audience: &Audience, kind: Kind, id: Option<&str>) -> String {
    let base = statements_base(audience);
    let kind = kind.name();
    match id {
        Some(id) => format!("{base}/{kind}/{id}"),
        None => format!("{base}/{kind}"),
    }
}

/// The filter for all statements for `audience`.
#[must_use]
pub fn statements(audience: &Audience) -> String {
    format!("{}/#", statements_base(audience))
}

fn statements_base(audience: &Audience) -> String {
    match audience {
        Audience::Device(id) => format!("{ROOT}/{id}/statements"),
        Audience::Site(id) => format!("{ROOT}/site/{id}/statements"),
    }
}

/// A topic to which a client of the device's own listener may publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InboundTopic {
    /// A command and attached statements.
    Command,
    /// A statement.
    Statement,
}

impl InboundTopic {
    /// Parses `topic`; `None` if this device does not accept messages on it.
    #[must_use]
    pub fn on(topic: &str, device: &Id) -> Option<Self> {
        let mut levels = topic.strip_prefix(ROOT)?.strip_prefix('/')?.split('/');
        let first = levels.next()?;
        if first == "site" {
            levels.next()?;
        } else if first != device.as_str() {
            return None;
        }
        match levels.next()? {
            "command" if first != "site" && levels.next().is_none() => Some(Self::Command),
            "statements" => levels.next().map(|_| Self::Statement),
            _ => None,
        }
    }
}

/// A topic to which a client of the device's own listener may subscribe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum OutboundTopic {
    /// The device's `state`.
    State,
    /// Checkpoints of its event log.
    Events,
    /// Receipts to the holder of a key.
    Receipts(KeyBytes),
    /// Chunks of large results to the holder of a key.
    Results(KeyBytes),
}

impl OutboundTopic {
    /// Parses `filter`; `None` if this device does not publish on it. Wildcards are not accepted.
    #[must_use]
    pub fn under(filter: &str, device: &Id) -> Option<Self> {
        let of_device = filter.strip_prefix(ROOT)?.strip_prefix('/')?;
        let name = of_device.strip_prefix(device.as_str())?.strip_prefix('/')?;
        match name.split_once('/') {
            None if name == "state" => Some(Self::State),
            None if name == "events" => Some(Self::Events),
            Some((kind @ ("receipts" | "results"), key)) => {
                let key = Bytes::from_hex(key)?;
                let topic = match kind {
                    "receipts" => Self::Receipts(key),
                    _ => Self::Results(key),
                };
                // Only the spelling in which it is published.
                (topic.topic(device) == filter).then_some(topic)
            }
            _ => None,
        }
    }

    /// The topic's name.
    #[must_use]
    pub fn topic(&self, device: &Id) -> String {
        match self {
            Self::State => state(device),
            Self::Events => events(device),
            Self::Receipts(holder) => receipts(device, holder),
            Self::Results(holder) => results(device, holder),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::prelude::v1::*;

    #[test]
    fn a_device_hears_its_own_command_topic_and_statements() {
        let device = Id::new("ups-7").unwrap();
        for (topic, expected) in [
            ("doorward/v1/ups-7/command", Some(InboundTopic::Command)),
            (
                "doorward/v1/ups-7/statements/share/01",
                Some(InboundTopic::Statement),
            ),
            (
                "doorward/v1/site/north/statements/revocations",
                Some(InboundTopic::Statement),
            ),
            ("doorward/v1/ups-7/command/x", None),
            ("doorward/v1/ups-7/statements", None),
            ("doorward/v1/ups-8/command", None),
            ("doorward/v1/site/north/command", None),
            ("doorward/v1/ups-7/state", None),
            ("doorward/v1/ups-7/receipts/00", None),
            ("doorward/v1ups-7/command", None),
            ("", None),
        ] {
            assert_eq!(InboundTopic::on(topic, &device), expected, "{topic}");
        }
    }

    #[test]
    fn a_device_tells_under_whole_names_only() {
        let device = Id::new("ups-7").unwrap();
        let holder = crate::wire::Bytes([0xab; 32]);
        for topic in [
            OutboundTopic::State,
            OutboundTopic::Events,
            OutboundTopic::Receipts(holder),
            OutboundTopic::Results(holder),
        ] {
            assert_eq!(
                OutboundTopic::under(&topic.topic(&device), &device),
                Some(topic)
            );
        }
        let upper = receipts(&device, &holder).replace("ab", "AB");
        for filter in [
            "#",
            "doorward/v1/ups-7/#",
            "doorward/v1/ups-7/receipts/+",
            "doorward/v1/ups-8/state",
            "doorward/v1/ups-7/records",
            "doorward/v1/ups-7/statements/share/01",
            upper.as_str(),
        ] {
            assert_eq!(OutboundTopic::under(filter, &device), None, "{filter}");
        }
    }

    #[test]
    fn names_are_as_the_protocol_says() {
        let device = Id::new("ups-7").unwrap();
        let holder = crate::wire::Bytes([0xab; 32]);
        assert_eq!(command(&device), "doorward/v1/ups-7/command");
        assert_eq!(
            receipts(&device, &holder),
            format!("doorward/v1/ups-7/receipts/{}", "ab".repeat(32))
        );
        let site: Audience = "site:north".parse().unwrap();
        assert_eq!(
            statement(&site, Kind::Share, Some("01")),
            "doorward/v1/site/north/statements/share/01"
        );
        assert_eq!(
            statements(&Audience::Device(device)),
            "doorward/v1/ups-7/statements/#"
        );
    }
}
