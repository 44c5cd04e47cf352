//! Inputs and outputs of the core.

use std::collections::BTreeSet;

use crate::core::batch::Batch;
use doorward_protocol::event_log::record::Intent;
use doorward_protocol::gate::{Code, Origin, Permit};
use doorward_protocol::wire::{Hash, Id, KeyBytes, Map, Outcome, Text, Value, truncate};

/// The number of a link, for acknowledgements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub usize);

/// A message of a link, to be acknowledged once its effects are durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Delivery {
    /// The link over which it arrived.
    pub link: LinkId,
    /// Its number on that link.
    pub number: u64,
}

/// An input of the core.
#[derive(Debug)]
pub enum Input {
    /// A message arrived.
    Arrived {
        /// Origin, set by the link.
        origin: Origin,
        /// Whether it is a retained message.
        retained: bool,
        /// For the acknowledgement.
        delivery: Delivery,
        /// A bundle.
        payload: Vec<u8>,
    },
    /// The log is durable up to this size.
    Durable(u64),
    /// A batch could not be made durable.
    StoreFailed,
    /// An operation has finished.
    Finished(Hash, OperationResult),
    /// An operation reports its progress.
    Progress(Hash, Map<Text, Value>),
    /// The equipment reports an event.
    Notification(Map<Text, Value>),
    /// A link has connected and subscribed.
    LinkUp,
    /// The time of [`Core::due`](super::Core::due) is reached.
    Tick,
    /// The active interlocks, by name.
    Interlocks(BTreeSet<Id>),
}

/// The result of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationResult {
    /// Done, failed or unknown.
    pub outcome: Outcome,
    /// Reason, if not done.
    pub code: Option<Code>,
    /// Details of the reason.
    pub detail: Option<Text>,
    /// Returned values.
    pub result: Map<Text, Value>,
}

impl OperationResult {
    /// A successful result with these values.
    #[must_use]
    pub fn done(result: Map<Text, Value>) -> Self {
        Self {
            outcome: Outcome::Done,
            code: None,
            detail: None,
            result,
        }
    }

    /// The reason as text: the detail, or else the sentence of the code.
    #[must_use]
    pub fn message(&self) -> String {
        let detail = self.detail.as_ref().map(ToString::to_string);
        detail.unwrap_or_else(|| self.code.map_or("", Code::sentence).to_owned())
    }

    /// The result of an operation that was not started.
    pub(crate) fn denied(code: Code, detail: &str) -> Self {
        Self {
            outcome: Outcome::Denied,
            code: Some(code),
            detail: sanitize(detail),
            result: Map::default(),
        }
    }

    /// A failed result, or an unknown one for [`Code::Unknown`].
    #[must_use]
    pub fn failed(code: Code, detail: &str) -> Self {
        Self {
            outcome: match code {
                Code::Unknown => Outcome::Unknown,
                _ => Outcome::Failed,
            },
            code: Some(code),
            detail: sanitize(detail),
            result: Map::default(),
        }
    }
}

/// Text without control characters, truncated to the size limit of a detail.
pub(super) fn sanitize(text: &str) -> Option<Text> {
    let mut clean: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    truncate(&mut clean, 200);
    Text::new(clean.trim()).ok()
}

/// The topic of a message, published on every link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplyTopic {
    /// Receipts for the holder of a key, about this command.
    Receipts(KeyBytes, Hash),
    /// Chunks of a result that is larger than a receipt, for the same holder.
    Results(KeyBytes, Hash),
    /// Notifications for the holder of a key.
    Notifications(KeyBytes),
    /// Confirmations for the issuer of a share.
    Confirmations,
    /// The device's `state`, retained, for all.
    State,
    /// Checkpoints for collectors of the event log.
    Events,
}

/// An action for the daemon to carry out.
#[derive(Debug)]
pub enum Action {
    /// Start an operation.
    Run(Box<Permit>),
    /// Resume an operation that a stop of the daemon interrupted; the flag is true if the machine
    /// has rebooted since.
    Resume(Box<Intent>, bool),
    /// Publish a message.
    Publish(ReplyTopic, Vec<u8>),
    /// Acknowledge a message.
    Ack(Delivery),
    /// Reject a message of a client of the listener: it was not processed.
    Refuse(Delivery),
    /// Start or stop watching the equipment for events.
    WatchEquipment(bool),
    /// Delete the user data of operations from the state directory.
    ClearUserData,
    /// Subscribe to the statements of this site.
    SetSite(Option<Id>),
    /// Upload the records of the log from this one on; with the flag even if later records were
    /// sent already.
    Upload(u64, bool),
    /// Request the retained statements from the brokers again: one that was refused before may be
    /// valid now.
    RequestRetained,
}

/// The outcome of one step.
#[derive(Debug, Default)]
pub struct Effects {
    /// Changes to make durable; then the core is notified with [`Input::Durable`].
    pub batch: Batch,
    /// Actions to carry out now; those that depend on the batch follow once it is durable.
    pub actions: Vec<Action>,
    /// The code of each item refused in this step, in order.
    pub refused: Vec<Code>,
}
