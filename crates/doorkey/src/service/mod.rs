//! The use cases: register, share, accept, cancel, sign in, process device reports. Each file holds
//! one; all are methods of [`Platform`].

mod accept_invitation;
mod access_review;
mod accounts;
pub mod alerts;
mod device_reports;
mod groups;
mod key_rotation;
mod platform;
mod registration;
mod releases;
mod revoke;
mod sessions;
mod shares;

pub use accept_invitation::{Acceptance, Passes, accept_message};
pub use access_review::{Access, PAGE, UNUSED_AFTER};
pub use groups::{Decision, NewGroup};
pub use platform::{Platform, ShareListing};
pub use registration::Claim;
pub use releases::NewRelease;
pub use revoke::LIST_REFRESH_INTERVAL;
pub use sessions::{SESSION_LIFETIME, sign_in_message};
pub use shares::CreatedShares;
