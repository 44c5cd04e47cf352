//! `doorkey shares`, `doorkey review` and `doorkey alerts`: lists of shares, and of what happened.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::cli::args::{IssuerArgs, OutputArgs};
use crate::domain::Actor;
use crate::service::{Access, ShareListing};
use doorward_client::HolderKey;
use doorward_protocol::wire::{Audience, Id, Timestamp};
use doorward_terminal::{CliError, block_on, exit_status, out, outln, print_json};
use doorward_transport::clock;
use doorward_transport::csv::csv_field;
use doorward_transport::files;

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  doorkey shares --device ups-7
  doorkey shares --by ole --json
  doorkey shares --with anna")]
pub(crate) struct Shares {
    /// Account whose given shares are listed
    #[arg(long, value_name = "ACCOUNT", conflicts_with_all = ["with", "device"])]
    by: Option<Id>,
    /// Account whose received shares are listed
    #[arg(long, value_name = "ACCOUNT", conflicts_with = "device")]
    with: Option<Id>,
    /// Device, or site:NAME, whose shares are listed
    #[arg(
        long,
        alias = "of",
        value_name = "DEVICE",
        required_unless_present_any = ["by", "with"]
    )]
    device: Option<Audience>,
    #[command(flatten)]
    issuer: IssuerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) fn shares(args: Shares) -> Result<ExitCode, CliError> {
    let home = args.issuer.resolve()?;
    let now = clock::system();
    let listed = block_on(async {
        let platform = home.open().await?;
        let Some(account) = args.by.as_ref().or(args.with.as_ref()) else {
            let mut listed = Vec::new();
            if let Some(device) = &args.device {
                for share in platform.shares(device, Timestamp(0)).await? {
                    listed.extend(platform.find_share(&share.id, now).await?);
                }
            }
            return Ok(listed);
        };
        let unknown = || CliError::new(exit_status::DATA, format!("there is no account {account}"));
        let account = platform.account(account).await?.ok_or_else(unknown)?;
        Ok(match args.by {
            Some(_) => platform.shared_by(&account, 0, now).await?,
            None => platform.shared_with(&account, 0, now).await?,
        })
    })?;
    if args.output.json {
        print_json(&Value::Array(listed.iter().map(row).collect()));
        return Ok(ExitCode::SUCCESS);
    }
    if listed.is_empty() {
        outln!("no shares");
    }
    for listed in &listed {
        let share = &listed.share;
        outln!("{}  {}  {}", share.id, share.audience, listed.status.name());
        outln!(
            "  {} by {} until {}",
            share.recipient.name(),
            share.by,
            share.end
        );
        outln!("  {}", operations(listed));
        if let Some(description) = &share.description {
            outln!("  {description}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn operations(listed: &ShareListing) -> String {
    let names = listed
        .share
        .permissions
        .iter()
        .map(|(name, _)| name.as_str());
    names.collect::<Vec<_>>().join(" ")
}

fn row(listed: &ShareListing) -> Value {
    let share = &listed.share;
    let devices = listed.reports.iter().map(|(device, report)| {
        json!({
            "device": device.as_str(), "has_version": report.version, "obeys_its_end": report.ended,
            "refused": report.refused,
        })
    });
    json!({
        "share": share.id.hex(), "audience": share.audience.to_string(),
        "with": share.recipient.name(), "by": share.by.as_str(), "status": listed.status.name(),
        "operations": operations(listed), "made": share.made.to_string(),
        "ends": share.end.to_string(), "used": share.used.map(|at| at.to_string()),
        "description": share.description.as_ref().map(ToString::to_string),
        "devices": devices.collect::<Vec<_>>(),
    })
}

#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:\n  doorkey alerts ole\n  doorkey alerts ole --json")]
pub(crate) struct Alerts {
    /// The owner's account
    owner: Id,
    #[command(flatten)]
    issuer: IssuerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) fn alerts(args: Alerts) -> Result<ExitCode, CliError> {
    let home = args.issuer.resolve()?;
    let alerts = block_on(async { Ok(home.open().await?.alerts(&args.owner, 100).await?) })?;
    if args.output.json {
        let rows = alerts.iter().map(|alert| {
            json!({
                "at": alert.at.to_string(), "kind": alert.kind, "device": alert.device.as_str(),
                "words": alert.text,
            })
        });
        print_json(&Value::Array(rows.collect()));
    } else if alerts.is_empty() {
        outln!("no alerts");
    } else {
        for alert in &alerts {
            outln!("{}  {}", alert.at, alert.text);
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  doorkey review --owner ole
  doorkey review --csv
  doorkey review --out audit --key auditor.key")]
pub(crate) struct Review {
    /// Account that owns the reviewed devices [default: all accounts]
    #[arg(long, value_name = "ACCOUNT")]
    owner: Option<Id>,
    /// Print a table for spreadsheets (RFC 4180)
    #[arg(long)]
    csv: bool,
    /// Directory for a table of each device and a signed list of the tables
    #[arg(long, value_name = "DIR", requires = "key")]
    out: Option<PathBuf>,
    /// File with the secret key that signs the list: SHA256SUMS.sig contains the Ed25519 signature
    /// of SHA256SUMS, in hexadecimal digits
    #[arg(long, value_name = "FILE", requires = "out")]
    key: Option<PathBuf>,
    #[command(flatten)]
    issuer: IssuerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

const HEAD: &str = "owner,device,with,operations,status,made,ends,last used,unused for 60 days\r\n";

/// Writes a table for each device, and a signed list of their hashes. Returns the number of tables.
fn write_signed(review: &[Access], out: &Path, key: &Path) -> Result<usize, CliError> {
    let holder = HolderKey::open(key)?;
    files::create_private_directory(out)?;
    let mut tables: BTreeMap<String, String> = BTreeMap::new();
    for access in review {
        let name = access.listing.share.audience.to_string().replace(':', "-");
        let table = tables
            .entry(format!("{name}.csv"))
            .or_insert_with(|| HEAD.to_owned());
        let line = fields(access).map(|field| csv_field(&field)).join(",");
        table.push_str(&format!("{line}\r\n"));
    }
    // The first line names the purpose, so that the signature cannot be used for another one.
    let mut sums = "# doorward access review v1\n".to_owned();
    for (name, table) in &tables {
        files::replace(&out.join(name), table.as_bytes(), 0o644)?;
        sums.push_str(&format!(
            "{}  {name}\n",
            doorward_protocol::wire::hash(table.as_bytes()).hex()
        ));
    }
    files::replace(&out.join("SHA256SUMS"), sums.as_bytes(), 0o644)?;
    let signature = format!("{}\n", holder.sign_text(&sums).hex());
    files::replace(&out.join("SHA256SUMS.sig"), signature.as_bytes(), 0o644)?;
    Ok(tables.len())
}

pub(crate) fn review(args: Review) -> Result<ExitCode, CliError> {
    let home = args.issuer.resolve()?;
    let now = clock::system();
    let review = block_on(async {
        let platform = home.open().await?;
        let Some(owner) = &args.owner else {
            return Ok(platform.review(Actor::Issuer, now).await?);
        };
        let unknown = || CliError::new(exit_status::DATA, format!("there is no account {owner}"));
        let account = platform.account(owner).await?.ok_or_else(unknown)?;
        Ok(platform.review(Actor::Account(&account), now).await?)
    })?;
    if let (Some(out), Some(key)) = (&args.out, &args.key) {
        let count = write_signed(&review, out, key)?;
        match args.output.json {
            true => print_json(&json!({ "tables": count, "directory": out.display().to_string() })),
            false => outln!(
                "{count} tables, SHA256SUMS and its signature are in {}",
                out.display()
            ),
        }
        return Ok(ExitCode::SUCCESS);
    }
    if args.output.json {
        let lines = review.iter().map(|access| {
            let mut line = row(&access.listing);
            line["owner"] = json!(access.owner.as_str());
            line["unused"] = json!(access.unused);
            line
        });
        print_json(&Value::Array(lines.collect()));
    } else if args.csv {
        out!("{HEAD}");
        for access in &review {
            out!(
                "{}\r\n",
                fields(access).map(|field| csv_field(&field)).join(",")
            );
        }
    } else if review.is_empty() {
        outln!("no shares");
    } else {
        for access in &review {
            let [owner, device, with, operations, status, _, ends, used, _] = fields(access);
            outln!("{device} of {owner}: {with} until {ends}, {status}");
            outln!("  {operations}");
            match access.unused {
                true => outln!("  not used for 60 days: remove it?"),
                false if used.is_empty() => {}
                false => outln!("  last used {used}"),
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn fields(access: &Access) -> [String; 9] {
    let share = &access.listing.share;
    [
        access.owner.to_string(),
        share.audience.to_string(),
        share.recipient.name().to_owned(),
        operations(&access.listing),
        access.listing.status.name().to_owned(),
        share.made.to_string(),
        share.end.to_string(),
        share.used.map_or_else(String::new, |at| at.to_string()),
        if access.unused { "yes" } else { "no" }.to_owned(),
    ]
}
