//! What the programs beside this share: a device with shares, and how to time things.
#![allow(clippy::unwrap_used, missing_docs, reason = "these are benches")]

pub mod client;
#[cfg(feature = "peers")]
pub mod peers;
pub mod site;
pub mod timing;
pub mod world;
