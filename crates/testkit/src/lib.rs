//! Fixtures that tests, benches and fuzz targets share: a platform with keys from fixed seeds (TEST
//! KEYS), a device in memory, and the programs as processes.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "this is test code"
)]

mod fixtures;
pub mod fuzz_device;
pub mod hostile_inputs;
pub mod large_device;
pub mod site;
pub mod syscall_trace;
pub mod tcp_relay;
pub mod test_ca;

pub use fixtures::*;

use std::path::PathBuf;

/// The root of the source tree.
pub fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .canonicalize()
        .unwrap()
}
