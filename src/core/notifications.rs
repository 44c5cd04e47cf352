//! News for those who asked to be told: each by the share that let them ask, for as long as that
//! share would let them ask again.

use crate::core::io::{Action, Effects, ReplyTopic};
use crate::core::machine::{AfterLog, Core};
use doorward_protocol::gate::{Code, Now, may_receive_notifications};
use doorward_protocol::wire::{Map, Notice, NoticeBody, Text, Value, sign};

impl Core {
    /// Tells everybody who may hear it. Nothing of it is written down.
    pub(super) fn notify_subscribers(
        &mut self,
        news: &Map<Text, Value>,
        now: &Now,
        out: &mut Effects,
    ) {
        for (holder, share) in &self.journal.state.subscribers.clone() {
            let memory = &self.journal.state;
            if may_receive_notifications(holder, *share, &self.statements, memory, now).is_err() {
                continue;
            }
            let notice = Notice {
                iss: self.statements.device().clone(),
                iat: now.estimate,
                body: NoticeBody {
                    format: 1,
                    share: *share,
                    news: news.clone(),
                },
            };
            let publish =
                Action::Publish(ReplyTopic::Notifications(*holder), sign(&notice, &self.key));
            self.after_log(AfterLog::Act(publish), out);
        }
    }

    /// Lets go of those whose shares have ended for good, so that others find room.
    pub(super) fn prune_subscribers(&mut self, now: &Now) {
        let (known, memory) = (&self.statements, &mut self.journal.state);
        let told = memory.subscribers.clone();
        for (holder, share) in &told {
            let may = may_receive_notifications(holder, *share, known, memory, now);
            if matches!(may, Err(Code::NoGrant | Code::Expired | Code::Revoked)) {
                memory.subscribers.remove(holder);
            }
        }
    }

    /// Whether anybody is to be told anything.
    pub(super) fn update_watch(&mut self, out: &mut Effects) {
        let watched = !self.journal.state.subscribers.is_empty();
        self.after_log(AfterLog::Act(Action::WatchEquipment(watched)), out);
    }
}
