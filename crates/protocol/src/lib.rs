//! The protocol of doorward: what travels, what may be done, and what is recorded.
//!
//! - [`wire`]: statements, commands and receipts as signed CBOR; see `docs/protocol.md`.
//! - [`gate`]: the decision. [`gate::decide`] takes a command, the state and the time, and returns
//!   whether it is allowed, and if not, why not.
//! - [`event_log`]: the records of the tamper-evident event log and the chain that holds them
//!   together.
//!
//! The crate is pure and `no_std`: bytes, state and time go in, values come out. It reads no clock,
//! opens no file and uses no network, so that a vendor can put it into firmware of its own.
#![no_std]

extern crate alloc;
#[cfg(test)]
#[macro_use]
extern crate std;

pub mod event_log;
pub mod gate;
pub mod wire;
