//! doorward: access control on the device itself.
//!
//! The map of the house. Arrows run one way: `wire` <- `gate` <- `agent` -> `store`, `link`,
//! `operation`; `cli` above all.

pub mod gate;
#[cfg(feature = "device")]
pub mod store;
pub mod wire;
