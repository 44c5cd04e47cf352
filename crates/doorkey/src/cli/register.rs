//! `doorkey register`: registers a device to an owner.

use std::process::ExitCode;

use serde_json::json;

use crate::cli::args::{IssuerArgs, OutputArgs};
use crate::cli::broker_args::{self, BrokerArgs};
use crate::cli::published_text;
use crate::cli::value_parsers::{DeviceArg, DurationArg, PublicHex, TimeArg};
use crate::domain::NewRegistration;
use doorward_protocol::wire::{Id, Plan, Text};
use doorward_terminal::{CliError, block_on, exit_status, outln, print_json};
use doorward_transport::clock;

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  doorkey register CLAIM --owner ole --owner-public-key ole.pub --broker mqtts://broker.example.org
  doorkey register ups-7 --device-public-key ups-7.pub --owner ole --owner-public-key ole.pub
  doorkey register CLAIM --owner ole --owner-public-key ole.pub --plan standard --plan-for 365d

CLAIM is the text that `doorward provision` printed.")]
pub(crate) struct Register {
    /// The claim that `doorward provision` printed, which contains the device's key; or its id
    device: DeviceArg,
    /// The device's public key, if no claim is given: a *.pub file or 64 hexadecimal digits
    #[arg(long, alias = "device-key", value_name = "PUBLIC_KEY")]
    device_public_key: Option<PublicHex>,
    /// The owner's account
    #[arg(long, value_name = "ACCOUNT")]
    owner: Id,
    /// The owner's public key: a *.pub file or 64 hexadecimal digits
    #[arg(long, alias = "owner-key", value_name = "PUBLIC_KEY")]
    owner_public_key: PublicHex,
    /// Model of the device, which releases and people refer to
    #[arg(long, value_name = "TEXT", default_value = "unknown")]
    model: Text,
    /// Region of the platform
    #[arg(long, value_name = "REGION", default_value = "eu")]
    region: Id,
    /// Site that the device belongs to
    #[arg(long, value_name = "SITE")]
    site: Option<Id>,
    /// Plan: basic, standard or advanced
    #[arg(long, value_name = "PLAN", default_value = "advanced")]
    plan: Id,
    /// End of the plan: a date or time like 2027-01-31 or 2027-01-31T18:00:00Z
    #[arg(
        long,
        alias = "plan-end",
        value_name = "TIME",
        conflicts_with = "plan_for"
    )]
    plan_until: Option<TimeArg>,
    /// Duration of the plan from now, like 30d
    #[arg(long, value_name = "DURATION")]
    plan_for: Option<DurationArg>,
    /// Mark the device as a demonstration device, which cannot be shared
    #[arg(long)]
    demo: bool,
    #[command(flatten)]
    broker: BrokerArgs,
    #[command(flatten)]
    issuer: IssuerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) fn run(args: Register) -> Result<ExitCode, CliError> {
    let now = clock::system();
    let usage = |why: &str| CliError::new(exit_status::USAGE, why);
    let (device, device_key) = match (args.device, args.device_public_key) {
        (DeviceArg::Claim(claim), None) => (claim.device, claim.key),
        (DeviceArg::Id(device), Some(key)) => (device, key.0),
        (DeviceArg::Id(_), None) => {
            return Err(usage("the device's public key is missing").with_remedy(
                "Give the claim that `doorward provision` printed, or --device-public-key.",
            ));
        }
        (DeviceArg::Claim(_), Some(_)) => {
            return Err(usage("the claim contains the device's public key already")
                .with_remedy("Leave out --device-public-key."));
        }
    };
    let until = args.plan_until.map(|until| until.0);
    let new = NewRegistration {
        device,
        device_key,
        owner: args.owner,
        owner_key: args.owner_public_key.0,
        model: args.model,
        region: args.region,
        site: args.site,
        plan: Plan {
            name: args.plan,
            end: until.or_else(|| args.plan_for.map(|duration| now.plus(duration.0))),
        },
        demo: args.demo,
    };
    let home = args.issuer.resolve()?;
    let broker = home.broker(args.broker)?;
    let (device, published) = block_on(async {
        let platform = home.open().await?;
        let device = platform.register(new, now).await?;
        Ok((device, broker_args::send_all(&platform, broker).await?))
    })?;
    if args.output.json {
        print_json(&json!({
            "device": device.id.as_str(), "seq": device.seq, "published": published,
        }));
    } else {
        outln!(
            "{} is registered to {} on the {} plan{}",
            device.id,
            device.owner,
            device.plan.name,
            published_text(published)
        );
    }
    Ok(ExitCode::SUCCESS)
}
