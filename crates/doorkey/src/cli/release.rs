//! `doorkey release`: releases a firmware image that devices may install.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use crate::cli::args::{IssuerArgs, OutputArgs};
use crate::cli::broker_args::{self, BrokerArgs};
use crate::service::NewRelease;
use doorward_protocol::wire::{Audience, Id, Text};
use doorward_terminal::{CliError, block_on, exit_status, outln, print_json};
use doorward_transport::clock;
use doorward_transport::files;
use doorward_transport::files::Doing;

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  doorkey release image.raucb --model model-1 --number 8 --out release.cwt
  doorkey release image.raucb --model model-1 --number 8 --minimum 5 --device ups-7 --device site:depot \
--broker mqtts://broker.example.org")]
pub(crate) struct Release {
    /// The image, in the format of the device's updater
    image: PathBuf,
    /// Model of device that it is for, as registered
    #[arg(long, value_name = "TEXT")]
    model: Text,
    /// Version number of the image; devices install only higher numbers than the last
    #[arg(long, value_name = "NUMBER")]
    number: u32,
    /// Lowest version number that it can be installed over
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    minimum: u32,
    /// Name of the vendor
    #[arg(long, value_name = "NAME", default_value = "vendor")]
    vendor: Id,
    /// File to write the signed release to
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Devices, or site:NAME, that the release is published for; may be repeated
    #[arg(long = "device", value_name = "DEVICE")]
    audiences: Vec<Audience>,
    #[command(flatten)]
    broker: BrokerArgs,
    #[command(flatten)]
    issuer: IssuerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) fn run(args: Release) -> Result<ExitCode, CliError> {
    let home = args.issuer.resolve()?;
    let broker = home.broker(args.broker)?;
    if !args.audiences.is_empty() && broker.is_none() {
        let why = "--device needs a broker to publish on, and none is given";
        return Err(CliError::new(exit_status::USAGE, why).with_remedy("Give --broker URL."));
    }
    let (size, sha256) = files::measure(&args.image).doing("read", &args.image)?;
    let new = NewRelease {
        vendor: args.vendor,
        model: args.model,
        version: args.number,
        minimum: args.minimum,
        size,
        sha256,
    };
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
    if args.output.json {
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
        match (published, &args.out) {
            (0, None) => outln!("It was not published: give --device and --broker, or --out FILE."),
            (0, Some(out)) => outln!("file     {}", out.display()),
            _ => outln!("published for {published} devices and sites"),
        }
    }
    Ok(ExitCode::SUCCESS)
}
