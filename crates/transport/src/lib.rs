//! Operating system and network access of the doorward programs: MQTT and TLS, atomic files,
//! clocks, and the event log on disk.

mod broker;
mod broker_url;
pub mod clock;
pub mod connection_error;
pub mod csv;
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

/// Returns random bytes from the kernel.
///
/// # Errors
/// If the kernel provides none.
pub fn random<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}
