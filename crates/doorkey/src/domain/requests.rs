//! What is asked of the sharing side, by whom, and why it refuses.

use crate::domain::account::Account;
use doorward_protocol::wire::{Id, KeyBytes, Limits, Plan, Text, Timestamp};

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub enum Actor<'a> {
    /// Whoever holds the issuer's keys, on the machine where they are: may do everything that
    /// the rules of sharing let any owner do.
    Issuer,
    /// Somebody who has signed in.
    Account(&'a Account),
}

/// A device that is to be registered.
#[derive(Debug, Clone)]
pub struct NewRegistration {
    /// The device.
    pub device: Id,
    /// Its own key, as `doorward provision` showed it.
    pub device_key: KeyBytes,
    /// The owner's account.
    pub owner: Id,
    /// The owner's key.
    pub owner_key: KeyBytes,
    /// The model.
    pub model: Text,
    /// The region of the platform.
    pub region: Id,
    /// The site, if any.
    pub site: Option<Id>,
    /// The plan.
    pub plan: Plan,
    /// Whether it is for demonstration only.
    pub demo: bool,
}

/// Whom something is to be shared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShareTarget {
    /// Somebody whose key is known: the share counts at once.
    Key(Id, KeyBytes),
    /// Whoever has this address: they accept with a code.
    Address(crate::domain::account::Email),
    /// Whoever is given the link, under this name, with no account.
    Guest(Text),
    /// A group of the platform.
    Group(Id),
}

/// Shares that are to be made, one for each audience.
#[derive(Debug, Clone)]
pub struct NewShare {
    /// The recipient.
    pub to: ShareTarget,
    /// What the recipient may ask for: presets and operations.
    pub permissions: Vec<String>,
    /// When it ends.
    pub end: Timestamp,
    /// For people.
    pub description: Option<Text>,
    /// The region, if the audience is a site without devices; a device has its own.
    pub region: Id,
    /// How often, and which way.
    pub limits: Option<Limits>,
}
