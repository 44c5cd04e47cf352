//! How the device is, in numbers.

use std::collections::BTreeMap;

use crate::core::machine::Core;
use doorward_protocol::gate::{ClockReading, Code, Now};
use doorward_protocol::wire::{Audience, DeviceStanding, Id, Map, Operation, Text, Value};

/// Numbers for `status.read` and for people.
#[derive(Debug, Clone)]
pub struct DeviceStatus {
    /// The time.
    pub now: Now,
    /// Sequence numbers and boot.
    pub standing: DeviceStanding,
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
    pub fn status(&mut self, reading: &ClockReading) -> DeviceStatus {
        let now = self.clock.now(reading);
        DeviceStatus {
            now,
            standing: self.standing(&now),
            shares: self.statements.share_count(),
            log_size: self.journal.head().size,
            acknowledged: self.journal.state.acknowledged,
            missing: self
                .statements
                .lost_lists(&self.journal.state)
                .cloned()
                .collect(),
            log_used: self.journal.used(),
            refused: self.refused.clone(),
        }
    }

    /// What was allowed and has not ended: who asked for which operation, and how far it has come.
    #[must_use]
    pub fn running_commands(&self) -> Vec<(Id, Operation, Map<Text, Value>)> {
        let open = self.journal.open.iter();
        open.map(|(command, open)| {
            let asked = &open.intent.asked;
            let rows = self.progress.get(command).cloned().unwrap_or_default();
            (asked.person.clone(), asked.operation.clone(), rows)
        })
        .collect()
    }
}
