//! The device as a state machine without I/O: inputs and clock readings go in, a batch to make
//! durable and actions come out. The [`daemon`](crate::daemon) carries them out.

mod batch;
mod denials;
mod execution;
mod io;
mod journal;
mod machine;
mod notifications;
mod rate_limit;
mod receipts;
mod recovery;
mod share_operations;
mod status;
mod timers;

pub use batch::Batch;
pub use io::{Action, Delivery, Effects, Input, LinkId, OperationResult, ReplyTopic};
pub use machine::Core;
pub use recovery::{CoreConfig, RecoveredState};
pub use status::DeviceStatus;
