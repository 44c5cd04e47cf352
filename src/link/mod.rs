//! The device's links: connections to brokers, and the listener for MQTT clients.

mod broker_link;
pub mod certificate;
#[cfg(feature = "local-listener")]
pub mod listener;
mod listener_config;
mod publisher;
mod session_store;

pub use broker_link::{Link, LinkConfig, LinkEvent, connect};
pub use listener_config::ListenerConfig;
pub use publisher::Publisher;
