//! The issuer that devices pin: made, and shown to whoever provisions them.

use std::process::ExitCode;

use serde_json::json;

use super::Home;
use crate::cli::{Failure, block_on, print_json, qr};
use crate::clock;
use crate::files;
use crate::issuer::Platform;
use crate::wire::{Id, grouped, hash, print_issuers};

pub(super) fn init(home: &Home, name: Id, json: bool) -> Result<ExitCode, Failure> {
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
        println!("issuer   {}", platform.name());
        println!("devices  pin {}", file.display());
        println!("SHA-256  {}", grouped(&fingerprint.hex()));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn show(home: &Home, json: bool) -> Result<ExitCode, Failure> {
    let platform = block_on(home.open())?;
    let bytes = files::read(&platform.issuers_file(), 1 << 20)?;
    let (fingerprint, text) = (hash(&bytes).hex(), print_issuers(&bytes));
    if json {
        print_json(&json!({
            "name": platform.name().as_str(), "sha256": fingerprint, "text": text,
        }));
        return Ok(ExitCode::SUCCESS);
    }
    println!("issuer   {}", platform.name());
    println!("SHA-256  {}", grouped(&fingerprint));
    println!("For `doorward provision`, as text and, on a terminal, as QR code:");
    println!("{text}");
    qr::show(&text);
    Ok(ExitCode::SUCCESS)
}
