//! `doorkey release`: an image that devices may install.

use doorward_terminal::outln;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use crate::cli::IssuerDir;
use crate::cli::broker_args;
use crate::cli::broker_args::BrokerArgs;
use crate::service::NewRelease;
use doorward_protocol::wire::{Audience, Id, Text};
use doorward_terminal::{CliError, block_on, print_json};
use doorward_transport::clock;
use doorward_transport::files;
use doorward_transport::files::Doing;

#[derive(Debug, clap::Args)]
pub(crate) struct Release {
    /// The image, as the updater of the device takes it.
    image: PathBuf,
    /// The model of device that it is for, as it was registered.
    #[arg(long)]
    model: Text,
    /// Its number: devices go up only.
    #[arg(long, value_name = "NUMBER")]
    number: u32,
    /// The lowest number that it can be installed over.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    minimum: u32,
    /// Who made it.
    #[arg(long, default_value = "vendor")]
    vendor: Id,
    /// A file to write the statement to, to be carried along.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Devices, or site:NAME, that are told of it by the broker.
    #[arg(long = "for", value_name = "DEVICE", requires = "broker")]
    audiences: Vec<Audience>,
    #[command(flatten)]
    broker: BrokerArgs,
}

pub(crate) fn run(home: &IssuerDir, args: Release, json: bool) -> Result<ExitCode, CliError> {
    let (size, sha256) = files::measure(&args.image).doing("read", &args.image)?;
    let new = NewRelease {
        vendor: args.vendor,
        model: args.model,
        version: args.number,
        minimum: args.minimum,
        size,
        sha256,
    };
    let broker = args.broker.broker();
    let ((release, bytes), published) = block_on(async {
        let platform = home.open().await?;
        let signed = platform
            .release(new, &args.audiences, clock::system())
            .await?;
        let published = broker_args::send_all(&platform, broker).await?;
        Ok((signed, if published { args.audiences.len() } else { 0 }))
    })?;
    if let Some(out) = &args.out {
        files::replace(out, &bytes, 0o644)?;
    }
    let body = &release.body;
    if json {
        print_json(&json!({
            "model": body.model.as_str(), "version": body.version, "size": body.size,
            "sha256": body.sha256.hex(), "published": published,
        }));
    } else {
        outln!(
            "version {} of {} may be installed over {} and later",
            body.version,
            body.model,
            body.minimum
        );
        outln!("SHA-256  {}", body.sha256);
        outln!(
            "told     {published} of {} by the broker",
            args.audiences.len()
        );
    }
    Ok(ExitCode::SUCCESS)
}
