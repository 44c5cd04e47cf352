//! `doorkey bundle`: all that a device should know, for a stick.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use super::super::{Failure, block_on, print_json};
use super::{Home, not_registered};
use crate::files;
use crate::wire::Id;

#[derive(Debug, clap::Args)]
pub(super) struct Carry {
    /// The device's id.
    device: Id,
    /// The file to write: what `doorward import` takes at the device.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(super) fn run(home: &Home, args: &Carry, json: bool) -> Result<ExitCode, Failure> {
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
        println!("{count} statements for {device} are in {}", out.display());
        println!("At the device: doorward import {}", out.display());
    }
    Ok(ExitCode::SUCCESS)
}
