//! `doorkey share`: lets somebody use devices, each by a share of its own.

use doorward_terminal::outln;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value as Json, json};

use crate::IssuerError;
use crate::broker::subscribe;
use crate::cli::broker_args;
use crate::cli::broker_args::BrokerArgs;
use crate::cli::value_parsers::{PublicHex, TimeArg};
use crate::cli::{IssuerDir, published_text};
use crate::domain::{Actor, Email, Invitation, InviteCode, NewShare, ShareTarget};
use crate::service::CreatedShares;
use doorward_protocol::wire::{Audience, Id, Limits, Text, Way};
use doorward_terminal::{CliError, block_on, exit_status, print_json};
use doorward_transport::clock;
use doorward_transport::files;

#[derive(Debug, clap::Args)]
pub(crate) struct NewShareArgs {
    /// Devices by their ids, or site:NAME for every device of a site, later ones too.
    #[arg(required = true, value_name = "DEVICE")]
    pub(crate) audiences: Vec<Audience>,
    /// The recipient: an e-mail address, which is sent a code, or an account along with --key.
    #[arg(long, value_name = "WHO", required_unless_present_any = ["group", "guest"])]
    pub(crate) to: Option<String>,
    /// The recipient's public key: a *.pub file or its 64 hexadecimal digits.
    #[arg(long, value_name = "KEY", requires = "to")]
    pub(crate) key: Option<PublicHex>,
    /// Share with a group: with whoever its roster names.
    #[arg(long, value_name = "GROUP", conflicts_with_all = ["to", "guest"])]
    pub(crate) group: Option<Id>,
    /// Share with a guest who has no account: whoever is given the link, under this name.
    #[arg(long, value_name = "NAME", conflicts_with = "to")]
    pub(crate) guest: Option<Text>,
    /// What they may do: full, partner, view, or operations; with commas between them.
    #[arg(
        long,
        value_name = "OPERATIONS",
        value_delimiter = ',',
        required = true
    )]
    pub(crate) allow: Vec<String>,
    /// For how long, like 4h or 30d, or until when, like 2027-01-31T00:00:00Z.
    #[arg(long = "for", value_name = "TIME", default_value = "30d")]
    pub(crate) end: TimeArg,
    /// What it is for.
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: Option<Text>,
    /// The region of a site without devices; a device has its own.
    #[arg(long, default_value = "eu")]
    pub(crate) region: Id,
    /// How many commands it allows in all.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) uses: Option<u32>,
    /// Which way commands must come: from the site itself, or through the cloud.
    #[arg(long, value_name = "WAY")]
    pub(crate) origin: Option<Origin>,
    /// Write a pass for the recipient, whose key is known: what `doorkey send --pass` takes.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) broker: BrokerArgs,
}

/// Which way commands must come.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum Origin {
    Local,
    Cloud,
}

impl NewShareArgs {
    /// The limits, if there are any.
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

    /// Whom it is for.
    fn recipient(&self) -> Result<ShareTarget, CliError> {
        if let Some(group) = &self.group {
            return Ok(ShareTarget::Group(group.clone()));
        }
        if let Some(name) = &self.guest {
            return Ok(ShareTarget::Guest(name.clone()));
        }
        let to = self.to.as_deref().unwrap_or_default();
        match self.key {
            Some(key) => {
                let id = Id::new(to).map_err(|rule| CliError::new(exit_status::USAGE, rule))?;
                Ok(ShareTarget::Key(id, key.0))
            }
            None => Email::new(to).map(ShareTarget::Address).map_err(|refusal| {
                CliError::new(exit_status::USAGE, refusal.why)
                    .with_remedy("Give a whole address, or an account and its --key.")
            }),
        }
    }
}

pub(crate) fn run(home: &IssuerDir, args: NewShareArgs, json: bool) -> Result<ExitCode, CliError> {
    let now = clock::system();
    if args.out.is_some() && (args.audiences.len() != 1 || args.key.is_none()) {
        let why = "--out is for one device and a recipient whose --key is known";
        return Err(CliError::new(exit_status::USAGE, why));
    }
    let new = NewShare {
        to: args.recipient()?,
        limits: args.limits(),
        permissions: args.allow,
        end: args.end.from(now),
        description: args.description,
        region: args.region,
    };
    let broker = args.broker.broker();
    let (mut made, pass, published) = block_on(async {
        let platform = home.open().await?;
        if let Some(broker) = &broker {
            for audience in &args.audiences {
                let devices = platform.devices(audience).await?;
                subscribe::catch_up(&platform, broker, &devices).await?;
            }
        }
        let made = platform
            .share(Actor::Issuer, &args.audiences, &new, now)
            .await?;
        let pass = match made.each.first() {
            Some((_, Ok(share))) if args.out.is_some() => Some(platform.pass_for(share).await?),
            _ => None,
        };
        let published = broker_args::send_all(&platform, broker).await?;
        Ok((made, pass, published))
    })?;
    if matches!(&made.each[..], [(_, Err(_))])
        && let Some((audience, Err(error))) = made.each.pop()
    {
        return Err(match error {
            IssuerError::Refused(_) => error.into(),
            error => CliError::new(exit_status::DENIED, format!("{audience}: {error}")),
        });
    }
    if let (Some(out), Some(pass)) = (&args.out, &pass) {
        files::replace(out, pass, 0o644)?;
    }
    let failed = made.each.iter().any(|(_, made)| made.is_err());
    if json {
        print_json(&to_json(&made, published));
    } else {
        print(&made, published);
        if let Some(out) = &args.out {
            outln!("pass     {}", out.display());
        }
    }
    Ok(match failed {
        true => ExitCode::from(exit_status::DENIED),
        false => ExitCode::SUCCESS,
    })
}

fn to_json(made: &CreatedShares, published: bool) -> Json {
    let shares = made.each.iter().map(|(audience, made)| match made {
        Ok(share) => json!({
            "audience": audience.to_string(), "share": share.id.hex(),
            "to": share.recipient.name(), "ends": share.end.to_string(),
        }),
        Err(error) => json!({ "audience": audience.to_string(), "refused": code(error), "why": error.to_string() }),
    });
    let invitation = made.invitation.as_ref().map(|(invitation, code)| {
        json!({
            "id": invitation.id.hex(), "code": code.shown(),
            "accept": accept(invitation, code), "lapses": invitation.expires_at.to_string(),
        })
    });
    json!({ "shares": shares.collect::<Vec<_>>(), "invitation": invitation, "published": published })
}

fn code(error: &IssuerError) -> &'static str {
    match error {
        IssuerError::Refused(refusal) => refusal.rule.name(),
        _ => "invalid",
    }
}

/// What the recipient types.
fn accept(invitation: &Invitation, code: &InviteCode) -> String {
    format!("{}#{}", invitation.id, code.shown())
}

fn print(made: &CreatedShares, published: bool) {
    for (audience, made) in &made.each {
        match made {
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
    if let Some((invitation, code)) = &made.invitation {
        outln!("The recipient accepts until {} with", invitation.expires_at);
        let accept = accept(invitation, code);
        outln!("         doorkey accept {accept}");
        doorward_terminal::qr::show(&accept);
    }
}
