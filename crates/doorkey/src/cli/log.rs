//! `doorkey log`: collects a device's event log, and verifies a copy of it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use crate::cli::args::OutputArgs;
use crate::cli::log_collect;
use crate::cli::value_parsers::PublicHex;
use doorward_protocol::wire::{
    Bundle, Checkpoint, Envelope, KeyBytes, Kind, LogHead, PublicKey, Receipt, State,
};
use doorward_terminal::log_verify::{self, LogHeadArg};
use doorward_terminal::{CliError, exit_status};
use doorward_transport::files;

pub(crate) const EXAMPLES: &str = "\
Examples:
  doorkey log collect ups-7 --to ups-7.log --key ole.key --broker mqtts://broker.example.org
  doorkey log verify ups-7.log";

#[derive(Debug, Subcommand)]
pub(crate) enum Log {
    /// Collect a device's event log into a directory, verified record by record
    ///
    /// The device is notified of the collected records, so that it may delete them.
    Collect(Box<log_collect::Collect>),
    /// Verify a copy of an event log: no record is missing or changed
    ///
    /// The first record that is missing or changed is reported. With --head or --signed, the log is
    /// also compared with a head that was kept elsewhere.
    #[command(after_long_help = "\
Examples:
  doorkey log verify ups-7.log
  doorkey log verify ups-7.log --signed state.cwt --device-public-key ups-7.pub")]
    Verify {
        /// Copy of the device's `log` directory
        directory: PathBuf,
        /// Head to compare with, as a receipt shows it
        #[arg(long, value_name = "SIZE:HASH", conflicts_with = "signed")]
        head: Option<LogHeadArg>,
        /// File with a receipt, `state` or checkpoint of the device, which contains a head
        #[arg(long, value_name = "FILE", requires = "device_public_key")]
        signed: Option<PathBuf>,
        /// The device's public key, which must have signed that file: a *.pub file or 64
        /// hexadecimal digits
        #[arg(long, alias = "device-key", value_name = "PUBLIC_KEY")]
        device_public_key: Option<PublicHex>,
        #[command(flatten)]
        output: OutputArgs,
    },
}

pub(crate) fn run(command: Log) -> Result<ExitCode, CliError> {
    match command {
        Log::Collect(args) => log_collect::run(*args)?,
        Log::Verify {
            directory,
            head,
            signed,
            device_public_key,
            output,
        } => {
            let expected = match (signed, device_public_key) {
                (Some(file), Some(key)) => Some(head_in(&files::read(&file, 1 << 20)?, &key.0)?),
                _ => head.map(|head| head.0),
            };
            log_verify::verify(&directory, expected, output.json)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The head of the log in a signed object of the device.
fn head_in(bytes: &[u8], key: &KeyBytes) -> Result<LogHead, CliError> {
    let wrong = |why: &str| CliError::new(exit_status::DATA, why);
    let key =
        PublicKey::new(key).map_err(|error| wrong(&format!("the device's public key: {error}")))?;
    let envelope = Envelope::parse(bytes)
        .ok()
        .or_else(|| {
            Bundle::parse(bytes)
                .ok()?
                .statements
                .into_iter()
                .next()?
                .ok()
        })
        .ok_or_else(|| wrong("the file does not contain a signed object"))?;
    envelope
        .verify(&key)
        .map_err(|_| wrong("the file is not signed with this device's key"))?;
    let head = match envelope.kind {
        Kind::Receipt => envelope.claims::<Receipt>().map(|claims| claims.body.log),
        Kind::State => envelope.claims::<State>().map(|claims| claims.body.log),
        Kind::Checkpoint => envelope
            .claims::<Checkpoint>()
            .map(|claims| claims.body.log),
        _ => {
            return Err(wrong(
                "only receipts, `state` and checkpoints contain a head",
            ));
        }
    };
    head.map_err(|error| wrong(&error.to_string()))
}
