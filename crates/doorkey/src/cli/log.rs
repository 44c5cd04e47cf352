//! `doorkey log`: what a visitor, a collector or a court can check with a copy of the log.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::IssuerDir;
use crate::cli::log_collect;
use crate::cli::log_collect::Collect;
use doorward_protocol::wire::{
    Bundle, Bytes, Checkpoint, Envelope, Kind, LogHead, PublicKey, Receipt, State,
};
use doorward_terminal::log_verify::{self, LogHeadArg};
use doorward_terminal::{CliError, exit_status};
use doorward_transport::files;

#[derive(Debug, Args)]
pub(crate) struct Log {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Keep a device's log in a directory here, checked record by record, and tell the device
    /// what is kept, so that it may make room.
    #[command(mut_arg("broker", |broker| broker.required(true)))]
    Collect(Collect),
    /// Check that no record is missing or changed, name the first that is, and compare the log
    /// with a head that somebody remembers.
    Verify {
        /// A copy of the device's `log` directory.
        directory: PathBuf,
        /// The head, as a receipt shows it.
        #[arg(long, value_name = "SIZE:HASH", conflicts_with = "signed")]
        head: Option<LogHeadArg>,
        /// A receipt, `state` or checkpoint of the device, which holds a head.
        #[arg(long, value_name = "FILE", requires = "device_key")]
        signed: Option<PathBuf>,
        /// The device's key, 64 hexadecimal digits, which must have signed it.
        #[arg(long, value_name = "KEY")]
        device_key: Option<String>,
    },
}

pub(crate) fn run(home: &IssuerDir, log: Log, json: bool) -> Result<(), CliError> {
    match log.what {
        What::Collect(args) => log_collect::run(home, args, json),
        What::Verify {
            directory,
            head,
            signed,
            device_key,
        } => {
            let remembered = match (signed, device_key) {
                (Some(file), Some(key)) => Some(head_in(&files::read(&file, 1 << 20)?, &key)?),
                _ => head.map(|head| head.0),
            };
            log_verify::verify(&directory, remembered, json)
        }
    }
}

fn head_in(bytes: &[u8], key: &str) -> Result<LogHead, CliError> {
    let wrong = |why: &str| CliError::new(exit_status::DATA, why);
    let key = Bytes::from_hex(key)
        .and_then(|bytes| PublicKey::new(&bytes).ok())
        .ok_or_else(|| wrong("a device key is 64 hexadecimal digits"))?;
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
        .ok_or_else(|| wrong("the file does not hold a signed object"))?;
    envelope
        .verify(&key)
        .map_err(|_| wrong("it is not signed with this device's key"))?;
    let head = match envelope.kind {
        Kind::Receipt => envelope.claims::<Receipt>().map(|claims| claims.body.log),
        Kind::State => envelope.claims::<State>().map(|claims| claims.body.log),
        Kind::Checkpoint => envelope
            .claims::<Checkpoint>()
            .map(|claims| claims.body.log),
        _ => return Err(wrong("only receipts, `state` and checkpoints hold a head")),
    };
    head.map_err(|error| wrong(&error.to_string()))
}
