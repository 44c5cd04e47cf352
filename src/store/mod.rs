//! The state directory. The event log is authoritative; sled is a cache of statements that may be
//! damaged at any time; the identity is a few small files.

mod cache;
mod identity;
mod pinned;
mod state_dir;

pub use cache::Cache;
pub use identity::{CREDENTIAL, Identity, issuers_in};
pub use pinned::Pinned;
pub use state_dir::{Opened, Store, forget, trim_log};
