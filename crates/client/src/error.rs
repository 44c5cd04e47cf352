//! Errors of sending a command and of using its receipt.

use doorward_protocol::gate::Code;
use doorward_protocol::wire::{Id, MAX_ITEMS};
use doorward_transport::MqttError;
use doorward_transport::event_log::Damage;
use doorward_transport::files::FileError;

/// An error of the client library.
#[derive(Debug)]
pub enum ClientError {
    /// The broker cannot be reached, or ended the connection.
    Broker(MqttError),
    /// A file, such as the key or its counter, cannot be used.
    File(FileError),
    /// The device's retained `state` is not on the broker.
    NoState {
        /// The device.
        device: Id,
        /// The broker's URL.
        broker: String,
    },
    /// The retained `state` is not signed by the device's key.
    ForeignState(Id),
    /// The statements to attach are not a CBOR sequence of envelopes.
    BadStatements(&'static str),
    /// There are more statements than a bundle may contain.
    TooManyStatements,
    /// Statements and command exceed the maximum size of a bundle.
    TooLarge,
    /// The receipt describes no large result.
    NoResult,
    /// Parts of a large result are missing.
    Incomplete {
        /// The first missing byte.
        from: usize,
        /// Size of the whole result, in bytes.
        size: usize,
        /// The device's explanation.
        why: String,
    },
    /// A large result does not match its receipt.
    WrongResult,
    /// The device denied a command, or the operation failed.
    Refused {
        /// The device.
        device: Id,
        /// The operation.
        operation: &'static str,
        /// The code of its receipt, if it is known.
        code: Option<Code>,
    },
    /// The device does not answer.
    NoAnswer(Id),
    /// The device does not send the next record.
    Gap {
        /// The device.
        device: Id,
        /// Sequence number of the missing record.
        record: u64,
    },
    /// The copy of an event log is damaged.
    Damaged(Damage),
    /// A record does not match the previous ones, or a head that the device has signed.
    Forged(String),
}

impl ClientError {
    /// The recommended action, if there is one.
    #[must_use]
    pub fn remedy(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoState { .. } => {
                "Check the device's id and broker, and that its daemon has run once."
            }
            Self::ForeignState(_) => {
                "Check the device's key. Another client may also have published on that topic."
            }
            Self::TooManyStatements => {
                "Attach fewer, or use `doorkey bundle` and import its file on the device."
            }
            Self::NoResult => "Omit --out.",
            Self::Refused { code, .. } => return code.map(|code| code.remedy()),
            Self::Gap { .. } => {
                "If the device no longer stores that record, start with an empty directory."
            }
            Self::Damaged(_) => "Keep it unchanged as evidence, and start with an empty directory.",
            Self::Forged(_) => {
                "Records were changed on the way or on the device. Keep both as evidence."
            }
            Self::Broker(_)
            | Self::File(_)
            | Self::BadStatements(_)
            | Self::TooLarge
            | Self::Incomplete { .. }
            | Self::WrongResult
            | Self::NoAnswer(_) => return None,
        })
    }
}

impl std::fmt::Display for ClientError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Broker(error) => error.fmt(f),
            Self::File(error) => error.fmt(f),
            Self::NoState { device, broker } => {
                write!(f, "{device} has not published its state on {broker} yet")
            }
            Self::ForeignState(device) => write!(
                f,
                "the state of {device} on the broker is not signed by its key"
            ),
            Self::BadStatements(why) => write!(f, "invalid attached statements: {why}"),
            Self::TooManyStatements => write!(
                f,
                "at most {} statements can be attached to a command",
                MAX_ITEMS - 1
            ),
            Self::TooLarge => {
                f.write_str("the command and its attached statements exceed 64 KiB together")
            }
            Self::NoResult => f.write_str(
                "this operation has no result beyond its receipt, so no file was written",
            ),
            Self::Incomplete { from, size, why } => write!(
                f,
                "the result is incomplete from byte {from} of {size}: {why}"
            ),
            Self::WrongResult => {
                f.write_str("the received bytes are not the result that the receipt describes")
            }
            Self::Refused {
                device,
                operation,
                code,
            } => {
                let why = code.map_or("no reason given", |code| code.sentence());
                write!(f, "{device} refused {operation}: {why}")
            }
            Self::NoAnswer(device) => write!(f, "{device} does not answer"),
            Self::Gap { device, record } => {
                write!(f, "{device} does not send the records from {record} on")
            }
            Self::Damaged(damage) => damage.fmt(f),
            Self::Forged(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for ClientError {}

impl From<MqttError> for ClientError {
    fn from(error: MqttError) -> Self {
        Self::Broker(error)
    }
}

impl From<FileError> for ClientError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}
