//! The words of devices on their way from the broker to the ledger.

use std::time::Duration;

use crate::broker::publish::BrokerSyncError;
use crate::domain::Device;
use crate::service::Platform;
use doorward_protocol::wire::topics;
use doorward_transport::Broker;
use doorward_transport::MqttClient;
use doorward_transport::clock;
use doorward_transport::clock::Stopwatch;

/// How long a broker may take until it has told what it keeps.
const PATIENCE: Duration = Duration::from_millis(500);

/// Takes a device's word, if a message is one. Whether it was believed.
///
/// # Errors
/// If the ledger cannot be used.
pub async fn apply_report(
    platform: &Platform,
    topic: &str,
    payload: &[u8],
) -> Result<bool, BrokerSyncError> {
    Ok(match topics::parse_device_topic(topic) {
        Some((device, true)) => {
            platform
                .hear_state(&device, payload, clock::system())
                .await?
        }
        Some((device, false)) => platform.hear_receipt(&device, payload).await?,
        None => false,
    })
}

/// Takes what the broker keeps of devices, for somebody whose issuer does not listen all the
/// time: whether they obey the newest lists decides who has a slot.
///
/// # Errors
/// If the ledger or the broker cannot be used.
pub async fn catch_up(
    platform: &Platform,
    broker: &Broker,
    devices: &[Device],
) -> Result<(), BrokerSyncError> {
    if devices.is_empty() {
        return Ok(());
    }
    let mut caller = MqttClient::connect(broker)
        .await
        .map_err(BrokerSyncError::Broker)?;
    let states = devices.iter().map(|device| topics::state(&device.id));
    caller
        .subscribe(states.collect())
        .await
        .map_err(BrokerSyncError::Broker)?;
    let watch = Stopwatch::start();
    let mut missing = devices.len();
    while missing > 0
        && let Some(left) = PATIENCE.checked_sub(watch.elapsed())
        && let Some((topic, payload)) = caller.next(left).await.map_err(BrokerSyncError::Broker)?
    {
        apply_report(platform, &topic, &payload).await?;
        missing -= 1;
    }
    Ok(())
}
