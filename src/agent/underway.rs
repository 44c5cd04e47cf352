//! What an operation says and asks while it is under way.

use tokio::sync::{mpsc, oneshot};

use super::runtime::Event;
use super::step::{Ended, Topic};
use crate::gate::{Code, Permit};
use crate::wire::{Hash, Map, Text, Value};

/// The way from an operation that is under way to the core.
#[derive(Clone)]
pub struct Underway {
    permit: Permit,
    events: mpsc::Sender<Event>,
}

impl Underway {
    pub(super) fn new(permit: Permit, events: mpsc::Sender<Event>) -> Self {
        Self { permit, events }
    }

    /// The command that asked for it, as a name of its own.
    #[must_use]
    pub fn command(&self) -> Hash {
        self.permit.caller().command
    }

    /// Tells whoever asked for it how far it has come.
    pub async fn says(&self, rows: Map<Text, Value>) {
        let event = Event::Progress(self.command(), rows);
        let _ = self.events.send(event).await;
    }

    /// Sends a piece of a result to whoever asked for it.
    pub async fn sends(&self, topic: Topic, piece: Vec<u8>) {
        let _ = self.events.send(Event::Sends(topic, piece)).await;
    }

    /// Asked before what cannot be undone, and while it could still be stopped.
    ///
    /// # Errors
    /// With the end that it has then, if what allowed it no longer does.
    pub async fn still_allowed(&self) -> Result<(), Ended> {
        let (answer, answered) = oneshot::channel();
        let asks = Event::Asks(Box::new(self.permit.clone()), answer);
        let _ = self.events.send(asks).await;
        // If nobody is there to answer, nobody may go on.
        match answered.await.unwrap_or(Err(Code::Store)) {
            Ok(()) => Ok(()),
            Err(code) => Err(Ended::failed(
                code,
                "the permission ended while it was under way",
            )),
        }
    }
}
