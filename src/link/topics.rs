//! Topic names. Reply topics are derived from keys, never taken from a message.

use crate::wire::{Audience, Id, KeyBytes, Kind};

const ROOT: &str = "doorward/v1";

/// Where a device takes commands.
#[must_use]
pub fn command(device: &Id) -> String {
    format!("{ROOT}/{device}/command")
}

/// Where a device answers the holder of a key.
#[must_use]
pub fn receipts(device: &Id, holder: &KeyBytes) -> String {
    format!("{ROOT}/{device}/receipts/{holder}")
}

/// Where a device keeps its retained `state`.
#[must_use]
pub fn state(device: &Id) -> String {
    format!("{ROOT}/{device}/state")
}

/// Where a device publishes checkpoints of its event log.
#[must_use]
pub fn events(device: &Id) -> String {
    format!("{ROOT}/{device}/events")
}

/// Where a device sends the records of its event log, once somebody keeps them.
#[must_use]
pub fn records(device: &Id) -> String {
    format!("{ROOT}/{device}/records")
}

/// Where a device's link says whether it is up, and the broker that it is down when it has
/// lost the device. Not signed, and nothing is decided by it.
#[must_use]
pub fn link(device: &Id, name: &str) -> String {
    format!("{ROOT}/{device}/link/{name}")
}

/// Where a statement for `audience` is retained; `id` tells statements of one kind apart: a
/// share's id, a group's key.
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

#[cfg(test)]
mod tests {
    use super::*;

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
