//! Publishes statements from the outbox to the broker, which retains them for devices.

use crate::IssuerError;
use crate::service::Platform;
use doorward_protocol::wire::Timestamp;
use doorward_protocol::wire::topics;
use doorward_terminal::CliError;
use doorward_transport::{MqttClient, MqttError};

/// Number of statements claimed at once.
const BATCH: u64 = 32;

/// Why the database and the broker could not be synchronized.
#[derive(Debug)]
pub enum BrokerSyncError {
    /// The database failed, or a rule forbids it.
    Issuer(IssuerError),
    /// The broker cannot be reached.
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

impl From<BrokerSyncError> for CliError {
    fn from(error: BrokerSyncError) -> Self {
        match error {
            BrokerSyncError::Issuer(error) => error.into(),
            BrokerSyncError::Broker(error) => error.into(),
        }
    }
}

/// Publishes all statements that are due. Returns their number.
///
/// # Errors
/// If the database or the broker cannot be used. Statements that were not sent are published the
/// next time.
pub async fn send_all(
    platform: &Platform,
    client: &MqttClient,
    now: impl Fn() -> Timestamp,
) -> Result<usize, BrokerSyncError> {
    let mut sent = 0;
    loop {
        let batch = platform.ledger().claim_outgoing(BATCH, now()).await?;
        if batch.is_empty() {
            return Ok(sent);
        }
        for (index, outgoing) in batch.iter().enumerate() {
            let id = &outgoing.id;
            let name = (!id.name.is_empty()).then_some(&*id.name);
            let topic = topics::statement(&id.audience, id.kind, name);
            if let Err(error) = client.publish(topic, outgoing.bytes.clone(), true).await {
                for unsent in batch.iter().skip(index) {
                    platform.ledger().release_claim(unsent).await?;
                }
                return Err(BrokerSyncError::Broker(error));
            }
            platform.ledger().mark_published(outgoing, now()).await?;
            sent += 1;
        }
    }
}
