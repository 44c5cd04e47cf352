//! What goes into the core and what comes out of it.

use std::collections::BTreeSet;

use crate::core::batch::Batch;
use doorward_protocol::event_log::record::Intent;
use doorward_protocol::gate::{Code, Origin, Permit};
use doorward_protocol::wire::{Hash, Id, KeyBytes, Map, Outcome, Text, Value};

/// A link by its number, for acknowledgements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub usize);

/// One message of one link, to be acknowledged when it has been dealt with durably.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Delivery {
    /// The link that brought it.
    pub link: LinkId,
    /// The link's own number for it.
    pub number: u64,
}

/// What happens to the agent.
#[derive(Debug)]
pub enum Input {
    /// A message came in.
    Arrived {
        /// Which way; stamped by the link.
        origin: Origin,
        /// Whether the broker had kept it.
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
    /// An operation has ended.
    Finished(Hash, OperationResult),
    /// An operation says how far it has come.
    Progress(Hash, Map<Text, Value>),
    /// There is news of the equipment.
    Notification(Map<Text, Value>),
    /// A link has connected and subscribed.
    LinkUp,
    /// It is the time that [`Core::due`](super::Core::due) named, or later.
    Tick,
    /// The conditions that now forbid operations, by name.
    Interlocks(BTreeSet<Id>),
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationResult {
    /// Done, failed or unknown.
    pub outcome: Outcome,
    /// Why, if not done.
    pub code: Option<Code>,
    /// What exactly.
    pub detail: Option<Text>,
    /// What it returned.
    pub result: Map<Text, Value>,
}

impl OperationResult {
    /// It ended well and returned this.
    #[must_use]
    pub fn done(result: Map<Text, Value>) -> Self {
        Self {
            outcome: Outcome::Done,
            code: None,
            detail: None,
            result,
        }
    }

    /// Why it ended so, in words.
    #[must_use]
    pub fn message(&self) -> String {
        let detail = self.detail.as_ref().map(ToString::to_string);
        detail.unwrap_or_else(|| self.code.map_or("", Code::sentence).to_owned())
    }

    /// It was not begun after all.
    pub(crate) fn denied(code: Code, detail: &str) -> Self {
        Self {
            outcome: Outcome::Denied,
            code: Some(code),
            detail: sanitize(detail),
            result: Map::default(),
        }
    }

    /// It ended badly.
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

/// Text for people, cut and cleaned so that it always fits.
pub(super) fn sanitize(text: &str) -> Option<Text> {
    let mut clean: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    while clean.len() > 200 {
        clean.pop();
    }
    Text::new(clean.trim()).ok()
}

/// Where a message goes, on every link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplyTopic {
    /// To the holder of a key, on this command.
    Receipts(KeyBytes, Hash),
    /// To the same, a piece of a result that is larger than a receipt.
    Results(KeyBytes, Hash),
    /// To the holder of a key, news.
    Notifications(KeyBytes),
    /// To whoever issued a share: that it is here.
    Confirmations,
    /// Retained, to whom it may concern.
    State,
    /// To whoever keeps the event log: checkpoints.
    Events,
}

/// What the runtime must do once the batch that came with it is durable.
#[derive(Debug)]
pub enum Action {
    /// Start an operation.
    Run(Box<Permit>),
    /// Bring an operation to its end that a stop has interrupted; the flag says whether the
    /// machine has booted since.
    Resume(Box<Intent>, bool),
    /// Publish.
    Publish(ReplyTopic, Vec<u8>),
    /// Acknowledge.
    Ack(Delivery),
    /// Tell a client of the listener that its message was not heard.
    Refuse(Delivery),
    /// Look out for news, or no longer.
    WatchEquipment(bool),
    /// Let go of what operations have left in the state directory.
    ClearUserData,
    /// Listen for statements to this site.
    SetSite(Option<Id>),
    /// Send the records of the log from this one on; the flag says to go back to it even if
    /// later ones were sent already.
    Upload(u64, bool),
    /// Ask the brokers for the retained statements again: one that came too early counts now.
    RequestRetained,
}

/// The outcome of one step.
#[derive(Debug, Default)]
pub struct Effects {
    /// To be made durable; then the core is told with [`Input::Durable`].
    pub batch: Batch,
    /// To be done now.
    pub actions: Vec<Action>,
    /// The code of each item that was refused in this step, in order.
    pub refused: Vec<Code>,
}
