//! The HTTP API from outside: who may do what on every route, and what a fuzzer makes of it.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "this is a test"
)]

mod matrix;
mod office;
#[path = "../common/people.rs"]
#[allow(dead_code, unreachable_pub, reason = "not every test uses everything")]
mod people;
mod schemathesis;
