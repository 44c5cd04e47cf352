//! Shared by the command lines of doorward: exit statuses, error messages, output that tolerates a
//! closed pipe, colours, and QR codes.
#![allow(
    clippy::print_stderr,
    reason = "this crate prints for the command lines"
)]

mod error;
pub mod log_verify;
pub mod output;
pub mod qr;
pub mod style;

pub use error::{CliError, exit_status, exit_with};
pub use output::print_json;

/// Runs the asynchronous part of a command on one thread.
///
/// # Errors
/// The error of `work`, or the operating system's if no runtime can be started.
pub fn block_on<T>(work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::new(exit_status::IO, error))?
        .block_on(work)
}
