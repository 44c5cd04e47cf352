//! Notifications to subscribers, as long as the share with which they subscribed would still allow
//! it.

use crate::core::io::{Action, Effects, ReplyTopic};
use crate::core::machine::{AfterLog, Core};
use doorward_protocol::gate::{Code, Now, may_receive_notifications};
use doorward_protocol::wire::{Map, Notice, NoticeBody, Text, Value, sign};

impl Core {
    /// Publishes an event to every subscriber who may receive it. It is not recorded in the log.
    pub(super) fn notify_subscribers(
        &mut self,
        event: &Map<Text, Value>,
        now: &Now,
        out: &mut Effects,
    ) {
        for (holder, share) in &self.journal.state.subscribers.clone() {
            let (statements, state) = (&self.statements, &self.journal.state);
            let slots = self.slot_cache.update(statements, state, now);
            if may_receive_notifications(holder, *share, statements, state, slots, now).is_err() {
                continue;
            }
            let notice = Notice {
                iss: self.statements.device().clone(),
                iat: now.estimate,
                body: NoticeBody {
                    format: 1,
                    share: *share,
                    values: event.clone(),
                },
            };
            let publish =
                Action::Publish(ReplyTopic::Notifications(*holder), sign(&notice, &self.key));
            self.after_log(AfterLog::Act(publish), out);
        }
    }

    /// Removes subscribers whose share has ended permanently, to free capacity for others.
    pub(super) fn prune_subscribers(&mut self, now: &Now) {
        let (statements, state) = (&self.statements, &mut self.journal.state);
        let subscribers = state.subscribers.clone();
        for (holder, share) in &subscribers {
            let slots = self.slot_cache.update(statements, state, now);
            let may = may_receive_notifications(holder, *share, statements, state, slots, now);
            if matches!(may, Err(Code::NoGrant | Code::Expired | Code::Revoked)) {
                state.subscribers.remove(holder);
            }
        }
    }

    /// Starts or stops watching the equipment, depending on whether there are subscribers.
    pub(super) fn update_watch(&mut self, out: &mut Effects) {
        let watched = !self.journal.state.subscribers.is_empty();
        self.after_log(AfterLog::Act(Action::WatchEquipment(watched)), out);
    }
}
