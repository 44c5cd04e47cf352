//! Handle through which a running operation reports progress and re-checks its permit.

use doorward_protocol::gate::{Code, Permit};
use doorward_protocol::wire::{Hash, Map, Text, Value};
use tokio::sync::{mpsc, oneshot};

use crate::core::{OperationResult, ReplyTopic};

/// A report of a running operation. One channel carries them all, so that they arrive in order.
pub enum OperationEvent {
    /// How far the operation of a command has come.
    Progress(Hash, Map<Text, Value>),
    /// A chunk of a result that is larger than a receipt.
    Chunk(ReplyTopic, Vec<u8>),
    /// A request to check again whether the operation is still allowed.
    Reauthorize(Box<Permit>, oneshot::Sender<Result<(), Code>>),
    /// The status of the equipment has changed.
    Notification(Map<Text, Value>),
    /// The operation of a command has ended.
    Finished(Hash, OperationResult),
}

/// The handle of one running operation.
#[derive(Clone)]
pub struct OperationContext {
    permit: Permit,
    events: mpsc::Sender<OperationEvent>,
}

impl OperationContext {
    /// The handle of the operation that `permit` allows.
    #[must_use]
    pub fn new(permit: Permit, events: mpsc::Sender<OperationEvent>) -> Self {
        Self { permit, events }
    }

    /// The hash of the command, which identifies the running operation.
    #[must_use]
    pub fn command(&self) -> Hash {
        self.permit.caller().command
    }

    /// Reports to the caller how far the operation has come.
    pub async fn report_progress(&self, rows: Map<Text, Value>) {
        let event = OperationEvent::Progress(self.command(), rows);
        let _ = self.events.send(event).await;
    }

    /// Sends a chunk of a large result to the caller.
    pub async fn send_chunk(&self, topic: ReplyTopic, chunk: Vec<u8>) {
        let _ = self.events.send(OperationEvent::Chunk(topic, chunk)).await;
    }

    /// Checks again whether the operation is allowed: before a step that cannot be undone, and
    /// while it can still be stopped.
    ///
    /// # Errors
    /// With the operation's result if its permission has ended.
    pub async fn reauthorize(&self) -> Result<(), OperationResult> {
        let (answer, answered) = oneshot::channel();
        let event = OperationEvent::Reauthorize(Box::new(self.permit.clone()), answer);
        let _ = self.events.send(event).await;
        // Without an answer the operation must not go on.
        match answered.await.unwrap_or(Err(Code::Store)) {
            Ok(()) => Ok(()),
            Err(code) => Err(OperationResult::failed(
                code,
                "the permission ended while it was running",
            )),
        }
    }
}
