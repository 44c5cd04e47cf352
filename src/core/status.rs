//! How the device is, in numbers.

use std::collections::BTreeMap;

use crate::core::machine::Core;
use doorward_protocol::gate::{Code, Now, Reading};
use doorward_protocol::wire::{Audience, Id, Map, Operation, Standing, Text, Value};

/// Numbers for `status.read` and for people.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The time.
    pub now: Now,
    /// Sequence numbers and boot.
    pub standing: Standing,
    /// Shares that the device holds.
    pub shares: usize,
    /// Records in the log.
    pub log_size: u64,
    /// Records that are kept elsewhere.
    pub acknowledged: u64,
    /// Audiences whose revocation list the log knows and the device lacks.
    pub missing: Vec<Audience>,
    /// How full the log is, in percent.
    pub log_used: u64,
    /// What was refused since the start, by code.
    pub refused: BTreeMap<Code, u64>,
}

impl Core {
    /// Numbers for `status.read` and for people.
    pub fn facts(&mut self, reading: &Reading) -> Facts {
        let now = self.keeper.now(reading);
        Facts {
            now,
            standing: self.standing(&now),
            shares: self.known.share_count(),
            log_size: self.journal.head().size,
            acknowledged: self.journal.memory.acknowledged,
            missing: self
                .known
                .lost_lists(&self.journal.memory)
                .cloned()
                .collect(),
            log_used: self.journal.used(),
            refused: self.refused.clone(),
        }
    }

    /// What was allowed and has not ended: who asked for which operation, and how far it has come.
    #[must_use]
    pub fn underway(&self) -> Vec<(Id, Operation, Map<Text, Value>)> {
        let open = self.journal.open.iter();
        open.map(|(command, open)| {
            let asked = &open.intent.asked;
            let rows = self.progress.get(command).cloned().unwrap_or_default();
            (asked.person.clone(), asked.operation.clone(), rows)
        })
        .collect()
    }
}
