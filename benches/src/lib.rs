//! Shared code of the benchmark programs: devices, clients and timing.
#![allow(clippy::unwrap_used, missing_docs, reason = "these are benches")]

pub mod client;
#[cfg(feature = "peers")]
pub mod peers;
pub mod site;
pub mod timing;
