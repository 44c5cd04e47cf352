//! What survives a power cut. The event log is the truth; sled is a cache of statements that
//! may break at any time; the identity is three small files.

#[cfg(feature = "device")]
mod cache;
#[cfg(feature = "device")]
mod directory;
#[cfg(feature = "device")]
mod identity;
#[cfg(feature = "device")]
mod log;
pub mod record;
mod scan;
pub mod words;

#[cfg(feature = "device")]
pub use cache::Cache;
#[cfg(feature = "device")]
pub use directory::{Batch, LogWrite, Opened, Store, trim_log};
#[cfg(feature = "device")]
pub use identity::Identity;
#[cfg(feature = "device")]
pub use log::Log;
pub use scan::{Damage, Differs, Found, read_log};
