//! Carries out the effects of the core: hands batches to the commit thread, starts operations and
//! publishes messages.

use std::collections::VecDeque;

use tokio::task::JoinSet;

use crate::core::{Action, Effects, OperationResult};
use crate::daemon::event_loop::{Daemon, DaemonEvent};
use crate::operation::{OperationContext, OperationEvent, OperationTable};
use doorward_protocol::wire::Hash;

impl Daemon {
    pub(super) fn carry_out(&mut self, effects: Effects) {
        let effects = self.run_in_memory_reads(effects);
        if !effects.batch.is_empty() {
            // If the thread is gone, nothing becomes durable, so no dependent action happens.
            if let Some(store) = &self.store {
                let _ = store.send((effects.batch, self.core.log_size()));
            }
        }
        for action in effects.actions {
            match action {
                Action::Ack(delivery) if delivery.link == self.import.link => {
                    self.import.acknowledge(delivery.number);
                }
                Action::Ack(delivery) => self.links.acknowledge(delivery),
                Action::Refuse(delivery) => self.links.refuse(delivery),
                Action::Publish(topic, payload) => {
                    self.links.publish(&self.device, &topic, &payload);
                }
                Action::SetSite(site) => self.links.set_site(site.as_ref()),
                Action::Upload(from, again) => {
                    if let Some(upload) = &self.upload {
                        upload.from(from, again);
                    }
                }
                Action::WatchEquipment(false) => self.watching = JoinSet::new(),
                // A watch that runs already knows the previous state of the equipment.
                Action::WatchEquipment(true) => {
                    if self.watching.is_empty() {
                        let (table, sender) = (self.table.clone(), self.operation_sender.clone());
                        self.watching.spawn(async move {
                            table
                                .watch(|event| sender.send(OperationEvent::Notification(event)))
                                .await;
                        });
                    }
                }
                Action::ClearUserData => self.table.clear_user_data(),
                Action::RequestRetained => self.links.refresh(),
                Action::Resume(intent, rebooted) => {
                    let table = self.table.clone();
                    self.spawn_operation(intent.asked.command, async move {
                        table.resume(&intent, rebooted).await
                    });
                }
                Action::Run(permit) => {
                    let table = self.table.clone();
                    let status = self.core.status(&self.clock.read());
                    let context =
                        OperationContext::new((*permit).clone(), self.operation_sender.clone());
                    self.spawn_operation(permit.caller().command, async move {
                        table.execute(*permit, status, &context).await
                    });
                }
            }
        }
        // In parallel with the write of the batch.
        self.core.sign_ahead();
    }

    /// Runs the reads from memory that are still allowed at once: their intent and their result are
    /// made durable together, by one `fdatasync`.
    fn run_in_memory_reads(&mut self, mut effects: Effects) -> Effects {
        let mut waiting = VecDeque::from(std::mem::take(&mut effects.actions));
        while let Some(action) = waiting.pop_front() {
            let permit = match action {
                Action::Run(permit)
                    if self.in_memory_reads.contains(&permit.caller().operation) =>
                {
                    permit
                }
                other => {
                    effects.actions.push(other);
                    continue;
                }
            };
            let command = permit.caller().command;
            let reading = self.clock.read();
            let ended = match self.core.reauthorize(&permit, &reading) {
                Err(code) => OperationResult::denied(
                    code,
                    "the permission ended before the operation started",
                ),
                Ok(()) => OperationTable::read_in_memory(&permit, &self.core.status(&reading)),
            };
            let finished = OperationEvent::Finished(command, ended);
            let more = self.step(DaemonEvent::Operation(finished));
            effects.batch.extend(more.batch);
            waiting.extend(more.actions);
        }
        effects
    }

    /// Runs an operation in a task of its own; its result arrives as an event.
    fn spawn_operation(
        &mut self,
        command: Hash,
        work: impl Future<Output = OperationResult> + Send + 'static,
    ) {
        self.running.insert(command);
        let sender = self.operation_sender.clone();
        tokio::spawn(async move {
            let ended = work.await;
            let _ = sender.send(OperationEvent::Finished(command, ended)).await;
        });
    }
}
