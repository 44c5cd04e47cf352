//! News for those who asked to be told: each by the share that let them ask, for as long as that
//! share would let them ask again.

use crate::core::io::{Action, Effects, Topic};
use crate::core::machine::{Core, Waiting};
use doorward_protocol::gate::{Code, Now, may_be_told};
use doorward_protocol::wire::{Map, Notice, NoticeBody, Text, Value, sign};

impl Core {
    /// Tells everybody who may hear it. Nothing of it is written down.
    pub(super) fn tell_news(&mut self, news: &Map<Text, Value>, now: &Now, out: &mut Effects) {
        for (holder, share) in &self.journal.memory.told.clone() {
            let memory = &self.journal.memory;
            if may_be_told(holder, *share, &self.known, memory, now).is_err() {
                continue;
            }
            let notice = Notice {
                iss: self.known.device().clone(),
                iat: now.estimate,
                body: NoticeBody {
                    format: 1,
                    share: *share,
                    news: news.clone(),
                },
            };
            let publish = Action::Publish(Topic::Notices(*holder), sign(&notice, &self.key));
            self.after_log(Waiting::Act(publish), out);
        }
    }

    /// Lets go of those whose shares have ended for good, so that others find room.
    pub(super) fn forget_told(&mut self, now: &Now) {
        let (known, memory) = (&self.known, &mut self.journal.memory);
        let told = memory.told.clone();
        for (holder, share) in &told {
            let may = may_be_told(holder, *share, known, memory, now);
            if matches!(may, Err(Code::NoGrant | Code::Expired | Code::Revoked)) {
                memory.told.remove(holder);
            }
        }
    }

    /// Whether anybody is to be told anything.
    pub(super) fn watch_for_news(&mut self, out: &mut Effects) {
        let watched = !self.journal.memory.told.is_empty();
        self.after_log(Waiting::Act(Action::Watch(watched)), out);
    }
}
