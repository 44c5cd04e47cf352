//! The rules of sharing. No I/O and no clock: the time is an argument.

pub(crate) mod account;
pub(crate) mod device;
mod error;
pub(crate) mod group;
pub(crate) mod invitation;
pub(crate) mod preset;
mod requests;
pub(crate) mod share;

pub use account::{Account, AccountRole, Email};
pub use device::{Device, SLOTS, check_device, claim_hash};
pub use error::{ErrorClass, Refusal, RuleCode};
pub use group::{Group, LookupKey, supported_language};
pub use invitation::{
    INVITATION_LIFETIME, Invitation, InvitationState, InviteCode, MAX_CODE_TRIES,
};
pub use preset::{Preset, expand_permissions, shareable};
pub use requests::{Actor, NewRegistration, NewShare, ShareTarget};
pub use share::{DeviceReport, Recipient, ShareRecord, Status, Termination, check_slot_free};
