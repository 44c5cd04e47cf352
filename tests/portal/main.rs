//! The HTTP API and the sharing stories of the three model products.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    unreachable_pub,
    dead_code,
    reason = "this is a test"
)]

#[path = "../sharing/accounts.rs"]
mod accounts;
mod api;
mod stories;
