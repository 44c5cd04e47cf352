//! Feeds signed device reports from the broker into the database.

use std::time::Duration;

use crate::broker::publish::BrokerSyncError;
use crate::domain::Device;
use crate::service::Platform;
use doorward_protocol::wire::topics;
use doorward_transport::Broker;
use doorward_transport::MqttClient;
use doorward_transport::clock;
use doorward_transport::clock::Stopwatch;

/// How long the broker may take to deliver retained messages.
const RETAINED_TIMEOUT: Duration = Duration::from_millis(500);

/// Processes a message that may be a device's `state` or receipt. Returns whether it is a valid
/// report.
///
/// # Errors
/// If the database cannot be used.
pub async fn apply_report(
    platform: &Platform,
    topic: &str,
    payload: &[u8],
) -> Result<bool, BrokerSyncError> {
    Ok(match topics::parse_device_topic(topic) {
        Some((device, true)) => {
            platform
                .apply_state(&device, payload, clock::system())
                .await?
        }
        Some((device, false)) => platform.apply_receipt(&device, payload).await?,
        None => false,
    })
}

/// Reads the retained `state` of devices from the broker, for command-line use without the service.
/// Whether devices have applied the newest revocation lists decides how many users they have.
///
/// # Errors
/// If the database or the broker cannot be used.
pub async fn read_retained_states(
    platform: &Platform,
    broker: &Broker,
    devices: &[Device],
) -> Result<(), BrokerSyncError> {
    if devices.is_empty() {
        return Ok(());
    }
    let mut client = MqttClient::connect(broker)
        .await
        .map_err(BrokerSyncError::Broker)?;
    let states = devices.iter().map(|device| topics::state(&device.id));
    client
        .subscribe(states.collect())
        .await
        .map_err(BrokerSyncError::Broker)?;
    let watch = Stopwatch::start();
    let mut missing = devices.len();
    while missing > 0
        && let Some(left) = RETAINED_TIMEOUT.checked_sub(watch.elapsed())
        && let Some((topic, payload)) = client.next(left).await.map_err(BrokerSyncError::Broker)?
    {
        apply_report(platform, &topic, &payload).await?;
        missing -= 1;
    }
    Ok(())
}
