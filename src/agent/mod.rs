//! The device's loop: bundle -> gate -> journal -> operation -> receipt.
//!
//! [`Core`] is a state machine without I/O: inputs and clock readings go in, a batch to make
//! durable and actions come out. The [`run`] beside it carries them out.

mod answer;
mod background;
mod begin;
mod carry_out;
mod chores;
mod core;
mod course;
mod denials;
mod facts;
mod flood;
mod import;
mod inbox;
mod journal;
mod links;
#[cfg_attr(not(feature = "local-listener"), path = "not_listening.rs")]
mod listening;
mod local;
mod news;
mod runtime;
mod snapshot;
mod socket;
mod start;
mod status;
mod step;
mod supervisor;
mod underway;
mod upload;

pub use self::core::Core;
pub use begin::StartError;
pub use facts::Facts;
pub use import::IMPORT_SOCKET;
pub use runtime::run;
pub use socket::STATUS_SOCKET;
pub use start::{Found, Settings};
pub use step::{Action, Delivery, Effects, Ended, Input, LinkId, Topic};
pub use underway::Underway;
