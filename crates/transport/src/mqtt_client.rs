//! An MQTT client for short connections of command-line tools and services.

use std::time::Duration;

use rumqttc::{AsyncClient, Event, Packet, PublishOptions, QoS};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::connection_error::describe;
use crate::{Broker, BrokerUrl, TrustedTime};

/// Timeout for every response of the broker.
const TIMEOUT: Duration = Duration::from_secs(10);

const NO_RESPONSE: &str = "no response (timeout)";

/// A connection error of a broker.
#[derive(Debug)]
pub struct MqttError {
    broker: BrokerUrl,
    why: String,
}

impl std::fmt::Display for MqttError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "the broker at {} cannot be used: {}",
            self.broker, self.why
        )
    }
}

impl std::error::Error for MqttError {}

/// A connection to a broker.
pub struct MqttClient {
    broker: BrokerUrl,
    client: AsyncClient,
    messages: mpsc::Receiver<Result<(String, Vec<u8>), String>>,
    polling: tokio::task::JoinHandle<()>,
}

impl MqttClient {
    /// Connects with a random client id.
    ///
    /// # Errors
    /// If the broker cannot be reached or refuses.
    pub async fn connect(broker: &Broker) -> Result<Self, MqttError> {
        let failed = |why| MqttError {
            broker: broker.url.clone(),
            why,
        };
        broker.check().map_err(failed)?;
        let random = getrandom::u64().map_err(|error| failed(error.to_string()))?;
        let client_id = format!("doorkey-{random:016x}");
        let mut options = broker.options(client_id, &TrustedTime::default());
        broker
            .log_in(&mut options)
            .map_err(|error| failed(describe(&error)))?;
        options.set_clean_start(true);
        let (client, mut eventloop) = AsyncClient::builder(options).capacity(64).build();
        let (sender, mut messages) = mpsc::channel(256);
        let polling = tokio::spawn(async move {
            loop {
                let message = match eventloop.poll().await {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => Ok((String::new(), Vec::new())),
                    Ok(Event::Incoming(Packet::Publish(publish))) => Ok((
                        String::from_utf8_lossy(&publish.topic).into_owned(),
                        publish.payload.to_vec(),
                    )),
                    Ok(_) => continue,
                    Err(error) => Err(describe(&error)),
                };
                let ended = message.is_err();
                if sender.send(message).await.is_err() || ended {
                    return;
                }
            }
        });
        // The first message stands for the broker's CONNACK.
        let first = timeout(TIMEOUT, messages.recv()).await;
        let connected = Self {
            broker: broker.url.clone(),
            client,
            messages,
            polling,
        };
        match first {
            Ok(Some(Ok(_))) => Ok(connected),
            Ok(Some(Err(why))) => Err(connected.error(why)),
            Ok(None) | Err(_) => Err(connected.error(NO_RESPONSE.to_owned())),
        }
    }

    /// Subscribes, and waits for the broker's acknowledgement.
    ///
    /// # Errors
    /// If the broker is lost or refuses.
    pub async fn subscribe(&self, filters: Vec<String>) -> Result<(), MqttError> {
        let filters = filters
            .into_iter()
            .map(|path| rumqttc::SubscribeFilterInput::new(path, QoS::AtLeastOnce));
        let granted = async {
            let notice = self.client.subscribe_many_tracked(filters).await;
            match notice {
                Ok(notice) => notice
                    .wait_completion_async()
                    .await
                    .map_err(|e| e.to_string()),
                Err(error) => Err(error.to_string()),
            }
        };
        self.with_timeout(granted).await
    }

    /// Publishes with QoS 1, and waits for the broker's acknowledgement.
    ///
    /// # Errors
    /// If the broker is lost or refuses.
    pub async fn publish(
        &self,
        topic: String,
        payload: Vec<u8>,
        retain: bool,
    ) -> Result<(), MqttError> {
        let options = PublishOptions::new(QoS::AtLeastOnce).retain(retain);
        let acknowledged = async {
            match self.client.publish_tracked(topic, payload, options).await {
                Ok(notice) => notice
                    .wait_completion_async()
                    .await
                    .map_err(|e| e.to_string()),
                Err(error) => Err(error.to_string()),
            }
        };
        self.with_timeout(acknowledged).await
    }

    /// Waits for the next message; `None` if none arrives in time.
    ///
    /// # Errors
    /// If the broker is lost.
    pub async fn next(&mut self, wait: Duration) -> Result<Option<(String, Vec<u8>)>, MqttError> {
        match timeout(wait, self.messages.recv()).await {
            Err(_) => Ok(None),
            Ok(Some(Ok(message))) => Ok(Some(message)),
            Ok(Some(Err(why))) => Err(self.error(why)),
            Ok(None) => Err(self.error("the connection has ended".to_owned())),
        }
    }

    async fn with_timeout(
        &self,
        operation: impl Future<Output = Result<(), String>>,
    ) -> Result<(), MqttError> {
        match timeout(TIMEOUT, operation).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(why)) => Err(self.error(why)),
            Err(_) => Err(self.error(NO_RESPONSE.to_owned())),
        }
    }

    fn error(&self, why: String) -> MqttError {
        MqttError {
            broker: self.broker.clone(),
            why,
        }
    }
}

impl Drop for MqttClient {
    fn drop(&mut self) {
        let _ = self.client.try_disconnect();
        self.polling.abort();
    }
}
