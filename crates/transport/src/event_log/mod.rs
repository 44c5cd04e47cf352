//! The event log on disk: written by the daemon or a collector, read by other programs.

mod reader;
mod tail;
#[cfg(test)]
mod test_support;
mod writer;

pub use reader::{Damage, Differs, Found, read_log};
pub use tail::{Chunk, Tail};
pub use writer::{Log, Opened, trim};
