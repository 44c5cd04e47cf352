//! The commands of the two programs. Only this room prints.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is what people read"
)]

#[cfg(feature = "demo")]
mod demo;
#[cfg(feature = "device")]
mod device_status;
#[cfg(feature = "device")]
mod doctor;
#[cfg(feature = "issuer")]
pub mod doorkey;
#[cfg(feature = "device")]
pub mod doorward;
#[cfg(feature = "device")]
mod events;
#[cfg(feature = "device")]
mod export;
#[cfg(feature = "issuer")]
mod hearing;
#[cfg(feature = "device")]
mod import;
#[cfg(feature = "issuer")]
mod inspect;
mod log_check;
#[cfg(feature = "device")]
mod openmetrics;
mod paint;
#[cfg(feature = "device")]
mod provision;
mod qr;
#[cfg(feature = "device")]
mod reset;
#[cfg(feature = "issuer")]
pub mod send;
#[cfg(feature = "device")]
mod validate;

use std::process::ExitCode;

/// Exit statuses, from sysexits where it has one.
pub mod status {
    /// The command line is wrong.
    pub const USAGE: u8 = 64;
    /// The data is wrong.
    pub const DATA: u8 = 65;
    /// A service is not there, or did not answer.
    pub const UNAVAILABLE: u8 = 69;
    /// A file cannot be used.
    pub const IO: u8 = 74;
    /// The outcome is not known.
    pub const UNKNOWN: u8 = 75;
    /// The device, or a rule, says no.
    pub const DENIED: u8 = 77;
    /// The configuration is wrong.
    pub const CONFIG: u8 = 78;
    /// The operation ran and failed.
    pub const FAILED: u8 = 1;
}

/// Why a command could not do its work: what happened, what to do, how to exit.
#[derive(Debug)]
pub struct Failure {
    /// What happened.
    pub message: String,
    /// What to do about it, if there is something.
    pub remedy: Option<String>,
    /// One of [`status`].
    pub exit: u8,
}

impl Failure {
    fn new(exit: u8, message: impl std::fmt::Display) -> Self {
        Self {
            message: message.to_string(),
            remedy: None,
            exit,
        }
    }

    fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

impl From<crate::files::FileError> for Failure {
    fn from(error: crate::files::FileError) -> Self {
        Self::new(status::IO, error)
    }
}

#[cfg(feature = "issuer")]
impl From<crate::link::caller::CallError> for Failure {
    fn from(error: crate::link::caller::CallError) -> Self {
        // It says itself what to do.
        Self::new(status::UNAVAILABLE, error)
    }
}

#[cfg(feature = "issuer")]
impl From<crate::issuer::IssuerError> for Failure {
    fn from(error: crate::issuer::IssuerError) -> Self {
        match error {
            crate::issuer::IssuerError::File(error) => error.into(),
            crate::issuer::IssuerError::Refused(refusal) => {
                let why = format!("{} ({})", refusal.why, refusal.rule.name());
                Self::new(status::DENIED, why).with_remedy(refusal.rule.remedy())
            }
            crate::issuer::IssuerError::Ledger(_) => Self::new(status::IO, error),
            crate::issuer::IssuerError::Rule(_) => Self::new(status::DENIED, error),
        }
    }
}

#[cfg(feature = "issuer")]
impl From<crate::service::post::PostError> for Failure {
    fn from(error: crate::service::post::PostError) -> Self {
        match error {
            crate::service::post::PostError::Issuer(error) => error.into(),
            crate::service::post::PostError::Broker(error) => error.into(),
        }
    }
}

/// Ends the program with what a command came to.
#[must_use]
pub fn conclude(result: Result<ExitCode, Failure>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("{} {}", paint::bad_on_stderr("error:"), failure.message);
            if let Some(remedy) = &failure.remedy {
                eprintln!("       {remedy}");
            }
            ExitCode::from(failure.exit)
        }
    }
}

/// Runs the asynchronous part of a command on one thread.
fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(status::IO, error))?
        .block_on(work)
}

#[cfg(feature = "issuer")]
fn print_json(value: &serde_json::Value) {
    println!("{value:#}");
}
