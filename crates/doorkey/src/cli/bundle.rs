//! `doorkey bundle`: all statements for a device in one file, such as for a USB drive.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use crate::cli::args::{IssuerArgs, OutputArgs};
use crate::cli::not_registered;
use doorward_protocol::wire::Id;
use doorward_terminal::{CliError, block_on, outln, print_json};
use doorward_transport::files;

#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:\n  doorkey bundle ups-7 --out /media/usb/ups-7.bundle")]
pub(crate) struct BundleArgs {
    /// Id of the device
    device: Id,
    /// File to write; `doorward import` reads it on the device
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    issuer: IssuerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) fn run(args: BundleArgs) -> Result<ExitCode, CliError> {
    let home = args.issuer.resolve()?;
    let (device, out) = (&args.device, &args.out);
    let statements = block_on(async {
        let platform = home.open().await?;
        if platform.device(device).await?.is_none() {
            return Err(not_registered(device));
        }
        Ok(platform.statements(device).await?)
    })?;
    files::replace(out, &statements.concat(), 0o644)?;
    let count = statements.len();
    if args.output.json {
        print_json(&json!({"file": out.display().to_string(), "statements": count}));
    } else {
        outln!("{count} statements for {device} are in {}", out.display());
        outln!("On the device, run: doorward import {}", out.display());
    }
    Ok(ExitCode::SUCCESS)
}
