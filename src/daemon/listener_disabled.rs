//! Stand-in for the listener in a build without the feature `local-listener`.

use serde_json::Value;

use crate::config::Config;
use crate::core::{Delivery, LinkId, ReplyTopic};
use crate::daemon::inbox::Inbox;
use crate::daemon::links::Health;
use doorward_protocol::wire::Id;
use doorward_transport::TrustedTime;

/// Never constructed.
pub(super) enum ListenerLink {}

impl ListenerLink {
    pub(super) fn start(
        _: &Config,
        _: &Id,
        _: &TrustedTime,
        _: &mut Inbox,
        _: LinkId,
        _: u64,
    ) -> Option<Self> {
        None
    }

    pub(super) fn health(&mut self, _: LinkId) -> Option<&mut Health> {
        match *self {}
    }

    pub(super) fn acknowledge(&self, _: Delivery) {
        match *self {}
    }

    pub(super) fn refuse(&self, _: Delivery) {
        match *self {}
    }

    pub(super) fn publish(&self, _: &ReplyTopic, _: &[u8]) {
        match *self {}
    }

    pub(super) fn reconnect(&self) {
        match *self {}
    }

    pub(super) fn json(&self, _: u64) -> Value {
        match *self {}
    }
}
