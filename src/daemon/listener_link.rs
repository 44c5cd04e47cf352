//! The listener among the links of the device, and how it is.

use serde_json::Value;

use crate::config::Config;
use crate::core::{Delivery, LinkId, ReplyTopic};
use crate::daemon::inbox::Inbox;
use crate::daemon::links::Health;
use crate::link::listener::{CONNECTIONS, Listener, listen};
use doorward_protocol::wire::Id;
use doorward_protocol::wire::topics::OutboundTopic;
use doorward_transport::TrustedTime;

/// Messages of one client that wait for the core.
const WAITING: usize = 2;

pub(super) struct ListenerLink {
    listener: Listener,
    /// The number of its first client among the links.
    first: LinkId,
    health: Health,
}

impl ListenerLink {
    /// Starts it, if there is to be one.
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

    /// How it is, if this link is one of its clients.
    pub(super) fn health(&mut self, link: LinkId) -> Option<&mut Health> {
        (link >= self.first).then_some(&mut self.health)
    }

    pub(super) fn acknowledge(&self, delivery: Delivery) {
        if let Some(place) = delivery.link.0.checked_sub(self.first.0) {
            self.listener.acknowledge(place, delivery.number);
        }
    }

    pub(super) fn refuse(&self, delivery: Delivery) {
        if let Some(place) = delivery.link.0.checked_sub(self.first.0) {
            self.listener.refuse(place, delivery.number);
        }
    }

    pub(super) fn publish(&self, topic: &ReplyTopic, payload: &[u8]) {
        match topic {
            ReplyTopic::Receipts(holder, command) => {
                let told = OutboundTopic::Receipts(*holder);
                self.listener.publish(told, Some(*command), payload);
            }
            ReplyTopic::Results(holder, command) => {
                let told = OutboundTopic::Results(*holder);
                self.listener.publish(told, Some(*command), payload);
            }
            // Who is at the other end has not been asked.
            ReplyTopic::Notifications(_) | ReplyTopic::Confirmations => {}
            ReplyTopic::State => self.listener.publish(OutboundTopic::State, None, payload),
            ReplyTopic::Events => self.listener.publish(OutboundTopic::Events, None, payload),
        }
    }

    /// Ends all connections: what was not acknowledged will be sent again.
    pub(super) fn renew(&self) {
        self.listener.renew();
    }

    pub(super) fn json(&self, uptime: u64) -> Value {
        let connections = self.listener.connections();
        self.health.json(uptime, "connections", connections)
    }
}
