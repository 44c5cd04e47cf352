//! The links of the device, and how each of them is.

use serde_json::{Value, json};

use super::inbox::Inbox;
use super::upload::Upload;
use crate::config::Config;
use crate::gate::Origin;
use crate::link::{Link, LinkConfig, TrustedTime, connect, topics};
use crate::wire::Id;

/// A link, and how it is.
pub(super) struct LinkState {
    pub(super) origin: Origin,
    pub(super) link: Link,
    /// Why it is not connected, and the uptime of the next attempt; nothing if it is.
    pub(super) down: Option<(String, u64)>,
    /// The uptime since which it is up or down.
    pub(super) since: u64,
    /// How often it was lost or refused.
    pub(super) losses: u64,
}

impl LinkState {
    pub(super) fn is_up(&mut self, uptime: u64) {
        if self.down.take().is_some() {
            self.since = uptime;
        }
    }

    pub(super) fn is_down(&mut self, why: String, again: u64, uptime: u64) {
        if self.down.is_none() {
            self.since = uptime;
        }
        self.losses += 1;
        self.down = Some((why, uptime + again));
    }

    pub(super) fn json(&self, uptime: u64) -> Value {
        let again = self.down.as_ref();
        json!({
            "up": self.down.is_none(),
            "for_s": uptime.saturating_sub(self.since),
            "why": self.down.as_ref().map(|(why, _)| why),
            "next_try_s": again.map(|(_, at)| at.saturating_sub(uptime)),
            "losses": self.losses,
            "waiting": self.link.waiting(),
        })
    }
}

/// Starts them.
pub(super) fn links(
    config: &Config,
    device: &Id,
    site: Option<&Id>,
    time: &TrustedTime,
    inbox: &mut Inbox,
    uptime: u64,
) -> Vec<LinkState> {
    let sections = [
        (Origin::Cloud, &config.links.cloud),
        (Origin::Local, &config.links.local),
    ];
    sections
        .into_iter()
        .filter_map(|(origin, section)| Some((origin, section.as_ref()?)))
        .map(|(origin, section)| {
            let config = LinkConfig {
                broker: section.broker(),
                device: device.clone(),
                name: origin.name(),
                site: site.cloned(),
                time: time.clone(),
            };
            LinkState {
                origin,
                link: connect(config, inbox.add()),
                down: Some(("not connected yet".to_owned(), uptime)),
                since: uptime,
                losses: 0,
            }
        })
        .collect()
}

/// Records go to the cloud; on a site without one, to its own broker.
pub(super) fn upload(config: &Config, device: &Id, links: &[LinkState]) -> Option<Upload> {
    let cloud = links.iter().find(|state| state.origin == Origin::Cloud);
    let publisher = cloud.or(links.first())?.link.publisher();
    let log = config.state.join("log");
    Some(Upload::start(&log, publisher, topics::records(device)))
}
