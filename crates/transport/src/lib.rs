//! What the programs of doorward share of the operating system and the network: MQTT and TLS,
//! files that are replaced whole, clocks, and the event log on disk.

mod broker;
mod broker_url;
pub mod clock;
pub mod connection_error;
pub mod event_log;
pub mod files;
mod mqtt_client;
mod nagle;
pub mod tls;

pub use broker::{Broker, Tls};
pub use broker_url::BrokerUrl;
pub use mqtt_client::{MqttClient, MqttError};
pub use nagle::acknowledgement_delay;
pub use tls::{Connector, TrustedTime};

/// Random bytes from the kernel.
///
/// # Errors
/// If the kernel has none.
pub fn random<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}
