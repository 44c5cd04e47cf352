//! The issuer that devices pin: made, and shown to whoever provisions them.

use doorward_terminal::outln;
use std::process::ExitCode;

use serde_json::json;

use crate::cli::IssuerDir;
use crate::service::Platform;
use doorward_protocol::wire::{Id, encode_issuers, format_fingerprint, hash};
use doorward_terminal::{CliError, block_on, print_json, qr};
use doorward_transport::clock;
use doorward_transport::files;

pub(crate) fn init(home: &IssuerDir, name: Id, json: bool) -> Result<ExitCode, CliError> {
    let (directory, ledger) = (&home.directory, home.ledger.as_deref());
    let made = async { Ok(Platform::init(directory, ledger, name, clock::system()).await?) };
    let platform = block_on(made)?;
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
        outln!("devices  pin {}", file.display());
        outln!("SHA-256  {}", format_fingerprint(&fingerprint.hex()));
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn show(home: &IssuerDir, json: bool) -> Result<ExitCode, CliError> {
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
