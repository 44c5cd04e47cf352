//! Errors of a command, and exit statuses.

use std::process::ExitCode;

use doorward_transport::MqttError;
use doorward_transport::files::FileError;

use crate::{output, style};

/// Exit statuses, from sysexits.h where it has one.
pub mod exit_status {
    /// The command line is wrong.
    pub const USAGE: u8 = 64;
    /// The data is wrong.
    pub const DATA: u8 = 65;
    /// A service is not available, or did not respond.
    pub const UNAVAILABLE: u8 = 69;
    /// A file cannot be used.
    pub const IO: u8 = 74;
    /// The outcome is not known.
    pub const UNKNOWN: u8 = 75;
    /// The device, or a rule, denies the command.
    pub const DENIED: u8 = 77;
    /// The configuration is wrong.
    pub const CONFIG: u8 = 78;
    /// The operation ran and failed.
    pub const FAILED: u8 = 1;
}

/// Why a command failed: the message, the remedy, and the exit status.
#[derive(Debug)]
pub struct CliError {
    /// What failed, with which value.
    pub message: String,
    /// What to do next, if that is known.
    pub remedy: Option<String>,
    /// One of [`exit_status`].
    pub exit: u8,
}

impl CliError {
    /// An error without a remedy.
    pub fn new(exit: u8, message: impl std::fmt::Display) -> Self {
        Self {
            message: message.to_string(),
            remedy: None,
            exit,
        }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

impl From<FileError> for CliError {
    fn from(error: FileError) -> Self {
        Self::new(exit_status::IO, error)
    }
}

impl From<MqttError> for CliError {
    fn from(error: MqttError) -> Self {
        // Its text already contains the remedy.
        Self::new(exit_status::UNAVAILABLE, error)
    }
}

/// Prints the error of a command, if it failed, and returns the program's exit status.
#[must_use]
pub fn exit_with(result: Result<ExitCode, CliError>) -> ExitCode {
    let code = match result {
        Ok(code) => code,
        Err(error) => {
            anstream::eprintln!("{} {}", style::bold_red("error:"), error.message);
            if let Some(remedy) = error.remedy.filter(|remedy| !remedy.is_empty()) {
                anstream::eprintln!("       {remedy}");
            }
            ExitCode::from(error.exit)
        }
    };
    match output::failure() {
        Some(error) => {
            anstream::eprintln!(
                "{} cannot write the output: {error}",
                style::bold_red("error:")
            );
            ExitCode::from(exit_status::IO)
        }
        None => code,
    }
}
