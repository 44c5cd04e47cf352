//! What may be done: the decision. Pure: bytes, state and time come in, values go out.

mod code;
mod decide;
mod decision;
mod known;
mod memory;
mod replay;
mod time;

pub use code::{Code, Retry};
pub use decide::{Arrival, Situation, decide};
pub use decision::{Caller, Decision, Origin, Permit, Reason};
pub use known::{Installed, Known, MAX_SHARES};
pub use memory::{Mark, Memory};
pub use replay::{MAX_WINDOWS, Seen, Window, Windows};
pub use time::{Now, Reading, Timekeeper};

use std::collections::BTreeMap;

use crate::wire::{Class, Operation};

/// The operations that this device offers, by name.
pub type Offers = BTreeMap<Operation, Offer>;

/// What the gate needs to know of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// How much it can do.
    pub class: Class,
}
