//! The sharing side: who owns which device, who shares it with whom, what was cancelled.
//!
//! The rules first, without I/O: `account.rs`, `device.rs`, `share.rs`, `invitation.rs`,
//! `group.rs`, `preset.rs`, and `refusal.rs` for why something is refused. Then the ledger, which
//! keeps it all in SQL, and the keys. `platform.rs` brings them together, one file for what
//! people do: register, share, accept, cancel, sign in, and hear what devices say.

mod accepting;
mod account;
mod accounts;
mod cancelling;
mod ceremony;
mod device;
mod firmware;
mod group;
mod groups;
mod hearing;
mod holder;
mod invitation;
mod keys;
mod ledger;
mod overview;
mod platform;
mod preset;
mod refusal;
mod register;
mod rotating;
mod seal;
mod share;
mod sharing;
mod signing_in;
mod terms;

pub use accepting::{Acceptance, Passes, accept_message};
pub use account::{Account, AccountRole, Email};
pub use cancelling::FRESH_FOR;
pub use ceremony::Draft;
pub use device::{Device, SLOTS, claim_hash};
pub use firmware::NewRelease;
pub use group::{Group, LookupKey, language};
pub use groups::{Decision, NewGroup};
pub use holder::{Holder, Wish};
pub use invitation::{Code, Invitation, LAPSES_AFTER, Stage, TRIES};
pub use keys::Keys;
pub use ledger::{Alert, Ledger, Outgoing, Topic};
pub use overview::{Access, PAGE, UNUSED_AFTER};
pub use platform::{Listed, Platform};
pub use preset::{Preset, operations, shareable};
pub use refusal::{Nature, Refusal, Rule};
pub use register::Claim;
pub use share::{DeviceWord, End, Recipient, ShareRecord, Status, has_slot};
pub use sharing::Made;
pub use signing_in::{SESSION_LASTS, sign_in_message};
pub use terms::{Actor, Each, IssuerError, NewRegistration, NewShare, To};

use crate::wire::{Class, Id, Map, PlanTable, Text};

/// The plan table that new registrations carry: Basic views; Standard adds notifications,
/// firmware, diagnostics, reports and sharing; Advanced everything.
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

/// The leases that new registrations carry, in seconds.
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

/// Random bytes from the kernel.
///
/// # Errors
/// If the kernel has none.
pub fn random<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Operation;

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
