//! The device's core: the decision, the state machine, the simulation, power cuts, vectors.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    unreachable_pub,
    dead_code,
    reason = "this is a test"
)]

mod allocation;
mod capacity;
mod confirmations;
mod decision;
mod delete;
mod execution;
mod groups;
mod input;
mod lazy_verification;
mod limits;
mod log;
mod machine;
mod model;
mod notifications;
mod powercut;
mod public_vectors;
mod rotation;
mod shares;
mod simulation;
mod slots;
mod statement_replacement;
mod vectors;
