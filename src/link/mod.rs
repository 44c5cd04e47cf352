//! Links: MQTT 5 with rumqttc, which nothing outside this room knows.

mod broker;
pub mod caller;
#[cfg(feature = "device")]
pub mod certificate;
#[cfg(feature = "device")]
mod device;
#[cfg(feature = "local-listener")]
pub mod listener;
#[cfg(feature = "device")]
mod listener_config;
#[cfg(feature = "device")]
mod nagle;
mod reason;
#[cfg(feature = "device")]
mod session;
mod tls;
pub mod topics;
mod url;

pub use broker::{Broker, Tls};
pub use caller::{CallError, Caller};
#[cfg(feature = "device")]
pub use device::{Link, LinkConfig, LinkEvent, Publisher, connect};
#[cfg(feature = "device")]
pub use listener_config::ListenerConfig;
#[cfg(feature = "device")]
pub use nagle::held_back;
#[cfg(feature = "device")]
pub(crate) use tls::Connector;
pub use tls::TrustedTime;
pub use url::BrokerUrl;
