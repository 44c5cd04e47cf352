//! `doorkey share`: shares devices with a recipient, each by a share of its own.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value as Json, json};

use crate::IssuerError;
use crate::broker::subscribe;
use crate::cli::args::{EndArgs, IssuerArgs, OutputArgs};
use crate::cli::broker_args::{self, BrokerArgs};
use crate::cli::published_text;
use crate::cli::value_parsers::PublicHex;
use crate::domain::{Actor, Email, Invitation, InviteCode, NewShare, ShareTarget};
use crate::service::CreatedShares;
use doorward_protocol::wire::{Audience, Id, Limits, Text, Way};
use doorward_terminal::output::print_json_once;
use doorward_terminal::{CliError, block_on, exit_status, outln, outln_once, print_json, qr};
use doorward_transport::clock;
use doorward_transport::files;

/// How long a share is valid, in days, unless an end is given.
const VALID_DAYS: u64 = 30;

#[derive(Debug, clap::Args)]
#[command(
    mut_arg("duration", |arg| arg.help("Duration from now, like 4h or 30d [default: 30d]")),
    after_long_help = "\
Examples:
  doorkey share ups-7 --to anna@example.org --allow view --for 30d
  doorkey share ups-7 --to anna --public-key anna.pub --allow status.read,device.reboot --out anna.pass
  doorkey share ups-7 ups-8 --group tzbv --allow partner --until 2027-01-31
  doorkey share site:depot --guest Visitor --allow view --for 4h --uses 3 --origin local"
)]
pub(crate) struct NewShareArgs {
    /// Ids of devices, or site:NAME for all devices of a site, including later ones
    #[arg(required = true, value_name = "DEVICE")]
    audiences: Vec<Audience>,
    /// Recipient: an e-mail address, which is sent a code, or an account with --public-key
    #[arg(long, value_name = "RECIPIENT", required_unless_present_any = ["group", "guest"])]
    to: Option<String>,
    /// The recipient's public key: a *.pub file or 64 hexadecimal digits
    #[arg(long, value_name = "PUBLIC_KEY", requires = "to")]
    public_key: Option<PublicHex>,
    /// Recipient: a group, whose member list says who may use the device
    #[arg(long, value_name = "GROUP", conflicts_with_all = ["to", "guest"])]
    group: Option<Id>,
    /// Recipient: a guest without an account, under this name; anyone with the link can accept
    #[arg(long, value_name = "NAME", conflicts_with = "to")]
    guest: Option<Text>,
    /// Permissions: full, partner, view, or operations; separated by commas
    #[arg(
        long,
        value_name = "OPERATIONS",
        value_delimiter = ',',
        required = true
    )]
    allow: Vec<String>,
    #[command(flatten)]
    end: EndArgs,
    /// Purpose of the share, for people to read
    #[arg(long, value_name = "TEXT")]
    description: Option<Text>,
    /// Region of a site without devices; a device has a region of its own
    #[arg(long, value_name = "REGION", default_value = "eu")]
    region: Id,
    /// Total number of commands that it allows [default: unlimited]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    uses: Option<u32>,
    /// Origin that commands must have: the site's own network, or the cloud [default: either]
    #[arg(long, value_name = "ORIGIN")]
    origin: Option<Origin>,
    /// File for the recipient's pass, which `doorkey send --pass` reads; needs --public-key
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    broker: BrokerArgs,
    #[command(flatten)]
    issuer: IssuerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Origin that commands must have.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum Origin {
    Local,
    Cloud,
}

impl NewShareArgs {
    /// The limits, if any.
    fn limits(&self) -> Option<Limits> {
        let limits = Limits {
            uses: self.uses,
            origin: self.origin.map(|origin| match origin {
                Origin::Local => Way::Local,
                Origin::Cloud => Way::Cloud,
            }),
            ..Limits::default()
        };
        (limits != Limits::default()).then_some(limits)
    }

    /// The recipient.
    fn recipient(&self) -> Result<ShareTarget, CliError> {
        if let Some(group) = &self.group {
            return Ok(ShareTarget::Group(group.clone()));
        }
        if let Some(name) = &self.guest {
            return Ok(ShareTarget::Guest(name.clone()));
        }
        let to = self.to.as_deref().unwrap_or_default();
        match self.public_key {
            Some(key) => {
                let id = Id::new(to).map_err(|rule| CliError::new(exit_status::USAGE, rule))?;
                Ok(ShareTarget::Key(id, key.0))
            }
            None => Email::new(to).map(ShareTarget::Address).map_err(|refusal| {
                CliError::new(exit_status::USAGE, refusal.why)
                    .with_remedy("Give a complete address, or an account and its --public-key.")
            }),
        }
    }
}

pub(crate) fn run(args: NewShareArgs) -> Result<ExitCode, CliError> {
    let now = clock::system();
    let home = args.issuer.resolve()?;
    if args.out.is_some() && (args.audiences.len() != 1 || args.public_key.is_none()) {
        let why = "--out needs exactly one device, and the recipient's --public-key";
        return Err(CliError::new(exit_status::USAGE, why));
    }
    let new = NewShare {
        to: args.recipient()?,
        limits: args.limits(),
        permissions: args.allow,
        end: args.end.end_or_days(now, VALID_DAYS),
        description: args.description,
        region: args.region,
    };
    let broker = home.broker(args.broker)?;
    let (mut created, pass, published) = block_on(async {
        let platform = home.open().await?;
        if let Some(broker) = &broker {
            for audience in &args.audiences {
                let devices = platform.devices(audience).await?;
                subscribe::read_retained_states(&platform, broker, &devices).await?;
            }
        }
        let created = platform
            .share(Actor::Issuer, &args.audiences, &new, now)
            .await?;
        let pass = match created.each.first() {
            Some((_, Ok(share))) if args.out.is_some() => Some(platform.pass_for(share).await?),
            _ => None,
        };
        // The shares are stored: their codes are printed whatever the broker answers.
        let published = broker_args::send_all(&platform, broker).await;
        Ok((created, pass, published))
    })?;
    if matches!(&created.each[..], [(_, Err(_))])
        && let Some((audience, Err(error))) = created.each.pop()
    {
        return Err(match error {
            IssuerError::Refused(_) => error.into(),
            error => CliError::new(exit_status::DENIED, format!("{audience}: {error}")),
        });
    }
    if let (Some(out), Some(pass)) = (&args.out, &pass) {
        files::replace(out, pass, 0o644)?;
    }
    let failed = created.each.iter().any(|(_, share)| share.is_err());
    let (published, not_published) = match published {
        Ok(published) => (published, None),
        Err(error) => (false, Some(error)),
    };
    if args.output.json {
        let value = to_json(&created, published);
        match created.invitation {
            Some(_) => print_json_once(&value),
            None => print_json(&value),
        }
    } else {
        print(&created, published);
        if let Some(out) = &args.out {
            outln!("pass     {}", out.display());
        }
    }
    if let Some(error) = not_published {
        return Err(error.with_remedy(
            "The shares are stored. They are published by the next command with a broker, or by the service.",
        ));
    }
    Ok(match failed {
        true => ExitCode::from(exit_status::DENIED),
        false => ExitCode::SUCCESS,
    })
}

fn to_json(created: &CreatedShares, published: bool) -> Json {
    let shares = created.each.iter().map(|(audience, share)| match share {
        Ok(share) => json!({
            "audience": audience.to_string(), "share": share.id.hex(),
            "to": share.recipient.name(), "ends": share.end.to_string(),
        }),
        Err(error) => json!({
            "audience": audience.to_string(), "refused": code_of(error), "why": error.to_string(),
        }),
    });
    let invitation = created.invitation.as_ref().map(|(invitation, code)| {
        json!({
            "id": invitation.id.hex(), "code": code.formatted(),
            "accept": accept_text(invitation, code), "lapses": invitation.expires_at.to_string(),
        })
    });
    json!({ "shares": shares.collect::<Vec<_>>(), "invitation": invitation, "published": published })
}

fn code_of(error: &IssuerError) -> &'static str {
    match error {
        IssuerError::Refused(refusal) => refusal.rule.name(),
        _ => "invalid",
    }
}

/// The argument of `doorkey accept`.
fn accept_text(invitation: &Invitation, code: &InviteCode) -> String {
    format!("{}#{}", invitation.id, code.formatted())
}

/// Prints the shares; the invitation's code, which is shown only once, first.
fn print(created: &CreatedShares, published: bool) {
    let invitation = created.invitation.as_ref();
    let accept = invitation.map(|(invitation, code)| accept_text(invitation, code));
    if let (Some((invitation, _)), Some(accept)) = (invitation, &accept) {
        outln_once!("accept   doorkey accept '{accept}'");
        outln!(
            "         The recipient accepts with this until {}; the code is not shown again.",
            invitation.expires_at
        );
    }
    for (audience, share) in &created.each {
        match share {
            Ok(share) => {
                let (to, end) = (share.recipient.name(), share.end);
                outln!(
                    "{audience} is shared with {to} until {end}{}",
                    published_text(published)
                );
                outln!("share    {}", share.id);
            }
            Err(error) => outln!("{audience} is not shared: {error}"),
        }
    }
    if let Some(accept) = accept {
        qr::show(&accept);
    }
}
