//! Accounts and devices of a platform; each key is derived from the name (TEST KEYS).

use doorkey::domain::{Account, AccountRole, Email, NewRegistration};
use doorward_protocol::wire::{Id, Plan, SecretKey, Text, Timestamp, hash};

pub fn id(name: &str) -> Id {
    Id::new(name).unwrap()
}

pub fn key(name: &str) -> SecretKey {
    SecretKey::from_seed(&hash(name.as_bytes()).0)
}

/// An account with the address NAME@example.org.
pub fn account(name: &str, role: AccountRole, made: Timestamp) -> Account {
    Account {
        id: id(name),
        email: Some(Email::new(&format!("{name}@example.org")).unwrap()),
        key: key(name).public(),
        role,
        enterprise: id(name),
        region: id("eu"),
        language: "en".into(),
        made,
    }
}

/// A registration of a device on the highest plan.
pub fn registration(device: &str, owner: &str) -> NewRegistration {
    NewRegistration {
        device: id(device),
        device_key: key(device).public(),
        owner: id(owner),
        owner_key: key(owner).public(),
        model: Text::new("model-1").unwrap(),
        region: id("eu"),
        site: None,
        plan: Plan {
            name: id("advanced"),
            end: None,
        },
        demo: false,
    }
}
