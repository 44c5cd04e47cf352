//! Links: MQTT 5 with rumqttc, which nothing outside this room knows.

mod broker;
pub mod caller;
#[cfg(feature = "device")]
mod device;
mod session;
pub mod topics;

pub use broker::BrokerUrl;
#[cfg(feature = "device")]
pub use device::{Link, LinkConfig, LinkEvent, connect};
