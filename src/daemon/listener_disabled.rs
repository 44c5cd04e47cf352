//! What stands for the listener in a build without it: nothing.

use serde_json::Value;

use crate::config::Config;
use crate::core::{Delivery, LinkId, Topic};
use crate::daemon::inbox::Inbox;
use crate::daemon::links::Health;
use doorward_protocol::wire::Id;
use doorward_transport::TrustedTime;

/// There is none.
pub(super) enum Listening {}

impl Listening {
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

    pub(super) fn publish(&self, _: &Topic, _: &[u8]) {
        match *self {}
    }

    pub(super) fn renew(&self) {
        match *self {}
    }

    pub(super) fn json(&self, _: u64) -> Value {
        match *self {}
    }
}
