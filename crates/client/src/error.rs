//! Why a command could not be sent, or its answer not be used.

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
    /// The statements to bring along are not a CBOR sequence of envelopes.
    BadStatements(&'static str),
    /// More statements than one bundle may hold.
    TooManyStatements,
    /// Statements and command are larger than one bundle may be.
    TooLarge,
    /// The receipt names no large result.
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
    /// A large result is not the one that the receipt has signed for.
    WrongResult,
    /// The device denied what was asked, or failed.
    Refused {
        /// The device.
        device: Id,
        /// The operation.
        operation: &'static str,
        /// The code of its receipt, if this program knows it.
        code: Option<Code>,
    },
    /// The device does not answer.
    NoAnswer(Id),
    /// The device no longer sends what follows a record.
    Gap {
        /// The device.
        device: Id,
        /// Sequence number of the missing record.
        record: u64,
    },
    /// The copy of an event log is damaged.
    Damaged(Damage),
    /// A record does not fit to the ones before it, or to what the device has signed.
    Forged(String),
}

impl ClientError {
    /// What to do next, if that is known.
    #[must_use]
    pub fn remedy(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoState { .. } => {
                "Check the device's id and broker, and that its daemon has run once."
            }
            Self::ForeignState(_) => {
                "Another client may be publishing there, or the device's key is not this one."
            }
            Self::TooManyStatements => {
                "Carry fewer, or write them into a file with `doorkey bundle` and import that on the device."
            }
            Self::NoResult => "Leave out --out.",
            Self::Refused { code, .. } => return code.map(|code| code.remedy()),
            Self::Gap { .. } => {
                "If the device no longer keeps that record, start with an empty directory."
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
            Self::BadStatements(why) => write!(f, "the statements to carry: {why}"),
            Self::TooManyStatements => {
                write!(f, "a command carries at most {} statements", MAX_ITEMS - 1)
            }
            Self::TooLarge => {
                f.write_str("the statements to carry and the command exceed 64 KiB together")
            }
            Self::NoResult => f.write_str(
                "this operation has no result beyond its receipt, so no file was written",
            ),
            Self::Incomplete { from, size, why } => write!(
                f,
                "the result is incomplete from byte {from} of {size}: {why}"
            ),
            Self::WrongResult => {
                f.write_str("the result is not the one that the device's receipt describes")
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
