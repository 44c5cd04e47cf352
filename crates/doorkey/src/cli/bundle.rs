//! `doorkey bundle`: all that a device should know, for a stick.

use doorward_terminal::outln;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use crate::cli::{IssuerDir, not_registered};
use doorward_protocol::wire::Id;
use doorward_terminal::{CliError, block_on, print_json};
use doorward_transport::files;

#[derive(Debug, clap::Args)]
pub(crate) struct Carry {
    /// The device's id.
    device: Id,
    /// The file to write: what `doorward import` takes at the device.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(crate) fn run(home: &IssuerDir, args: &Carry, json: bool) -> Result<ExitCode, CliError> {
    let Carry { device, out } = args;
    let statements = block_on(async {
        let platform = home.open().await?;
        if platform.device(device).await?.is_none() {
            return Err(not_registered(device));
        }
        Ok(platform.statements(device).await?)
    })?;
    files::replace(out, &statements.concat(), 0o644)?;
    let count = statements.len();
    if json {
        print_json(&json!({"file": out.display().to_string(), "statements": count}));
    } else {
        outln!("{count} statements for {device} are in {}", out.display());
        outln!("At the device: doorward import {}", out.display());
    }
    Ok(ExitCode::SUCCESS)
}
