//! What is asked of the issuer side, and why it refuses.

use crate::files::FileError;
use crate::wire::{
    Audience, Id, KeyBytes, Limits, Operation, Plan, Registration, Text, Timestamp, WireError,
};

/// Why the issuer side refused.
#[derive(Debug)]
pub enum IssuerError {
    /// A file.
    File(FileError),
    /// A rule of sharing, as a sentence with what to do.
    Rule(String),
}

impl std::fmt::Display for IssuerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(error) => error.fmt(f),
            Self::Rule(sentence) => f.write_str(sentence),
        }
    }
}

impl std::error::Error for IssuerError {}

impl From<FileError> for IssuerError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

impl From<WireError> for IssuerError {
    fn from(error: WireError) -> Self {
        Self::Rule(format!("That cannot be signed: {error}."))
    }
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

/// A share that is to be made.
#[derive(Debug, Clone)]
pub struct NewShare {
    /// The device or site.
    pub audience: Audience,
    /// The recipient's account.
    pub to: Id,
    /// The recipient's key.
    pub key: KeyBytes,
    /// What the recipient may ask for.
    pub operations: Vec<Operation>,
    /// When it ends.
    pub end: Timestamp,
    /// For people.
    pub description: Option<Text>,
    /// The region, if the audience is a site; a device has its own.
    pub region: Id,
    /// How often, and which way.
    pub limits: Option<Limits>,
}

/// A registered device as the issuer knows it.
#[derive(Debug, Clone)]
pub struct Device {
    /// What was signed last.
    pub registration: Registration,
    /// The same as bytes.
    pub bytes: Vec<u8>,
}
