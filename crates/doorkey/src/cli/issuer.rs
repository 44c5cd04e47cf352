//! `doorkey issuer`: creates the issuer that devices trust, shows it, and manages its keys.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use crate::cli::args::{IssuerArgs, OutputArgs};
use crate::cli::broker_args::BrokerArgs;
use crate::cli::{IssuerDir, rotate};
use crate::service::Platform;
use doorward_protocol::wire::{Id, encode_issuers, format_fingerprint, hash};
use doorward_terminal::{CliError, block_on, outln, print_json, qr};
use doorward_transport::clock;
use doorward_transport::files;

pub(crate) const EXAMPLES: &str = "\
Examples:
  doorkey issuer init acme
  doorkey issuer show
  doorkey issuer rotate shares --broker mqtts://broker.example.org";

#[derive(Debug, Subcommand)]
pub(crate) enum Issuer {
    /// Create an issuer: its keys and its database
    ///
    /// Devices trust it once `doorward provision` has installed its `issuers.cwt`.
    #[command(after_long_help = "\
Examples:
  doorkey issuer init acme
  doorkey issuer init acme --issuer /var/lib/doorkey --database postgres://db.example.org/doorkey")]
    Init {
        /// Name of the platform
        name: Id,
        #[command(flatten)]
        issuer: IssuerArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Show the issuer for `doorward provision`: its fingerprint, and the issuer as text and QR code
    #[command(after_long_help = "Examples:\n  doorkey issuer show")]
    Show {
        #[command(flatten)]
        issuer: IssuerArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Encrypt the root key with a passphrase
    ///
    /// The root key is needed only to change keys. Keep a copy of keys/root.sealed in a safe place;
    /// the file may then be deleted here.
    #[command(after_long_help = "Examples:\n  doorkey issuer seal --passphrase-file passphrase")]
    Seal {
        /// File with the passphrase
        #[arg(long, value_name = "FILE")]
        passphrase_file: PathBuf,
        #[command(flatten)]
        issuer: IssuerArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Rotate keys: give roles new keys. Devices receive them from the broker or a USB drive
    #[command(after_long_help = "\
Examples:
  doorkey issuer rotate shares revocations --broker mqtts://broker.example.org
  doorkey issuer rotate root --passphrase-file passphrase")]
    Rotate {
        /// Roles: root, registry, shares, revocations or firmware
        #[arg(required = true, value_name = "ROLE")]
        roles: Vec<rotate::RoleName>,
        /// File with the passphrase of the root key, if it is encrypted
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
        #[command(flatten)]
        broker: BrokerArgs,
        #[command(flatten)]
        issuer: IssuerArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Draft the next version of the keys, for custodians to sign
    Draft(rotate::NewDraft),
    /// Sign a draft, as one of the custodians of the root key
    #[command(after_long_help = "Examples:\n  doorkey issuer cosign keys.draft --key mia.key")]
    Cosign {
        /// File with the draft; the signature is added to it
        draft: PathBuf,
        /// File with your secret key
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Adopt a draft that enough custodians have signed as the issuer's keys
    #[command(after_long_help = "\
Examples:
  doorkey issuer adopt keys.draft --broker mqtts://broker.example.org")]
    Adopt {
        /// File with the draft
        draft: PathBuf,
        #[command(flatten)]
        broker: BrokerArgs,
        #[command(flatten)]
        issuer: IssuerArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Create an emergency key for one command, to be kept in a sealed envelope
    ///
    /// The key allows every operation that can be shared. Its use is recorded in the event log and
    /// raises an alert for the owner.
    BreakGlass(rotate::BreakGlass),
}

pub(crate) fn run(command: Issuer) -> Result<ExitCode, CliError> {
    match command {
        Issuer::Init {
            name,
            issuer,
            output,
        } => init(&issuer.resolve()?, name, output.json),
        Issuer::Show { issuer, output } => show(&issuer.resolve()?, output.json),
        Issuer::Seal {
            passphrase_file,
            issuer,
            output,
        } => rotate::seal(&issuer.resolve()?, &passphrase_file, output.json),
        Issuer::Rotate {
            roles,
            passphrase_file,
            broker,
            issuer,
            output,
        } => {
            let home = issuer.resolve()?;
            let broker = home.broker(broker)?;
            let file = passphrase_file.as_deref();
            rotate::rotate(&home, &roles, file, broker, output.json)
        }
        Issuer::Draft(args) => rotate::draft(args),
        Issuer::Cosign { draft, key, output } => rotate::cosign(&draft, &key, output.json),
        Issuer::Adopt {
            draft,
            broker,
            issuer,
            output,
        } => {
            let home = issuer.resolve()?;
            let broker = home.broker(broker)?;
            rotate::adopt(&home, &draft, broker, output.json)
        }
        Issuer::BreakGlass(args) => rotate::break_glass(args),
    }
}

fn init(home: &IssuerDir, name: Id, json: bool) -> Result<ExitCode, CliError> {
    let (directory, database) = (&home.directory, home.database.as_deref());
    let created = async { Ok(Platform::init(directory, database, name, clock::system()).await?) };
    let platform = block_on(created)?;
    let file = platform.issuers_file();
    let fingerprint = hash(&files::read(&file, 1 << 20)?);
    if json {
        print_json(&json!({
            "name": platform.name().as_str(),
            "file": file.display().to_string(),
            "sha256": fingerprint.hex(),
        }));
    } else {
        outln!("issuer   {}", platform.name());
        outln!(
            "file     {} (for doorward provision --issuers)",
            file.display()
        );
        outln!("SHA-256  {}", format_fingerprint(&fingerprint.hex()));
    }
    Ok(ExitCode::SUCCESS)
}

fn show(home: &IssuerDir, json: bool) -> Result<ExitCode, CliError> {
    let platform = block_on(home.open())?;
    let bytes = files::read(&platform.issuers_file(), 1 << 20)?;
    let (fingerprint, text) = (hash(&bytes).hex(), encode_issuers(&bytes));
    if json {
        print_json(&json!({
            "name": platform.name().as_str(), "sha256": fingerprint, "text": text,
        }));
        return Ok(ExitCode::SUCCESS);
    }
    outln!("issuer   {}", platform.name());
    outln!("SHA-256  {}", format_fingerprint(&fingerprint));
    outln!("For `doorward provision`, as text and, on a terminal, as QR code:");
    outln!("{text}");
    qr::show(&text);
    Ok(ExitCode::SUCCESS)
}
