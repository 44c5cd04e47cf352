//! The device's loop: bundle -> gate -> journal -> operation -> receipt.
//!
//! [`Core`] is a state machine without I/O: inputs and clock readings go in, a batch to make
//! durable and actions come out. The [`run`] beside it carries them out.

mod core;
mod journal;
mod runtime;
mod start;

pub use self::core::{Action, Core, Delivery, Effects, Ended, Facts, Input, LinkId, Topic};
pub use runtime::{Running, run};
pub use start::{Found, Settings};
