//! What is done. Every operation starts with a [`Permit`], which only the gate can make.

mod exec;
mod status;

use std::collections::BTreeMap;

use crate::agent::{Ended, Facts};
use crate::config::{Confirm, Definition, Handler, OperationName};
use crate::gate::{Code, Offer, Offers, Permit};
use crate::wire::Operation;

/// Operations that doorward carries out itself.
const BUILTIN: [&str; 1] = ["status.read"];

/// Whether doorward carries out this operation itself.
#[must_use]
pub fn is_builtin(name: &Operation) -> bool {
    BUILTIN.contains(&name.as_str())
}

/// The operations of this device.
#[derive(Debug, Clone)]
pub struct Table(BTreeMap<Operation, Definition>);

impl Table {
    /// Takes them from a configuration that has been checked.
    #[must_use]
    pub fn new(operations: &BTreeMap<OperationName, Definition>) -> Self {
        Self(
            operations
                .iter()
                .map(|(name, definition)| (name.0.clone(), definition.clone()))
                .collect(),
        )
    }

    /// What the gate needs to know of them.
    #[must_use]
    pub fn offers(&self) -> Offers {
        self.0
            .iter()
            .map(|(name, definition)| (name.clone(), Offer::plain(definition.class)))
            .collect()
    }

    /// Those whose success shows in a new boot.
    #[must_use]
    pub fn reboots(&self) -> Vec<Operation> {
        self.0
            .iter()
            .filter(|(_, definition)| definition.confirm == Confirm::Boot)
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Carries out what was permitted, and says how it ended.
    pub async fn carry_out(&self, permit: Permit, facts: Facts) -> Ended {
        let name = &permit.caller().operation;
        let Some(definition) = self.0.get(name) else {
            return Ended::failed(Code::Failed, "the operation is no longer configured");
        };
        match definition.handler {
            Handler::Builtin => status::read(&facts),
            Handler::Exec => exec::run(definition).await,
        }
    }
}
