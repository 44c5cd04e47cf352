//! All that must not be forgotten, as one record, so that older segments may go.

use crate::core::journal::Journal;
use doorward_protocol::event_log::record::{ClientWindow, Recent, Snapshot};
use doorward_protocol::gate::{DurableState, SeqMark};
use doorward_protocol::wire::Map;

impl Journal {
    pub(super) fn restore(&mut self, snapshot: &Snapshot) {
        let mut memory = DurableState::new(snapshot.epoch);
        for client in &snapshot.windows {
            memory
                .windows
                .restore(client.holder, client.instance, client.window);
        }
        memory.registration = snapshot.registration;
        memory.revocations = snapshot
            .revocations
            .iter()
            .map(|(audience, mark)| (audience.clone(), *mark))
            .collect();
        memory.proven = snapshot.proven.iter().map(|(k, p)| (*k, *p)).collect();
        memory.rosters = snapshot.rosters.iter().map(|(k, m)| (*k, *m)).collect();
        memory.ended = snapshot.ended.iter().map(|(k, t)| (*k, *t)).collect();
        memory.frozen = snapshot.frozen;
        memory.acknowledged = snapshot.acknowledged;
        memory.reboots = snapshot.reboots.clone().unwrap_or_default();
        memory.deleted = snapshot.deleted;
        let told = snapshot.told.iter().flat_map(Map::iter);
        memory.subscribers = told.map(|(key, share)| (*key, *share)).collect();
        memory.uses = snapshot.uses.iter().map(|(k, n)| (*k, *n)).collect();
        for recent in &snapshot.recent {
            let key = (recent.share, recent.operation.clone());
            memory.recent.insert(key, recent.times.clone());
        }
        self.state = memory;
        self.open = snapshot
            .open
            .iter()
            .map(|open| (open.intent.asked.command, open.clone()))
            .collect();
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let memory = &self.state;
        Snapshot {
            epoch: memory.epoch,
            windows: memory
                .windows
                .iter()
                .map(|(&(holder, instance), &window)| ClientWindow {
                    holder,
                    instance,
                    window,
                })
                .collect(),
            registration: memory.registration,
            revocations: Map::new(memory.revocations.clone()),
            proven: Map::new(memory.proven.clone()),
            open: self.open.values().cloned().collect(),
            rosters: Map::new(memory.rosters.clone()),
            ended: Map::new(memory.ended.clone()),
            frozen: memory.frozen,
            acknowledged: memory.acknowledged,
            told: (!memory.subscribers.is_empty()).then(|| Map::new(memory.subscribers.clone())),
            deleted: memory.deleted,
            reboots: Some(memory.reboots.clone()).filter(|times| !times.is_empty()),
            uses: Map::new(memory.uses.clone()),
            recent: memory
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

/// Takes from a snapshot beyond a break what ends, freezes and uses up.
pub(super) fn recover(memory: &mut DurableState, snapshot: &Snapshot) {
    for (share, count) in snapshot.uses.iter() {
        let uses = memory.uses.entry(*share).or_default();
        *uses = (*uses).max(*count);
    }
    for (share, end) in snapshot.ended.iter() {
        memory.ended.insert(*share, *end);
    }
    memory.frozen = memory.frozen.max(snapshot.frozen);
    memory.deleted = memory.deleted.or(snapshot.deleted);
    if memory.reboots.is_empty() {
        memory.reboots = snapshot.reboots.clone().unwrap_or_default();
    }
    for (audience, mark) in snapshot.revocations.iter() {
        let held = memory.revocations.get(audience);
        memory
            .revocations
            .insert(audience.clone(), later(held, mark));
    }
    for (group, mark) in snapshot.rosters.iter() {
        let held = memory.rosters.get(group);
        memory.rosters.insert(*group, later(held, mark));
    }
    if let Some(mark) = &snapshot.registration {
        memory.registration = Some(later(memory.registration.as_ref(), mark));
    }
    for (role, proven) in snapshot.proven.iter() {
        memory.record_signed_time(*role, proven.time());
    }
}

/// The newer of two marks; the one that is held if neither is.
fn later(held: Option<&SeqMark>, mark: &SeqMark) -> SeqMark {
    held.filter(|held| held.seq >= mark.seq)
        .copied()
        .unwrap_or(*mark)
}
