//! Requests to the use cases, and the actor that makes them.

use crate::domain::account::Account;
use doorward_protocol::wire::{Id, KeyBytes, Limits, Plan, Text, Timestamp};

/// The party that makes a request.
#[derive(Debug, Clone, Copy)]
pub enum Actor<'a> {
    /// The operator of the issuer's directory, with its keys: may do all that the rules of sharing
    /// allow any owner.
    Issuer,
    /// An account that has signed in.
    Account(&'a Account),
}

/// A device to register.
#[derive(Debug, Clone)]
pub struct NewRegistration {
    /// The device.
    pub device: Id,
    /// The device's own public key, as `doorward provision` printed it.
    pub device_key: KeyBytes,
    /// The owner's account.
    pub owner: Id,
    /// The owner's public key.
    pub owner_key: KeyBytes,
    /// The model.
    pub model: Text,
    /// The region of the platform.
    pub region: Id,
    /// The site, if any.
    pub site: Option<Id>,
    /// The plan.
    pub plan: Plan,
    /// Whether it is a demonstration device, which cannot be shared.
    pub demo: bool,
}

/// The recipient of a new share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShareTarget {
    /// An account whose key is known. The share is valid at once.
    Key(Id, KeyBytes),
    /// An e-mail address. The recipient accepts with a code.
    Address(crate::domain::account::Email),
    /// A guest of this name, who accepts with the invitation link and has no account.
    Guest(Text),
    /// A group of the platform.
    Group(Id),
}

/// The terms of new shares.
#[derive(Debug, Clone)]
pub struct NewShare {
    /// The recipient.
    pub to: ShareTarget,
    /// The permissions: presets and operations.
    pub permissions: Vec<String>,
    /// When the shares end.
    pub end: Timestamp,
    /// The purpose, for people to read.
    pub description: Option<Text>,
    /// The region if the audience is a site without devices; otherwise that of the device is used.
    pub region: Id,
    /// Limits on the number, time and origin of commands.
    pub limits: Option<Limits>,
}
