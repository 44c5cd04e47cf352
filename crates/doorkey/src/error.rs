//! Errors of the use cases, and their exit codes on the command line.

use doorward_client::ClientError;
use doorward_protocol::wire::{Audience, WireError};
use doorward_terminal::{CliError, exit_status};
use doorward_transport::files::FileError;

use crate::domain::Refusal;

/// Why a use case failed.
#[derive(Debug)]
pub enum IssuerError {
    /// A file could not be read or written.
    File(FileError),
    /// A rule of sharing forbids it.
    Refused(Refusal),
    /// Another reason, as a sentence that includes the remedy.
    Rule(String),
    /// The database could not be used.
    Ledger(sqlx::Error),
}

impl std::fmt::Display for IssuerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(error) => error.fmt(f),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Rule(sentence) => f.write_str(sentence),
            Self::Ledger(error) => write!(f, "cannot use the database: {error}"),
        }
    }
}

impl std::error::Error for IssuerError {}

impl From<FileError> for IssuerError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

impl From<sqlx::Error> for IssuerError {
    fn from(error: sqlx::Error) -> Self {
        Self::Ledger(error)
    }
}

impl From<WireError> for IssuerError {
    fn from(error: WireError) -> Self {
        Self::Rule(format!("This statement cannot be signed: {error}."))
    }
}

impl From<Refusal> for IssuerError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// The result for each audience.
pub type PerAudience<T> = Vec<(Audience, Result<T, IssuerError>)>;

impl From<IssuerError> for CliError {
    fn from(error: IssuerError) -> Self {
        match error {
            IssuerError::File(error) => error.into(),
            IssuerError::Refused(refusal) => {
                let why = format!("{} ({})", refusal.why, refusal.rule.name());
                Self::new(exit_status::DENIED, why).with_remedy(refusal.rule.remedy())
            }
            IssuerError::Ledger(_) => Self::new(exit_status::IO, error),
            IssuerError::Rule(_) => Self::new(exit_status::DENIED, error),
        }
    }
}

/// Converts an error of the client library. (A `From` impl cannot be written here: both types
/// belong to other crates.)
pub(crate) fn client_error(error: ClientError) -> CliError {
    let exit = match &error {
        ClientError::Broker(_)
        | ClientError::NoState { .. }
        | ClientError::Incomplete { .. }
        | ClientError::NoAnswer(_) => exit_status::UNAVAILABLE,
        ClientError::File(_) => exit_status::IO,
        ClientError::Refused { .. } => exit_status::DENIED,
        ClientError::ForeignState(_)
        | ClientError::BadStatements(_)
        | ClientError::TooManyStatements
        | ClientError::TooLarge
        | ClientError::NoResult
        | ClientError::WrongResult
        | ClientError::Gap { .. }
        | ClientError::Damaged(_)
        | ClientError::Forged(_) => exit_status::DATA,
    };
    let remedy = error.remedy().unwrap_or_default();
    CliError::new(exit, error).with_remedy(remedy)
}
