//! doorward: access control on the device itself, with the network cable out.
//!
//! The daemon, as a library for its program and its tests. `docs/architecture.md` describes the
//! modules; imports go one way: [`core`] <- [`operation`] <- [`daemon`] <- [`cli`].

pub mod cli;
pub mod config;
pub mod core;
pub mod daemon;
pub mod link;
pub mod operation;
pub mod store;
