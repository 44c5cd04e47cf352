//! The daemon and doorkey with a real broker.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    unreachable_pub,
    dead_code,
    reason = "this is a test"
)]

mod collect;
mod demo;
mod earlier_store;
mod flood;
mod history;
mod interop;
mod key_rotation;
mod kills;
mod laptop_issuer;
mod large_results;
mod listener;
mod main_job;
mod provision;
