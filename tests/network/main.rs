//! Link failures, certificates and broker rules.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    unreachable_pub,
    dead_code,
    reason = "this is a test"
)]

mod broker_rules;
mod impairments;
mod link_outages;
mod tls;
