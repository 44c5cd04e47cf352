//! Statements on their way from the ledger to the broker, which keeps them for devices.

use crate::IssuerError;
use crate::service::Platform;
use doorward_protocol::wire::Timestamp;
use doorward_protocol::wire::topics;
use doorward_transport::{MqttClient, MqttError};

/// Statements that are taken from the ledger at once.
const BATCH: u64 = 32;

/// Why statements could not be sent.
#[derive(Debug)]
pub enum BrokerSyncError {
    /// The ledger.
    Issuer(IssuerError),
    /// The broker.
    Broker(MqttError),
}

impl From<IssuerError> for BrokerSyncError {
    fn from(error: IssuerError) -> Self {
        Self::Issuer(error)
    }
}

impl std::fmt::Display for BrokerSyncError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Issuer(error) => error.fmt(f),
            Self::Broker(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for BrokerSyncError {}

/// Sends everything that has to go out. How many statements that was.
///
/// # Errors
/// If the ledger or the broker cannot be used. What was not sent goes out the next time.
pub async fn send_all(
    platform: &Platform,
    caller: &MqttClient,
    now: impl Fn() -> Timestamp,
) -> Result<usize, BrokerSyncError> {
    let mut sent = 0;
    loop {
        let batch = platform.ledger().outgoing(BATCH, now()).await?;
        if batch.is_empty() {
            return Ok(sent);
        }
        for (at, outgoing) in batch.iter().enumerate() {
            let topic = &outgoing.topic;
            let name = (!topic.name.is_empty()).then_some(&*topic.name);
            let path = topics::statement(&topic.audience, topic.kind, name);
            if let Err(error) = caller.publish(path, outgoing.bytes.clone(), true).await {
                for left in batch.iter().skip(at) {
                    platform.ledger().release_claim(left).await?;
                }
                return Err(BrokerSyncError::Broker(error));
            }
            platform.ledger().published(outgoing, now()).await?;
            sent += 1;
        }
    }
}
