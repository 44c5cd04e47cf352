//! `doorkey release`: an image that devices may install.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;

use super::broker::{self, BrokerArgs};
use crate::cli::{Failure, print_json};
use crate::clock;
use crate::files::{self, Doing};
use crate::issuer::{NewRelease, Platform};
use crate::link::topics;
use crate::wire::{Audience, Id, Kind, Text};

#[derive(Debug, clap::Args)]
pub(super) struct Release {
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

pub(super) fn run(directory: &Path, args: Release, json: bool) -> Result<ExitCode, Failure> {
    let platform = Platform::open(directory)?;
    let (size, sha256) = files::measure(&args.image).doing("read", &args.image)?;
    let new = NewRelease {
        vendor: args.vendor,
        model: args.model,
        version: args.number,
        minimum: args.minimum,
        size,
        sha256,
    };
    let (release, bytes) = platform.release(new, clock::system())?;
    if let Some(out) = &args.out {
        files::replace(out, &bytes, 0o644)?;
    }
    let broker = args.broker.broker();
    let mut published = 0;
    for audience in &args.audiences {
        // One of each model: a device that is offline for long needs the newest only.
        let topic = topics::statement(audience, Kind::Release, None);
        published += usize::from(broker::publish(broker.clone(), topic, &bytes)?);
    }
    let body = &release.body;
    if json {
        print_json(&json!({
            "model": body.model.as_str(), "version": body.version, "size": body.size,
            "sha256": body.sha256.hex(), "published": published,
        }));
    } else {
        println!(
            "version {} of {} may be installed over {} and later",
            body.version, body.model, body.minimum
        );
        println!("SHA-256  {}", body.sha256);
        println!(
            "told     {published} of {} by the broker",
            args.audiences.len()
        );
    }
    Ok(ExitCode::SUCCESS)
}
