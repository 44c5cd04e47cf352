//! The device's links: connections to brokers, and the listener for MQTT clients.

mod broker_link;
pub mod certificate;
#[cfg(feature = "local-listener")]
pub mod listener;
mod listener_config;
mod session_store;

pub use broker_link::{Link, LinkConfig, LinkEvent, Publisher, connect};
pub use listener_config::ListenerConfig;
