//! Publishing over a link without its queue.

use rumqttc::{AsyncClient, PublishOptions, QoS};

/// Publishes messages and waits for the broker's acknowledgement, across lost connections.
#[derive(Clone)]
pub struct Publisher(pub(super) AsyncClient);

impl Publisher {
    /// Publishes a message; returns when the broker has acknowledged or refused it.
    pub async fn publish(&self, topic: &str, payload: Vec<u8>, retain: bool) {
        let options = PublishOptions::new(QoS::AtLeastOnce).retain(retain);
        loop {
            let published = self
                .0
                .publish_tracked(topic, payload.clone(), options.clone())
                .await;
            let Ok(notice) = published else { return };
            match notice.wait_completion_async().await {
                Ok(()) => return,
                // The message was lost with its session, so it is sent again.
                Err(rumqttc::PublishNoticeError::SessionReset) => {}
                Err(error) => {
                    tracing::warn!(%topic, %error, "the broker refused a message");
                    return;
                }
            }
        }
    }
}
