//! A broker in the demo's process.

use std::net::SocketAddr;
use std::sync::mpsc;

use doorward_terminal::CliError;
use doorward_transport::{Broker, BrokerUrl};
use mqtt5::broker::config::{StorageBackend, StorageConfig};
use mqtt5::broker::{BrokerConfig, MqttBroker};

use crate::broken;

/// A broker on loopback, in a thread of its own.
pub(super) struct DemoBroker {
    pub(super) url: Broker,
    stop: tokio::sync::oneshot::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl DemoBroker {
    pub(super) fn start() -> Result<Self, CliError> {
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (sender, started) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let Ok(runtime) = runtime else { return };
            runtime.block_on(async move {
                let config = BrokerConfig {
                    bind_addresses: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
                    sys_topics_enabled: false,
                    storage_config: StorageConfig {
                        backend: StorageBackend::Memory,
                        ..StorageConfig::default()
                    },
                    ..BrokerConfig::default()
                };
                let mut broker = match MqttBroker::with_config(config).await {
                    Ok(broker) => broker,
                    Err(error) => return drop(sender.send(Err(error.to_string()))),
                };
                let address = broker.local_addr().ok_or_else(|| "no address".to_owned());
                if sender.send(address).is_err() {
                    return;
                }
                tokio::select! {
                    _ = stopped => {}
                    _ = broker.run() => {}
                }
            });
            // Dropping the runtime drops every connection, like an unplugged cable.
        });
        let address = started
            .recv()
            .map_err(|error| broken("the broker did not start", error))?
            .map_err(|error| broken("the broker did not start", error))?;
        let url: BrokerUrl = format!("mqtt://{address}")
            .parse()
            .map_err(|error| broken("the broker's address", error))?;
        let url = url.into();
        Ok(Self { url, stop, thread })
    }

    /// Stops the broker and closes every connection to it.
    pub(super) fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}
