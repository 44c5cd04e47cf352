//! Status figures of the device.

use std::collections::BTreeMap;

use crate::core::machine::Core;
use doorward_protocol::gate::{ClockReading, Code, Now};
use doorward_protocol::wire::{Audience, DeviceStanding, Id, Map, Operation, Text, Value};

/// Figures for `status.read` and `doorward status`.
#[derive(Debug, Clone)]
pub struct DeviceStatus {
    /// The current time.
    pub now: Now,
    /// Sequence numbers, boot id and uptime.
    pub standing: DeviceStanding,
    /// Shares that the device holds.
    pub shares: usize,
    /// Records in the log.
    pub log_size: u64,
    /// Records that a log collector has acknowledged.
    pub acknowledged: u64,
    /// Audiences whose revocation list the log has recorded but the device no longer holds.
    pub missing: Vec<Audience>,
    /// Used part of the log's size limit, in percent.
    pub log_used: u64,
    /// Refusals since the start, by code.
    pub refused: BTreeMap<Code, u64>,
}

impl Core {
    /// Returns the figures for `status.read` and `doorward status`.
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

    /// The commands that were allowed and have not finished: user, operation and progress.
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
