//! The repository itself: structure of the source, documents, coverage.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    unreachable_pub,
    dead_code,
    reason = "this is a test"
)]

mod architecture;
mod command_line;
mod coverage;
mod names;
mod readme;
mod threats;
