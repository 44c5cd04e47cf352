//! Waiting for a device's receipts across reconnections: if the broker runs on the device itself, a
//! reboot stops it too.

use std::time::Duration;

use crate::ClientError;
use crate::send::{Progress, SendParams, verified};
use doorward_protocol::wire::topics;
use doorward_protocol::wire::{Chunk, Hash, Kind, Outcome, Receipt, State};
use doorward_transport::clock::Stopwatch;
use doorward_transport::{MqttClient, MqttError};

/// Maximum number of chunks of a large result for one command.
const MAX_CHUNKS: usize = 256;
/// Timeout for the device's retained `state`.
const STATE_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause between two attempts to connect again.
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);

/// A connection to the device's broker with subscriptions to the device's answers to one key.
pub(super) struct ReceiptStream<'a> {
    params: &'a SendParams<'a>,
    client: MqttClient,
    receipts: String,
    results: String,
    /// Chunks of a large result, in order of arrival.
    pub(super) chunks: Vec<Chunk>,
}

impl<'a> ReceiptStream<'a> {
    pub(super) async fn open(params: &'a SendParams<'a>) -> Result<Self, ClientError> {
        let (device, key) = (&params.command.device, params.holder.public());
        Ok(Self {
            params,
            client: connect(params).await?,
            receipts: topics::receipts(device, &key),
            results: topics::results(device, &key),
            chunks: Vec::new(),
        })
    }

    /// The device's retained `state`, verified.
    pub(super) async fn state(&mut self) -> Result<State, ClientError> {
        let (params, device) = (self.params, &self.params.command.device);
        let Some(payload) = self.next_on(&topics::state(device), STATE_TIMEOUT).await? else {
            return Err(ClientError::NoState {
                device: device.clone(),
                broker: params.broker.to_string(),
            });
        };
        verified::<State>(&payload, Kind::State, params.device_key)
            .filter(|state| state.iss == *device)
            .ok_or_else(|| ClientError::ForeignState(device.clone()))
    }

    async fn next_on(
        &mut self,
        topic: &str,
        wait: Duration,
    ) -> Result<Option<Vec<u8>>, ClientError> {
        let watch = Stopwatch::start();
        while let Some(left) = wait.checked_sub(watch.elapsed()) {
            match self.client.next(left).await? {
                Some((on, payload)) if on == topic => return Ok(Some(payload)),
                Some(_) => {}
                None => break,
            }
        }
        Ok(None)
    }

    /// Sends a bundle that ends with a command and waits for the final receipt. After a lost
    /// connection the same bytes are sent again: the device never runs a command twice, and answers
    /// the copy with the same receipt.
    pub(super) async fn send(
        &mut self,
        bundle: &[u8],
        command: Hash,
    ) -> Result<Option<Receipt>, ClientError> {
        let params = self.params;
        publish(&self.client, params, bundle).await?;
        let mut watch = Stopwatch::start();
        let mut last = None;
        while let Some(left) = params.wait.checked_sub(watch.elapsed()) {
            let (topic, payload) = match self.client.next(left).await {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(error) => {
                    self.reconnect(left, bundle, &error).await?;
                    continue;
                }
            };
            if topic == self.results && self.chunks.len() < MAX_CHUNKS {
                self.chunks.extend(Chunk::parse(&payload).ok());
            }
            if topic != self.receipts {
                continue;
            }
            let receipt = verified::<Receipt>(&payload, Kind::Receipt, params.device_key);
            // Skip forged messages and receipts for other commands.
            if let Some(receipt) = receipt
                && receipt.body.command == command
                && receipt.iss == params.command.device
            {
                if receipt.body.outcome != Outcome::Executing {
                    return Ok(Some(receipt));
                }
                (params.progress)(Progress::Executing(&receipt));
                (last, watch) = (Some(receipt), Stopwatch::start());
            }
        }
        Ok(last)
    }

    /// Connects again within `left`, and sends the bundle again.
    async fn reconnect(
        &mut self,
        left: Duration,
        bundle: &[u8],
        lost: &MqttError,
    ) -> Result<(), ClientError> {
        (self.params.progress)(Progress::ConnectionLost(lost));
        let watch = Stopwatch::start();
        loop {
            tokio::time::sleep(RECONNECT_PAUSE).await;
            let result = match connect(self.params).await {
                Ok(client) => {
                    let sent = publish(&client, self.params, bundle).await;
                    sent.map(|()| self.client = client)
                }
                Err(error) => Err(error),
            };
            match result {
                Err(_) if watch.elapsed() < left => {}
                result => return result,
            }
        }
    }
}

async fn connect(params: &SendParams<'_>) -> Result<MqttClient, ClientError> {
    let client = MqttClient::connect(params.broker).await?;
    let (device, key) = (&params.command.device, params.holder.public());
    let mut filters = vec![topics::receipts(device, &key), topics::state(device)];
    filters.extend(params.results.then(|| topics::results(device, &key)));
    client.subscribe(filters).await?;
    Ok(client)
}

async fn publish(
    client: &MqttClient,
    params: &SendParams<'_>,
    bundle: &[u8],
) -> Result<(), ClientError> {
    let topic = topics::command(&params.command.device);
    Ok(client.publish(topic, bundle.to_vec(), false).await?)
}
