//! doorward: access control on the device itself, with the network cable out.
//!
//! The map of the house. Arrows run one way: `wire` <- `gate` <- `agent` -> `store`, `link`,
//! `operation`; `cli` above all.

#[cfg(feature = "device")]
pub mod agent;
pub mod cli;
pub mod clock;
#[cfg(feature = "device")]
pub mod config;
pub mod files;
pub mod gate;
#[cfg(feature = "issuer")]
pub mod issuer;
pub mod link;
#[cfg(feature = "device")]
pub mod operation;
#[cfg(feature = "issuer")]
pub mod service;
pub mod store;
pub mod wire;
