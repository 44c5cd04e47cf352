//! What survives a power cut. The event log is the truth; sled is a cache of statements that
//! may break at any time; the identity is three small files.

#[cfg(feature = "device")]
mod cache;
#[cfg(feature = "device")]
mod directory;
#[cfg(feature = "device")]
mod identity;
mod log;
#[cfg(feature = "device")]
mod pinned;
pub mod record;
#[cfg(test)]
mod sample;
mod scan;
#[cfg(feature = "device")]
mod tail;
pub mod words;

#[cfg(feature = "device")]
pub use cache::Cache;
#[cfg(feature = "device")]
pub use directory::{Batch, Opened, Store, forget, trim_log};
#[cfg(feature = "device")]
pub use identity::{CREDENTIAL, Identity, issuers_in};
pub use log::{Log, LogWrite};
#[cfg(feature = "device")]
pub use pinned::Pinned;
pub use scan::{Damage, Differs, Found, read_log};
#[cfg(feature = "device")]
pub use tail::{Piece, Tail};
