//! The rules of sharing, without I/O and without a clock.

pub(crate) mod account;
pub(crate) mod device;
mod error;
pub(crate) mod group;
pub(crate) mod invitation;
pub(crate) mod preset;
mod requests;
pub(crate) mod share;

pub use account::{Account, AccountRole, Email};
pub use device::{Device, SLOTS, claim_hash};
pub use error::{Nature, Refusal, Rule};
pub use group::{Group, LookupKey, language};
pub use invitation::{Code, Invitation, LAPSES_AFTER, Stage, TRIES};
pub use preset::{Preset, operations, shareable};
pub use requests::{Actor, NewRegistration, NewShare, To};
pub use share::{DeviceWord, End, Recipient, ShareRecord, Status, has_slot};
