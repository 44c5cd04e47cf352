//! A client of doorward devices: a key and its counter, sending a command and following it to its
//! signed receipt, large results, and collecting the event log.
//!
//! The library prints nothing, and does not depend on issuers, accounts or databases. Answers of a
//! device are accepted only with its signature; see `docs/protocol.md`.

mod error;
mod fetch_result;
mod holder_key;
mod log_collect;
mod receipt_stream;
mod send;

pub use error::ClientError;
pub use fetch_result::fetch_result;
pub use holder_key::{CommandRequest, HolderKey};
pub use log_collect::{Collected, LogCollector};
pub use send::{Progress, SendParams, Sent, code_of, send, verified};
