//! The durable state as one record, so that older segments can be deleted.

use crate::core::journal::Journal;
use doorward_protocol::event_log::record::{ClientWindow, Recent, Snapshot};
use doorward_protocol::gate::{DurableState, SeqMark};
use doorward_protocol::wire::Map;

impl Journal {
    pub(super) fn restore(&mut self, snapshot: &Snapshot) {
        let mut state = DurableState::new(snapshot.epoch);
        for client in &snapshot.windows {
            state
                .windows
                .restore(client.holder, client.instance, client.window);
        }
        state.registration = snapshot.registration;
        state.revocations = snapshot
            .revocations
            .iter()
            .map(|(audience, mark)| (audience.clone(), *mark))
            .collect();
        state.proven = snapshot.proven.iter().map(|(k, p)| (*k, *p)).collect();
        state.rosters = snapshot.rosters.iter().map(|(k, m)| (*k, *m)).collect();
        state.ended = snapshot.ended.iter().map(|(k, t)| (*k, *t)).collect();
        state.frozen = snapshot.frozen;
        state.acknowledged = snapshot.acknowledged;
        state.reboots = snapshot.reboots.clone().unwrap_or_default();
        state.deleted = snapshot.deleted;
        let subscribers = snapshot.subscribers.iter().flat_map(Map::iter);
        state.subscribers = subscribers.map(|(key, share)| (*key, *share)).collect();
        state.uses = snapshot.uses.iter().map(|(k, n)| (*k, *n)).collect();
        for recent in &snapshot.recent {
            let key = (recent.share, recent.operation.clone());
            state.recent.insert(key, recent.times.clone());
        }
        self.state = state;
        self.open = snapshot
            .open
            .iter()
            .map(|open| (open.intent.asked.command, open.clone()))
            .collect();
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let state = &self.state;
        Snapshot {
            epoch: state.epoch,
            windows: state
                .windows
                .iter()
                .map(|(&(holder, instance), &window)| ClientWindow {
                    holder,
                    instance,
                    window,
                })
                .collect(),
            registration: state.registration,
            revocations: Map::new(state.revocations.clone()),
            proven: Map::new(state.proven.clone()),
            open: self.open.values().cloned().collect(),
            rosters: Map::new(state.rosters.clone()),
            ended: Map::new(state.ended.clone()),
            frozen: state.frozen,
            acknowledged: state.acknowledged,
            subscribers: (!state.subscribers.is_empty())
                .then(|| Map::new(state.subscribers.clone())),
            deleted: state.deleted,
            reboots: Some(state.reboots.clone()).filter(|times| !times.is_empty()),
            uses: Map::new(state.uses.clone()),
            recent: state
                .recent
                .iter()
                .map(|((share, operation), times)| Recent {
                    share: *share,
                    operation: operation.clone(),
                    times: times.clone(),
                })
                .collect(),
        }
    }
}

/// Merges a snapshot found after a damaged part of the log: ended shares, suspensions, uses and
/// sequence numbers.
pub(super) fn recover(state: &mut DurableState, snapshot: &Snapshot) {
    for (share, count) in snapshot.uses.iter() {
        let uses = state.uses.entry(*share).or_default();
        *uses = (*uses).max(*count);
    }
    for (share, end) in snapshot.ended.iter() {
        state.ended.insert(*share, *end);
    }
    state.frozen = state.frozen.max(snapshot.frozen);
    state.deleted = state.deleted.or(snapshot.deleted);
    if state.reboots.is_empty() {
        state.reboots = snapshot.reboots.clone().unwrap_or_default();
    }
    for (audience, mark) in snapshot.revocations.iter() {
        let held = state.revocations.get(audience);
        state
            .revocations
            .insert(audience.clone(), later(held, mark));
    }
    for (group, mark) in snapshot.rosters.iter() {
        let held = state.rosters.get(group);
        state.rosters.insert(*group, later(held, mark));
    }
    if let Some(mark) = &snapshot.registration {
        state.registration = Some(later(state.registration.as_ref(), mark));
    }
    for (role, proven) in snapshot.proven.iter() {
        state.record_signed_time(*role, proven.time());
    }
}

/// The newer of two marks; `held` if both have the same sequence number.
fn later(held: Option<&SeqMark>, mark: &SeqMark) -> SeqMark {
    held.filter(|held| held.seq >= mark.seq)
        .copied()
        .unwrap_or(*mark)
}
