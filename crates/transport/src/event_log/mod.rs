//! The event log on disk: appended to by the daemon or by a collector, read by everybody else.

mod reader;
mod tail;
#[cfg(test)]
mod test_support;
mod writer;

pub use reader::{Damage, Differs, Found, read_log};
pub use tail::{Chunk, Tail};
pub use writer::{Log, Opened, trim};
