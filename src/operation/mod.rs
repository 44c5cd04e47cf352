//! The operations of the device. Each execution needs a [`Permit`], which only the gate issues.

mod builtin;
mod context;
mod dbus;
mod diagnostics;
mod exec;
mod firmware;
mod handler;
mod history;
mod large_results;
mod licence;
mod logind;
mod mqtt;
mod nut;
mod report;
mod retry;
pub mod self_check;
mod settings;
mod shared;
mod status;
mod systemd_unit;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use context::{OperationContext, OperationEvent};
pub use handler::unusable_operations;

use crate::config::{Config, Definition, OperationName};
use crate::core::{DeviceStatus, OperationResult};
use builtin::Builtin;
use doorward_protocol::event_log::record::Intent;
use doorward_protocol::gate::{Code, Offer, Offers, Permit, REBOOTS};
use doorward_protocol::wire::{Hash, Id, Map, Operation, Text, Value};
use doorward_transport::TrustedTime;
use handler::{Execution, Handler, Resumption, check_interlocks, interrupted};
use shared::Shared;

/// The operations of this device.
#[derive(Debug, Clone)]
pub struct OperationTable {
    operations: Arc<BTreeMap<Operation, Entry>>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Entry {
    definition: Definition,
    /// The handler, or the reason why the operation can never work.
    handler: Result<Handler, String>,
}

impl OperationTable {
    /// The operations of a configuration that has been checked. Certificates of servers are
    /// checked by `time`.
    #[must_use]
    pub fn new(config: &Config, time: TrustedTime) -> Self {
        let operations = config.operations.iter();
        let operations = operations.map(|(OperationName(name), definition)| {
            let entry = Entry {
                handler: Handler::new(name, definition, config),
                definition: definition.clone(),
            };
            (name.clone(), entry)
        });
        Self {
            operations: Arc::new(operations.collect()),
            shared: Shared::new(config, time),
        }
    }

    /// The operations as the gate needs to know them.
    #[must_use]
    pub fn offers(&self) -> Offers {
        let offers = self.operations.iter().map(|(name, entry)| {
            let definition = &entry.definition;
            let reboots = Handler::reboots(name, definition);
            let interlocks = reboots.then(|| Id::new(REBOOTS).ok());
            let offer = Offer {
                class: definition.class,
                args: Handler::args(name, definition, &self.shared.config),
                interlocks: interlocks.flatten().into_iter().collect(),
            };
            (name.clone(), offer)
        });
        offers.collect()
    }

    /// Operations that succeed by a reboot of the machine.
    #[must_use]
    pub fn rebooting(&self) -> Vec<Operation> {
        self.names(|name, entry| Handler::reboots(name, &entry.definition))
    }

    /// Operations that [`resume`](Self::resume) finishes after a stop of the daemon.
    #[must_use]
    pub fn resumable(&self) -> Vec<Operation> {
        self.names(|_, entry| entry.handler.as_ref().is_ok_and(Handler::resumable))
    }

    /// Operations that only read values in memory.
    #[must_use]
    pub fn in_memory_reads(&self) -> Vec<Operation> {
        self.names(|_, entry| {
            entry.definition.interlocks.is_empty()
                && entry.handler.as_ref().is_ok_and(Handler::reads_memory_only)
        })
    }

    fn names(&self, is_included: impl Fn(&Operation, &Entry) -> bool) -> Vec<Operation> {
        let operations = self.operations.iter();
        let included = operations.filter(|(name, entry)| is_included(name, entry));
        included.map(|(name, _)| name.clone()).collect()
    }

    /// Executes a permitted command for one of the [in-memory reads](Self::in_memory_reads).
    #[must_use]
    pub fn read_in_memory(permit: &Permit, status: &DeviceStatus) -> OperationResult {
        match Builtin::of(&permit.caller().operation) {
            Some(Builtin::Status) => status::read(status),
            _ => OperationResult::failed(Code::Failed, "the operation needs more than memory"),
        }
    }

    /// The version number of the running firmware; 0 if it is not known.
    #[must_use]
    pub fn firmware(&self) -> u32 {
        firmware::running(&self.shared.config)
    }

    /// Executes a permitted command and returns its result.
    pub async fn execute(
        &self,
        permit: Permit,
        status: DeviceStatus,
        context: &OperationContext,
    ) -> OperationResult {
        let Some(entry) = self.operations.get(&permit.caller().operation) else {
            return OperationResult::failed(Code::Failed, "the operation is no longer configured");
        };
        let definition = &entry.definition;
        let handler = match &entry.handler {
            Ok(handler) => handler,
            Err(why) => {
                let why = format!("the definition of the operation is invalid: {why}");
                return OperationResult::failed(Code::Failed, &why);
            }
        };
        if !handler.accepts(definition, permit.args()) {
            let why = "an argument is not what the operation accepts";
            return OperationResult::failed(Code::Param, why);
        }
        let ups = self.shared.ups.as_ref();
        if let Err(result) = check_interlocks(ups, &definition.interlocks).await {
            return result;
        }
        let execution = Execution {
            shared: &self.shared,
            definition,
            permit: &permit,
            status: &status,
            context,
        };
        handler.run(execution).await
    }

    /// Finishes an operation that a stop of the daemon interrupted. `rebooted`: whether the
    /// machine has rebooted since it was started. It is never started a second time.
    pub async fn resume(&self, intent: &Intent, rebooted: bool) -> OperationResult {
        let entry = self.operations.get(&intent.asked.operation);
        let Some((definition, Ok(handler))) =
            entry.map(|entry| (&entry.definition, &entry.handler))
        else {
            return interrupted();
        };
        let resumption = Resumption {
            shared: &self.shared,
            definition,
            intent,
            rebooted,
        };
        handler.resume(resumption).await
    }

    /// The command of a change of settings that was not confirmed before the daemon stopped.
    #[must_use]
    pub fn unconfirmed(&self) -> Option<Hash> {
        settings::unconfirmed(&self.shared.config)
    }

    /// Reverts that change.
    pub async fn take_back(&self, command: &Hash) {
        let shared = &self.shared;
        let result = settings::resume(shared.settings(), &shared.pending, command).await;
        tracing::warn!(detail = ?result.detail, "a change of settings was not confirmed");
    }

    /// Deletes re-creatable files to free disk space.
    pub fn free_disk_space(&self) {
        large_results::clear(&self.shared.config.state);
        firmware::drop_parts(&self.shared.config.state);
    }

    /// Calls `notify` with each change of the equipment's status, as long as it is polled.
    pub async fn watch<T: Future>(&self, notify: impl Fn(Map<Text, Value>) -> T) {
        if let Some(ups) = &self.shared.ups {
            nut::watch(ups, notify).await;
        }
    }

    /// Deletes results and staged firmware, which belong to users.
    pub fn clear_user_data(&self) {
        large_results::clear(&self.shared.config.state);
        firmware::clear(&self.shared.config.state);
    }
}
