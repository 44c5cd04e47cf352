//! The changes that a step makes durable.

use doorward_protocol::event_log::LogWrite;

/// Changes to write before any action is carried out.
#[derive(Debug, Default)]
pub struct Batch {
    /// Statements to keep, by cache name.
    pub put: Vec<(String, Vec<u8>)>,
    /// Cache names to drop.
    pub remove: Vec<String>,
    /// A new registration; empty if the device was deleted.
    pub registration: Option<Vec<u8>>,
    /// New issuers.
    pub issuers: Option<Vec<u8>>,
    /// Log writes, in order.
    pub log: Vec<LogWrite>,
}

impl Batch {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.put.is_empty()
            && self.remove.is_empty()
            && self.registration.is_none()
            && self.issuers.is_none()
            && self.log.is_empty()
    }

    /// Appends a later batch, so that both become durable together.
    pub fn extend(&mut self, later: Self) {
        self.put.extend(later.put);
        self.remove.extend(later.remove);
        self.registration = later.registration.or_else(|| self.registration.take());
        self.issuers = later.issuers.or_else(|| self.issuers.take());
        self.log.extend(later.log);
    }
}
