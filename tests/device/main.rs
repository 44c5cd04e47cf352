//! The device's core under every rule: real statements, a disk in memory, injected time.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "this is a test"
)]

#[path = "../common/mod.rs"]
mod common;

mod agent;
mod caps;
mod confirm;
mod course;
mod decision;
mod delete;
mod groups;
mod input;
mod kept;
mod limits;
mod log;
mod merging;
mod model;
mod news;
mod rotation;
mod shares;
mod slots;
