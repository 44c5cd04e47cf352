//! The gate: the access decision and its state. Pure: bytes, state and time go in, values come out.

use alloc::vec::Vec;

mod authorization;
mod cached_share;
mod code;
mod decide;
mod decision;
mod decommission;
mod install;
mod install_share;
mod recheck;
mod replay;
mod replay_state;
mod slots;
mod statements;
mod time;

pub use code::{Code, Retry};
pub use decide::{DeviceContext, InboundCommand, MAX_PENDING, decide};
pub use decision::{Caller, Decision, Denial, DryRun, Origin, Permit};
pub use install::{Installed, MAX_RELEASES};
pub use install_share::{MAX_ROSTERS, MAX_SHARES};
pub use recheck::{may_receive_notifications, reauthorize};
pub use replay::{MAX_INSTANCES, MAX_WINDOWS, Seen, Window, Windows};
pub use replay_state::{
    DurableState, MAX_REBOOTS, REBOOTS, RebootLimit, SeqMark, TimeProof, UsageAccounting,
};
pub use slots::{SlotCache, Slots};
pub use statements::StatementStore;
pub use time::{ClockReading, Now, TrustedClock};

use alloc::collections::BTreeMap;

use crate::wire::{ArgLimit, Class, Id, Operation, Text};

/// The operations that this device offers, by name.
pub type Offers = BTreeMap<Operation, Offer>;

/// The properties of an operation that the decision depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Its class.
    pub class: Class,
    /// The arguments that it takes; others are refused.
    pub args: BTreeMap<Text, Argument>,
    /// Names of the interlocks that block it.
    pub interlocks: Vec<Id>,
}

impl Offer {
    /// An operation of this class without arguments and interlocks.
    #[must_use]
    pub fn plain(class: Class) -> Self {
        Self {
            class,
            args: BTreeMap::new(),
            interlocks: Vec::new(),
        }
    }
}

/// One argument of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// Whether it must be given.
    pub required: bool,
    /// The accepted values.
    pub limit: ArgLimit,
}
