//! The links of the device and their health.

use serde_json::{Value, json};

use crate::config::Config;
use crate::core::{Delivery, LinkId, ReplyTopic};
use crate::daemon::inbox::{Inbox, WAITING};
use crate::daemon::listener_link::ListenerLink;
use crate::daemon::log_upload::LogUpload;
use crate::link::{Link, LinkConfig, connect};
use doorward_protocol::gate::Origin;
use doorward_protocol::wire::Id;
use doorward_protocol::wire::topics;
use doorward_transport::TrustedTime;

/// The health of a link.
pub(super) struct Health {
    /// Reason why it is down, and the uptime of the next attempt; `None` if it is up.
    down: Option<(String, u64)>,
    /// Uptime at which it went up or down.
    since: u64,
    /// Number of lost and refused connections.
    losses: u64,
}

impl Health {
    /// The health of a link that was just started.
    pub(super) fn new(uptime: u64) -> Self {
        Self {
            down: Some(("not connected yet".to_owned(), uptime)),
            since: uptime,
            losses: 0,
        }
    }

    pub(super) fn mark_up(&mut self, uptime: u64) {
        if self.down.take().is_some() {
            self.since = uptime;
        }
    }

    pub(super) fn mark_down(&mut self, why: String, again: u64, uptime: u64) {
        if self.down.is_none() {
            self.since = uptime;
        }
        self.losses += 1;
        self.down = Some((why, uptime + again));
    }

    /// The health as shown by `doorward status`, with one more figure called `name`.
    pub(super) fn json(&self, uptime: u64, name: &str, count: usize) -> Value {
        let again = self.down.as_ref();
        json!({
            "up": self.down.is_none(),
            "for_s": uptime.saturating_sub(self.since),
            "why": self.down.as_ref().map(|(why, _)| why),
            "next_try_s": again.map(|(_, at)| at.saturating_sub(uptime)),
            "losses": self.losses,
            name: count,
        })
    }
}

/// A link to a broker and its health.
struct LinkState {
    origin: Origin,
    link: Link,
    health: Health,
}

/// All links, numbered in the order in which they were started.
pub(super) struct Links {
    brokers: Vec<LinkState>,
    listener: Option<ListenerLink>,
}

/// The link number of the listener's first client: after the brokers and the import socket.
pub(super) fn first_client(config: &Config) -> LinkId {
    let links = &config.links;
    LinkId(usize::from(links.cloud.is_some()) + usize::from(links.local.is_some()) + 1)
}

impl Links {
    /// Starts the links to brokers.
    pub(super) fn start(
        config: &Config,
        device: &Id,
        site: Option<&Id>,
        time: &TrustedTime,
        inbox: &mut Inbox,
        uptime: u64,
    ) -> Self {
        let sections = [
            (Origin::Cloud, &config.links.cloud),
            (Origin::Local, &config.links.local),
        ];
        let sections = sections
            .into_iter()
            .filter_map(|(origin, section)| Some((origin, section.as_ref()?)));
        let brokers = sections.map(|(origin, section)| {
            let config = LinkConfig {
                broker: section.broker(),
                device: device.clone(),
                name: origin.name(),
                site: site.cloned(),
                time: time.clone(),
            };
            LinkState {
                origin,
                link: connect(config, inbox.add(WAITING)),
                health: Health::new(uptime),
            }
        });
        Self {
            brokers: brokers.collect(),
            listener: None,
        }
    }

    /// The first link number after those of the brokers.
    pub(super) fn next(&self) -> LinkId {
        LinkId(self.brokers.len())
    }

    /// Starts the listener, if one is configured.
    pub(super) fn listen(
        &mut self,
        config: &Config,
        device: &Id,
        time: &TrustedTime,
        inbox: &mut Inbox,
        uptime: u64,
    ) {
        let first = first_client(config);
        self.listener = ListenerLink::start(config, device, time, inbox, first, uptime);
    }

    /// Starts the log upload to the cloud's broker; without a cloud link, to the local broker.
    pub(super) fn upload(&self, config: &Config, device: &Id) -> Option<LogUpload> {
        let mut brokers = self.brokers.iter();
        let cloud = brokers.find(|state| state.origin == Origin::Cloud);
        let publisher = cloud.or(self.brokers.first())?.link.publisher();
        let log = config.state.join("log");
        Some(LogUpload::start(&log, publisher, topics::records(device)))
    }

    pub(super) fn acknowledge(&self, delivery: Delivery) {
        if let Some(state) = self.brokers.get(delivery.link.0) {
            state.link.acknowledge(delivery.number);
        } else if let Some(listener) = &self.listener {
            listener.acknowledge(delivery);
        }
    }

    /// Rejects a message of a client of the listener.
    pub(super) fn refuse(&self, delivery: Delivery) {
        if let Some(listener) = &self.listener {
            listener.refuse(delivery);
        }
    }

    pub(super) fn publish(&self, device: &Id, topic: &ReplyTopic, payload: &[u8]) {
        let (name, retain) = match topic {
            ReplyTopic::Receipts(holder, _) => (topics::receipts(device, holder), false),
            ReplyTopic::Results(holder, _) => (topics::results(device, holder), false),
            ReplyTopic::Notifications(holder) => (topics::notices(device, holder), false),
            ReplyTopic::State => (topics::state(device), true),
            ReplyTopic::Confirmations => (topics::confirmations(device), false),
            ReplyTopic::Events => (topics::events(device), false),
        };
        for state in &self.brokers {
            state.link.publish(name.clone(), payload.to_vec(), retain);
        }
        if let Some(listener) = &self.listener {
            listener.publish(topic, payload);
        }
    }

    /// Subscribes to the statements of this site.
    pub(super) fn set_site(&self, site: Option<&Id>) {
        for state in &self.brokers {
            state.link.set_site(site.cloned());
        }
    }

    /// Requests all retained statements from the brokers again.
    pub(super) fn refresh(&self) {
        for state in &self.brokers {
            state.link.refresh();
        }
    }

    /// Reconnects all links, so that messages that were not acknowledged are delivered again.
    pub(super) fn reconnect(&self) {
        for state in &self.brokers {
            state.link.reconnect();
        }
        if let Some(listener) = &self.listener {
            listener.reconnect();
        }
    }

    pub(super) async fn close(self) {
        // Clients are disconnected while the broker links are closed.
        if let Some(listener) = &self.listener {
            listener.reconnect();
        }
        for state in self.brokers {
            state.link.close().await;
        }
    }

    /// The origin of all messages of this link.
    pub(super) fn origin(&self, link: LinkId) -> Origin {
        match self.brokers.get(link.0) {
            Some(state) => state.origin,
            None => Origin::Local,
        }
    }

    pub(super) fn health(&mut self, link: LinkId) -> Option<&mut Health> {
        match self.brokers.get_mut(link.0) {
            Some(state) => Some(&mut state.health),
            None => self.listener.as_mut()?.health(link),
        }
    }

    pub(super) fn name(&self, link: LinkId) -> &'static str {
        let state = self.brokers.get(link.0);
        state.map_or("listener", |state| state.origin.name())
    }

    /// The status of all links as shown by `doorward status`.
    pub(super) fn json(&self, uptime: u64) -> Value {
        let brokers = self.brokers.iter().map(|state| {
            let waiting = state.link.waiting();
            let json = state.health.json(uptime, "waiting", waiting);
            (state.origin.name().to_owned(), json)
        });
        let listener = self.listener.iter();
        let listener = listener.map(|it| ("listener".to_owned(), it.json(uptime)));
        Value::Object(brokers.chain(listener).collect())
    }
}
