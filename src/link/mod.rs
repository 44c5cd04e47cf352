//! Links: MQTT 5 with rumqttc, which nothing outside this room knows.

mod broker;
#[cfg(feature = "issuer")]
pub mod caller;
#[cfg(feature = "device")]
mod device;
#[cfg(feature = "device")]
mod session;
pub mod topics;

pub use broker::BrokerUrl;
#[cfg(feature = "device")]
pub use device::{Link, LinkConfig, LinkEvent, connect};
