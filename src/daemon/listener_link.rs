//! The listener as one of the device's links, and its status.

use serde_json::Value;

use crate::config::Config;
use crate::core::{Delivery, LinkId, ReplyTopic};
use crate::daemon::inbox::Inbox;
use crate::daemon::links::Health;
use crate::link::listener::{CONNECTIONS, Listener, listen};
use doorward_protocol::wire::Id;
use doorward_protocol::wire::topics::OutboundTopic;
use doorward_transport::TrustedTime;

/// Messages of one client that can wait for the core.
const WAITING: usize = 2;

pub(super) struct ListenerLink {
    listener: Listener,
    /// The link number of its first client.
    first: LinkId,
    health: Health,
}

impl ListenerLink {
    /// Starts the listener, if one is configured.
    pub(super) fn start(
        config: &Config,
        device: &Id,
        time: &TrustedTime,
        inbox: &mut Inbox,
        first: LinkId,
        uptime: u64,
    ) -> Option<Self> {
        let config = config.links.listener.clone()?;
        let events = (0..CONNECTIONS).map(|_| inbox.add(WAITING)).collect();
        Some(Self {
            listener: listen(config, device.clone(), time.clone(), events),
            first,
            health: Health::new(uptime),
        })
    }

    /// Its health, if this link is one of its clients.
    pub(super) fn health(&mut self, link: LinkId) -> Option<&mut Health> {
        (link >= self.first).then_some(&mut self.health)
    }

    pub(super) fn acknowledge(&self, delivery: Delivery) {
        if let Some(slot) = delivery.link.0.checked_sub(self.first.0) {
            self.listener.acknowledge(slot, delivery.number);
        }
    }

    pub(super) fn refuse(&self, delivery: Delivery) {
        if let Some(slot) = delivery.link.0.checked_sub(self.first.0) {
            self.listener.refuse(slot, delivery.number);
        }
    }

    pub(super) fn publish(&self, topic: &ReplyTopic, payload: &[u8]) {
        match topic {
            ReplyTopic::Receipts(holder, command) => {
                let topic = OutboundTopic::Receipts(*holder);
                self.listener.publish(topic, Some(*command), payload);
            }
            ReplyTopic::Results(holder, command) => {
                let topic = OutboundTopic::Results(*holder);
                self.listener.publish(topic, Some(*command), payload);
            }
            // Clients are not authenticated, so they get no messages about other users.
            ReplyTopic::Notifications(_) | ReplyTopic::Confirmations => {}
            ReplyTopic::State => self.listener.publish(OutboundTopic::State, None, payload),
            ReplyTopic::Events => self.listener.publish(OutboundTopic::Events, None, payload),
        }
    }

    /// Closes all connections; clients send messages that were not acknowledged again.
    pub(super) fn reconnect(&self) {
        self.listener.reconnect();
    }

    pub(super) fn json(&self, uptime: u64) -> Value {
        let connections = self.listener.connections();
        self.health.json(uptime, "connections", connections)
    }
}
