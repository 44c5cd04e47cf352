//! What whoever holds the issuer's keys changes in the ledger: accounts, claims, plans, owners.

use doorward_terminal::outln;
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use crate::cli::broker_args;
use crate::cli::broker_args::BrokerArgs;
use crate::cli::value_parsers::{DeviceArg, PublicHex, ShareId, TimeArg};
use crate::cli::{IssuerDir, published_text};
use crate::domain::{Account, AccountRole, Actor, Email, language};
use doorward_protocol::wire::{Audience, Id, Plan, Timestamp};
use doorward_terminal::{CliError, block_on, exit_status, print_json};
use doorward_transport::clock;

#[derive(Debug, clap::Args)]
pub(crate) struct NewAccount {
    /// The account's name.
    account: Id,
    /// Where messages go.
    #[arg(long, value_name = "ADDRESS")]
    email: Option<Email>,
    /// The public key: a *.pub file or its 64 hexadecimal digits.
    #[arg(long, value_name = "KEY")]
    key: PublicHex,
    /// user, facility_admin, group_admin, holder or operator.
    #[arg(long, default_value = "user")]
    role: AccountRole,
    /// The enterprise it belongs to; its own name without it.
    #[arg(long, value_name = "NAME")]
    enterprise: Option<Id>,
    /// The region.
    #[arg(long, default_value = "eu")]
    region: Id,
    /// The language of messages: en, de or fr.
    #[arg(long, default_value = "en")]
    language: String,
}

pub(crate) fn account(
    home: &IssuerDir,
    args: NewAccount,
    json: bool,
) -> Result<ExitCode, CliError> {
    let account = Account {
        enterprise: args.enterprise.unwrap_or_else(|| args.account.clone()),
        id: args.account,
        email: args.email,
        key: args.key.0,
        role: args.role,
        region: args.region,
        language: language(&args.language).to_owned(),
        made: clock::system(),
    };
    block_on(async { Ok(home.open().await?.add_account(&account).await?) })?;
    match json {
        true => print_json(&json!({ "account": account.id.as_str(), "role": account.role.name() })),
        false => outln!(
            "{} is an account now, as {}",
            account.id,
            account.role.name()
        ),
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug, Subcommand)]
pub(crate) enum Change {
    /// Move the end of a share to a later time.
    Extend {
        /// The share's id.
        share: ShareId,
        /// By how much, like 7d, counted from the end that it has.
        by: TimeArg,
        #[command(flatten)]
        broker: BrokerArgs,
    },
    /// Share one more device with the recipient of a share: same permissions, same end.
    AddDevice {
        /// The share's id.
        share: ShareId,
        /// The device, or site:NAME.
        device: Audience,
        #[command(flatten)]
        broker: BrokerArgs,
    },
    /// Put a device on a plan. Shares stay: what the plan lacks rests until another has it.
    Plan {
        /// The device.
        device: Id,
        /// basic, standard or advanced.
        plan: Id,
        /// When it ends, like 30d; without it, never.
        #[arg(long, value_name = "TIME")]
        until: Option<TimeArg>,
        #[command(flatten)]
        broker: BrokerArgs,
    },
    /// Give a device to another account: in one step every earlier share has ended.
    HandOver {
        /// The device.
        device: Id,
        /// The next owner.
        #[arg(long, value_name = "ACCOUNT")]
        to: Id,
        #[command(flatten)]
        broker: BrokerArgs,
    },
    /// Forget a device that its owner gives up; first send it `device.delete`.
    Forget {
        /// The device.
        device: Id,
        #[command(flatten)]
        broker: BrokerArgs,
    },
    /// Keep the claim secret of a device that will be sold: whoever shows it becomes the owner.
    Claim {
        /// The claim that `doorward provision` printed, or the device's id.
        device: DeviceArg,
        /// With an id, the secret; - for standard input.
        secret: Option<String>,
    },
    /// Let an account approve requests for a site.
    Entrust {
        /// The site.
        site: Id,
        /// The account.
        #[arg(long, value_name = "ACCOUNT")]
        to: Id,
    },
}

/// The device and the secret, however they were given.
fn secret_of(device: DeviceArg, secret: Option<String>) -> Result<(Id, String), CliError> {
    match (device, secret.as_deref()) {
        (DeviceArg::Claim(claim), None) => Ok((claim.device, claim.secret)),
        (DeviceArg::Id(device), Some("-")) => std::io::read_to_string(std::io::stdin())
            .map(|secret| (device, secret))
            .map_err(|error| CliError::new(exit_status::IO, error)),
        (DeviceArg::Id(device), Some(secret)) => Ok((device, secret.to_owned())),
        (DeviceArg::Id(_), None) => Err(CliError::new(exit_status::USAGE, "which secret?")
            .with_remedy("Give the whole claim that `doorward provision` printed.")),
        (DeviceArg::Claim(_), Some(_)) => Err(CliError::new(
            exit_status::USAGE,
            "the claim has its secret",
        )),
    }
}

pub(crate) fn change(home: &IssuerDir, change: Change, json: bool) -> Result<ExitCode, CliError> {
    let now = clock::system();
    let (said, published) = block_on(async {
        let platform = home.open().await?;
        let (said, broker) = match change {
            Change::Extend { share, by, broker } => {
                let TimeArg::In(seconds) = by else {
                    let why = "an extension is a length of time, counted from the end of the share";
                    return Err(CliError::new(exit_status::USAGE, why));
                };
                let share = platform
                    .extend(Actor::Issuer, &share.0, seconds, now)
                    .await?;
                (format!("share {} ends {}", share.id, share.end), broker)
            }
            Change::AddDevice {
                share,
                device,
                broker,
            } => {
                let share = platform
                    .add_device(Actor::Issuer, &share.0, &device, now)
                    .await?;
                (
                    format!("{device} is shared until {}: {}", share.end, share.id),
                    broker,
                )
            }
            Change::Plan {
                device,
                plan,
                until,
                broker,
            } => {
                let end: Option<Timestamp> = until.map(|until| until.from(now));
                let plan = Plan { name: plan, end };
                let device = platform.set_plan(Actor::Issuer, &device, plan, now).await?;
                (
                    format!("{} is on the {} plan", device.id, device.plan.name),
                    broker,
                )
            }
            Change::HandOver { device, to, broker } => {
                let device = platform.hand_over(Actor::Issuer, &device, &to, now).await?;
                let text = format!(
                    "{} belongs to {}; what was shared before has ended",
                    device.id, to
                );
                (text, broker)
            }
            Change::Forget { device, broker } => {
                platform.delete(Actor::Issuer, &device, now).await?;
                (format!("{device} is no longer registered here"), broker)
            }
            Change::Claim { device, secret } => {
                let (device, secret) = secret_of(device, secret)?;
                platform.add_claim(&device, &secret).await?;
                let text = format!("{device} waits for whoever shows its secret");
                return Ok((text, None));
            }
            Change::Entrust { site, to } => {
                platform.entrust(Actor::Issuer, &site, &to).await?;
                return Ok((format!("{to} may approve requests for site:{site}"), None));
            }
        };
        let published = broker_args::send_all(&platform, broker.broker()).await?;
        Ok((said, Some(published)))
    })?;
    match json {
        true => print_json(&json!({ "done": said, "published": published })),
        false => outln!("{said}{}", published.map_or("", published_text)),
    }
    Ok(ExitCode::SUCCESS)
}
