//! The protocol of doorward: the wire format, the access decision, and the event log's records.
//!
//! - [`wire`]: statements, commands and receipts as signed CBOR; see `docs/protocol.md`.
//! - [`gate`]: the decision. [`gate::decide()`] takes a command, the state and the time, and returns
//!   a permit, or the reason of the refusal.
//! - [`event_log`]: the records of the tamper-evident event log and their hash chain.
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
pub mod token_bucket;
pub mod wire;
