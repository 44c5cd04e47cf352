//! Commands that change accounts, shares, plans, claims and owners in the database.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use crate::cli::args::{IssuerArgs, OutputArgs};
use crate::cli::broker_args::{self, BrokerArgs};
use crate::cli::value_parsers::{DeviceArg, DurationArg, IdPrefix, PublicHex, TimeArg};
use crate::cli::{ids, published_text};
use crate::domain::{Account, AccountRole, Actor, Email, supported_language};
use crate::service::Platform;
use doorward_protocol::wire::{Audience, Id, Plan, Timestamp};
use doorward_terminal::{CliError, block_on, exit_status, outln, print_json};
use doorward_transport::clock;

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  doorkey account anna --public-key anna.pub --email anna@example.org
  doorkey account otto --public-key otto.pub --role operator")]
pub(crate) struct NewAccount {
    /// Name of the account
    account: Id,
    /// E-mail address that messages are sent to
    #[arg(long, value_name = "ADDRESS")]
    email: Option<Email>,
    /// The account's public key: a *.pub file or 64 hexadecimal digits
    #[arg(long, value_name = "PUBLIC_KEY")]
    public_key: PublicHex,
    /// Role: user, facility_admin, group_admin, holder or operator
    #[arg(long, value_name = "ROLE", default_value = "user")]
    role: AccountRole,
    /// Enterprise that it belongs to [default: the account's name]
    #[arg(long, value_name = "NAME")]
    enterprise: Option<Id>,
    /// Region of the platform
    #[arg(long, value_name = "REGION", default_value = "eu")]
    region: Id,
    /// Language of messages: en, de or fr
    #[arg(long, value_name = "LANGUAGE", default_value = "en")]
    language: String,
    #[command(flatten)]
    issuer: IssuerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) fn account(args: NewAccount) -> Result<ExitCode, CliError> {
    let home = args.issuer.resolve()?;
    let account = Account {
        enterprise: args.enterprise.unwrap_or_else(|| args.account.clone()),
        id: args.account,
        email: args.email,
        key: args.public_key.0,
        role: args.role,
        region: args.region,
        language: supported_language(&args.language).to_owned(),
        made: clock::system(),
    };
    block_on(async { Ok(home.open().await?.add_account(&account).await?) })?;
    match args.output.json {
        true => print_json(&json!({ "account": account.id.as_str(), "role": account.role.name() })),
        false => outln!(
            "the account {} is created, with the role {}",
            account.id,
            account.role.name()
        ),
    }
    Ok(ExitCode::SUCCESS)
}

/// Options of a command whose statements are published at once if there is a broker.
#[derive(Debug, clap::Args)]
pub(crate) struct PublishArgs {
    #[command(flatten)]
    broker: BrokerArgs,
    #[command(flatten)]
    issuer: IssuerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Change {
    /// Extend a share: move its end to a later time
    Extend(Extend),
    /// Add a device to a share: share it with the same recipient, permissions and end
    #[command(after_long_help = "\
Examples:
  doorkey add-device 3f0a ups-9 --broker mqtts://broker.example.org")]
    AddDevice {
        /// Id of the share, or its first digits
        share: IdPrefix,
        /// Id of the device, or site:NAME
        device: Audience,
        #[command(flatten)]
        options: PublishArgs,
    },
    /// Change the plan of a device
    ///
    /// Shares are kept; operations outside the plan are suspended until it is upgraded.
    #[command(after_long_help = "\
Examples:
  doorkey plan ups-7 basic
  doorkey plan ups-7 advanced --for 365d --broker mqtts://broker.example.org")]
    Plan {
        /// Id of the device
        device: Id,
        /// Plan: basic, standard or advanced
        plan: Id,
        /// End of the plan: a date or time like 2027-01-31 [default: none]
        #[arg(long, value_name = "TIME", conflicts_with = "duration")]
        until: Option<TimeArg>,
        /// Duration of the plan from now, like 30d
        #[arg(long = "for", value_name = "DURATION")]
        duration: Option<DurationArg>,
        #[command(flatten)]
        options: PublishArgs,
    },
    /// Transfer a device to another owner; all earlier shares end
    #[command(after_long_help = "\
Examples:
  doorkey hand-over ups-7 --to mia --broker mqtts://broker.example.org")]
    HandOver {
        /// Id of the device
        device: Id,
        /// Account of the new owner
        #[arg(long, value_name = "ACCOUNT")]
        to: Id,
        #[command(flatten)]
        options: PublishArgs,
    },
    /// Delete a device from the database; first send it `device.delete`
    #[command(after_long_help = "Examples:\n  doorkey forget ups-7")]
    Forget {
        /// Id of the device
        device: Id,
        #[command(flatten)]
        options: PublishArgs,
    },
    /// Store the claim of a device that will be sold: the first account that shows it becomes owner
    #[command(after_long_help = "\
Examples:
  doorkey claim CLAIM
  doorkey claim ups-7 -

CLAIM is the text that `doorward provision` printed.")]
    Claim {
        /// The claim that `doorward provision` printed, or the device's id
        device: DeviceArg,
        /// With an id, the secret; - for standard input
        secret: Option<String>,
        #[command(flatten)]
        issuer: IssuerArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Allow an account to approve requests for a site
    #[command(after_long_help = "Examples:\n  doorkey entrust depot --to mia")]
    Entrust {
        /// Id of the site
        site: Id,
        /// Account that becomes an administrator of the site
        #[arg(long, value_name = "ACCOUNT")]
        to: Id,
        #[command(flatten)]
        issuer: IssuerArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
}

#[derive(Debug, clap::Args)]
#[command(
    group(clap::ArgGroup::new("extension").required(true).args(["until", "duration", "by"])),
    after_long_help = "\
Examples:
  doorkey extend 3f0a --for 7d --broker mqtts://broker.example.org
  doorkey extend 3f0a --until 2027-01-31"
)]
pub(crate) struct Extend {
    #[command(flatten)]
    change: Extension,
    #[command(flatten)]
    options: PublishArgs,
}

#[derive(Debug, clap::Args)]
struct Extension {
    /// Id of the share, or its first digits
    share: IdPrefix,
    /// New end of the share: a date or time like 2027-01-31 or 2027-01-31T18:00:00Z
    #[arg(long, value_name = "TIME")]
    until: Option<TimeArg>,
    /// Duration to add, like 7d, counted from the current end of the share
    #[arg(long = "for", value_name = "DURATION")]
    duration: Option<DurationArg>,
    /// The same without `--for`.
    #[arg(hide = true, value_name = "DURATION")]
    by: Option<DurationArg>,
}

impl Extension {
    async fn run(&self, platform: &Platform, now: Timestamp) -> Result<String, CliError> {
        let id = ids::find_share(platform, &self.share).await?;
        let seconds = match (self.until, self.duration.or(self.by)) {
            (Some(TimeArg(until)), _) => {
                let listing = platform.find_share(&id, now).await?;
                let end = listing.map_or(now, |listing| listing.share.end);
                match until.0.checked_sub(end.0) {
                    None | Some(0) => {
                        let why = format!("nothing to extend: share {id} ends {end} already");
                        return Err(CliError::new(exit_status::USAGE, why)
                            .with_remedy("Give a later time. `doorkey cancel` ends a share."));
                    }
                    Some(seconds) => seconds,
                }
            }
            (None, duration) => duration.map_or(0, |duration| duration.0),
        };
        let share = platform.extend(Actor::Issuer, &id, seconds, now).await?;
        Ok(format!("share {} ends {}", share.id, share.end))
    }
}

/// The device and the secret of a claim.
fn secret_of(device: DeviceArg, secret: Option<String>) -> Result<(Id, String), CliError> {
    match (device, secret.as_deref()) {
        (DeviceArg::Claim(claim), None) => Ok((claim.device, claim.secret)),
        (DeviceArg::Id(device), Some("-")) => std::io::read_to_string(std::io::stdin())
            .map(|secret| (device, secret))
            .map_err(|error| CliError::new(exit_status::IO, error)),
        (DeviceArg::Id(device), Some(secret)) => Ok((device, secret.to_owned())),
        (DeviceArg::Id(_), None) => Err(CliError::new(
            exit_status::USAGE,
            "the claim secret is missing",
        )
        .with_remedy("Give the complete claim that `doorward provision` printed.")),
        (DeviceArg::Claim(_), Some(_)) => Err(CliError::new(
            exit_status::USAGE,
            "the claim contains its secret already",
        )),
    }
}

pub(crate) fn change(change: Change) -> Result<ExitCode, CliError> {
    match change {
        Change::Extend(Extend { change, options }) => publish(options, async |platform, now| {
            change.run(platform, now).await
        }),
        Change::AddDevice {
            share,
            device,
            options,
        } => publish(options, async |platform, now| {
            let id = ids::find_share(platform, &share).await?;
            let share = platform
                .add_device(Actor::Issuer, &id, &device, now)
                .await?;
            let (to, end, id) = (share.recipient.name(), share.end, share.id);
            Ok(format!(
                "{device} is shared with {to} until {end}, share {id}"
            ))
        }),
        Change::Plan {
            device,
            plan,
            until,
            duration,
            options,
        } => publish(options, async |platform, now| {
            let until = until.map(|until| until.0);
            let end = until.or_else(|| duration.map(|duration| now.plus(duration.0)));
            let plan = Plan { name: plan, end };
            let device = platform.set_plan(Actor::Issuer, &device, plan, now).await?;
            Ok(format!("{} is on the {} plan", device.id, device.plan.name))
        }),
        Change::HandOver {
            device,
            to,
            options,
        } => publish(options, async |platform, now| {
            let device = platform
                .transfer_ownership(Actor::Issuer, &device, &to, now)
                .await?;
            Ok(format!(
                "{} belongs to {to}; all earlier shares have ended",
                device.id
            ))
        }),
        Change::Forget { device, options } => publish(options, async |platform, now| {
            platform.delete(Actor::Issuer, &device, now).await?;
            Ok(format!("{device} is no longer registered here"))
        }),
        Change::Claim {
            device,
            secret,
            issuer,
            output,
        } => {
            let (device, secret) = secret_of(device, secret)?;
            let home = issuer.resolve()?;
            block_on(async { Ok(home.open().await?.add_claim(&device, &secret).await?) })?;
            let text = format!("{device} can now be claimed with its claim code");
            print(&text, None, output.json)
        }
        Change::Entrust {
            site,
            to,
            issuer,
            output,
        } => {
            let home = issuer.resolve()?;
            block_on(async {
                let platform = home.open().await?;
                Ok(platform.add_site_admin(Actor::Issuer, &site, &to).await?)
            })?;
            let text = format!("{to} may approve requests for site:{site}");
            print(&text, None, output.json)
        }
    }
}

/// Makes a change, publishes the pending statements, and prints the result of the change.
fn publish(
    options: PublishArgs,
    change: impl AsyncFnOnce(&Platform, Timestamp) -> Result<String, CliError>,
) -> Result<ExitCode, CliError> {
    let home = options.issuer.resolve()?;
    let broker = home.broker(options.broker)?;
    let (text, published) = block_on(async {
        let platform = home.open().await?;
        let text = change(&platform, clock::system()).await?;
        Ok((text, broker_args::send_all(&platform, broker).await?))
    })?;
    print(&text, Some(published), options.output.json)
}

fn print(text: &str, published: Option<bool>, json: bool) -> Result<ExitCode, CliError> {
    match json {
        true => print_json(&json!({ "done": text, "published": published })),
        false => outln!("{text}{}", published.map_or("", published_text)),
    }
    Ok(ExitCode::SUCCESS)
}
