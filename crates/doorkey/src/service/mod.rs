//! The use cases of the sharing side: register, share, accept, cancel, sign in, and take in what
//! devices report. Each file holds one; [`Platform`] is what they work on.

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
pub use revoke::FRESH_FOR;
pub use sessions::{SESSION_LASTS, sign_in_message};
pub use shares::CreatedShares;
