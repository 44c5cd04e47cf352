//! `doorkey bundle`: all that a device should know, for a stick.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;

use super::super::{Failure, print_json, status};
use crate::clock;
use crate::files;
use crate::issuer::Platform;
use crate::wire::Id;

#[derive(Debug, clap::Args)]
pub(super) struct Carry {
    /// The device's id.
    device: Id,
    /// The file to write: what `doorward import` takes at the device.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(super) fn run(directory: &Path, args: &Carry, json: bool) -> Result<ExitCode, Failure> {
    let platform = Platform::open(directory)?;
    let Carry { device, out } = args;
    if platform.device(device)?.is_none() {
        return Err(
            Failure::new(status::DATA, format!("{device} is not registered here"))
                .with_remedy("Check its id, and --issuer."),
        );
    }
    let statements = platform.statements(device, clock::system())?;
    files::replace(out, &statements.concat(), 0o644)?;
    let count = statements.len();
    if json {
        print_json(&json!({"file": out.display().to_string(), "statements": count}));
    } else {
        println!("{count} statements for {device} are in {}", out.display());
        println!("At the device: doorward import {}", out.display());
    }
    Ok(ExitCode::SUCCESS)
}
