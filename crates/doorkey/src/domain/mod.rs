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
pub use error::{ErrorClass, Refusal, RuleCode};
pub use group::{Group, LookupKey, language};
pub use invitation::{Invitation, InvitationState, InviteCode, LAPSES_AFTER, TRIES};
pub use preset::{Preset, operations, shareable};
pub use requests::{Actor, NewRegistration, NewShare, ShareTarget};
pub use share::{DeviceReport, Recipient, ShareRecord, Status, Termination, has_slot};
