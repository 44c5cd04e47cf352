//! Default plans and leases of new registrations.

use super::{Class, Id, Map, PlanTable, Text};

/// The default plan table: Basic includes reading; Standard adds notifications, firmware,
/// diagnostics, reports, configuration, licences and sharing; Advanced includes everything.
#[must_use]
pub fn default_plans() -> PlanTable {
    let minimum = [
        ("*", 2),
        ("status.read", 0),
        ("history.read", 0),
        ("log.read", 0),
        ("config.read", 0),
        ("notify.*", 1),
        ("firmware.*", 1),
        ("diag.*", 1),
        ("report.*", 1),
        ("config.*", 1),
        ("licence.*", 1),
        ("share.create", 1),
    ];
    let plans = ["basic", "standard", "advanced"];
    PlanTable {
        version: 1,
        plans: plans.iter().filter_map(|name| Id::new(name).ok()).collect(),
        minimum: Map::new(
            minimum
                .iter()
                .filter_map(|&(pattern, rank)| Some((Text::new(pattern).ok()?, rank))),
        ),
    }
}

/// The default leases, in seconds.
#[must_use]
pub fn default_leases() -> Map<Class, u64> {
    const DAY: u64 = 86400;
    Map::new([
        (Class::Read, 30 * DAY),
        (Class::Change, 7 * DAY),
        (Class::Interrupt, 7 * DAY),
        (Class::Danger, DAY),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Operation;
    use std::prelude::v1::*;

    #[test]
    fn the_default_plans_are_what_the_models_promise() {
        let table = default_plans();
        for (operation, basic, standard, advanced) in [
            ("status.read", true, true, true),
            ("diag.selftest", false, true, true),
            ("firmware.install", false, true, true),
            ("device.reboot", false, false, true),
            ("power.outlet.cycle:1", false, false, true),
        ] {
            let operation = Operation::new(operation).unwrap();
            let plan = |name| table.includes(&Id::new(name).unwrap(), &operation);
            assert_eq!(
                (plan("basic"), plan("standard"), plan("advanced")),
                (basic, standard, advanced),
                "{operation}"
            );
        }
        assert!(!table.includes_sharing(&Id::new("basic").unwrap()));
        assert!(!table.includes(
            &Id::new("gold").unwrap(),
            &Operation::new("status.read").unwrap()
        ));
    }
}
