//! Presets: named sets of permissions, limited to the operations that the device offers.

use crate::domain::error::{Refusal, RuleCode};
use doorward_protocol::wire::{Operation, SELF_SERVICE_OPERATIONS, is_owner_only};

/// A named set of permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// All operations that can be shared: monitoring, configuration and control.
    Full,
    /// Maintenance of a site: all operations that can be shared except licences, firmware rollback
    /// and switching the load off.
    Partner,
    /// Read-only operations.
    View,
}

/// The operations offered for sharing while a device has not reported its own.
const DEFAULT_OFFER: [&str; 14] = [
    "status.read",
    "history.read",
    "report.read",
    "config.read",
    "config.write",
    "notify.manage",
    "licence.apply",
    "diag.selftest",
    "diag.calibrate",
    "diag.bundle",
    "firmware.install",
    "device.reboot",
    "power.outlet.cycle",
    "power.shutdown.return",
];

impl Preset {
    /// The preset with a name, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "full" => Some(Self::Full),
            "partner" => Some(Self::Partner),
            "view" => Some(Self::View),
            _ => None,
        }
    }

    fn includes(self, operation: &str) -> bool {
        let family = |families: &[&str]| families.iter().any(|f| operation.starts_with(f));
        match self {
            Self::Full => true,
            Self::Partner => !family(&["power.load", "firmware.rollback", "licence."]),
            Self::View => operation.ends_with(".read"),
        }
    }
}

/// The operations among `offered` that can be shared. Without any, a default set is used.
#[must_use]
pub fn shareable(offered: &[Operation]) -> Vec<Operation> {
    let defaults = DEFAULT_OFFER
        .iter()
        .filter_map(|name| Operation::new(name).ok());
    let offered: Vec<Operation> = match offered {
        [] => defaults.collect(),
        offered => offered.to_vec(),
    };
    let can_be_shared = |name: &Operation| {
        !is_owner_only(name.as_str())
            && !SELF_SERVICE_OPERATIONS.contains(&name.as_str())
            && name.as_str() != "history.acknowledge"
    };
    offered.into_iter().filter(can_be_shared).collect()
}

/// Expands a list of presets and operations to operations. Operations of a preset that the device
/// does not offer are left out. An operation that is listed by itself must be offered, unless
/// `offered` is empty because the device has not reported yet.
///
/// # Errors
/// [`RuleCode::Permission`].
pub fn expand_permissions(
    names: &[String],
    offered: &[Operation],
) -> Result<Vec<Operation>, Refusal> {
    let mut chosen = Vec::new();
    for name in names {
        if let Some(preset) = Preset::from_name(name) {
            let all = shareable(offered).into_iter();
            chosen.extend(all.filter(|operation| preset.includes(operation.as_str())));
            continue;
        }
        let operation = Operation::new(name).map_err(|rule| {
            RuleCode::Permission.because(format!("`{name}` is not an operation: {rule}"))
        })?;
        if is_owner_only(name) {
            return Err(RuleCode::Permission.because(format!("`{name}` is for the owner only")));
        }
        if !offered.is_empty() && !offered.contains(&operation) {
            return Err(RuleCode::Permission.because(format!("The device does not offer `{name}`")));
        }
        chosen.push(operation);
    }
    chosen.sort();
    chosen.dedup();
    match chosen.len() {
        0 => Err(RuleCode::Permission.because("The share would grant no operation")),
        1..=32 => Ok(chosen),
        _ => Err(RuleCode::Permission.because("A share grants at most 32 operations")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str], offered: &[&str]) -> Result<Vec<String>, RuleCode> {
        let offered: Vec<_> = offered.iter().map(|o| Operation::new(o).unwrap()).collect();
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        expand_permissions(&names, &offered)
            .map(|chosen| chosen.iter().map(ToString::to_string).collect())
            .map_err(|refusal| refusal.rule)
    }

    const OFFERED: [&str; 8] = [
        "device.delete",
        "device.reboot",
        "history.acknowledge",
        "history.read",
        "power.load.off",
        "share.mine",
        "share.revoke",
        "status.read",
    ];

    #[test]
    fn s22_a_preset_is_cut_to_what_the_model_offers_and_what_is_the_owners_is_never_in_it() {
        let view = ["history.read", "status.read"].map(str::to_owned);
        let full = [
            "device.reboot",
            "history.read",
            "power.load.off",
            "status.read",
        ];
        let partner = ["device.reboot", "history.read", "status.read"];
        assert_eq!(names(&["view"], &OFFERED).unwrap(), view);
        assert_eq!(names(&["full"], &OFFERED).unwrap(), full);
        assert_eq!(names(&["partner"], &OFFERED).unwrap(), partner);
        assert!(
            names(&["full"], &[])
                .unwrap()
                .contains(&"device.reboot".to_owned())
        );
    }

    #[test]
    fn s06_s07_permissions_are_offered_one_by_one_and_what_is_not_offered_is_refused() {
        assert_eq!(
            names(&["device.reboot"], &OFFERED).unwrap(),
            ["device.reboot"]
        );
        assert_eq!(
            names(&["diag.selftest"], &OFFERED),
            Err(RuleCode::Permission)
        );
        assert_eq!(
            names(&["device.delete"], &OFFERED),
            Err(RuleCode::Permission)
        );
        assert_eq!(names(&["No such"], &[]), Err(RuleCode::Permission));
        assert_eq!(names(&[], &OFFERED), Err(RuleCode::Permission));
    }
}
