//! `doorkey shares` and `doorkey review`: who has what.

use doorward_terminal::out;
use doorward_terminal::outln;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::cli::IssuerDir;
use crate::domain::Actor;
use crate::service::{Access, ShareListing};
use doorward_client::HolderKey;
use doorward_protocol::wire::{Audience, Id, Timestamp};
use doorward_terminal::{CliError, block_on, exit_status, print_json};
use doorward_transport::clock;
use doorward_transport::files;

#[derive(Debug, clap::Args)]
pub(crate) struct Shares {
    /// What this account has shared.
    #[arg(long, value_name = "ACCOUNT", conflicts_with_all = ["with", "of"])]
    by: Option<Id>,
    /// What is shared with this account.
    #[arg(long, value_name = "ACCOUNT", conflicts_with = "of")]
    with: Option<Id>,
    /// What is shared of this device, or site:NAME.
    #[arg(long, value_name = "DEVICE", required_unless_present_any = ["by", "with"])]
    of: Option<Audience>,
}

pub(crate) fn shares(home: &IssuerDir, args: &Shares, json: bool) -> Result<ExitCode, CliError> {
    let now = clock::system();
    let listed = block_on(async {
        let platform = home.open().await?;
        let whose = args.by.as_ref().or(args.with.as_ref());
        let Some(whose) = whose else {
            let mut listed = Vec::new();
            if let Some(of) = &args.of {
                for share in platform.shares(of, Timestamp(0)).await? {
                    listed.extend(platform.find(&share.id, now).await?);
                }
            }
            return Ok(listed);
        };
        let unknown = || CliError::new(exit_status::DATA, format!("there is no account {whose}"));
        let account = platform.account(whose).await?.ok_or_else(unknown)?;
        Ok(match args.by {
            Some(_) => platform.shared_by(&account, 0, now).await?,
            None => platform.shared_with(&account, 0, now).await?,
        })
    })?;
    if json {
        print_json(&Value::Array(listed.iter().map(row).collect()));
        return Ok(ExitCode::SUCCESS);
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
    let devices = listed.words.iter().map(|(device, word)| {
        json!({
            "device": device.as_str(), "has_version": word.version, "obeys_its_end": word.ended,
            "refused": word.refused,
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
pub(crate) struct Alerts {
    /// The owner's account.
    owner: Id,
}

pub(crate) fn alerts(home: &IssuerDir, args: &Alerts, json: bool) -> Result<ExitCode, CliError> {
    let alerts = block_on(async { Ok(home.open().await?.alerts(&args.owner, 100).await?) })?;
    if json {
        let rows = alerts.iter().map(|alert| {
            json!({
                "at": alert.at.to_string(), "kind": alert.kind, "device": alert.device.as_str(),
                "words": alert.words,
            })
        });
        print_json(&Value::Array(rows.collect()));
    } else {
        for alert in &alerts {
            outln!("{}  {}", alert.at, alert.words);
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug, clap::Args)]
pub(crate) struct Review {
    /// Only the devices of this account.
    #[arg(long, value_name = "ACCOUNT")]
    owner: Option<Id>,
    /// Print a table for spreadsheets (RFC 4180).
    #[arg(long)]
    csv: bool,
    /// Write such a table for each device into this directory, and a signed list of them.
    #[arg(long, value_name = "DIR", requires = "key")]
    out: Option<PathBuf>,
    /// The key to sign the list with: Ed25519, over the bytes of SHA256SUMS, as hexadecimal digits
    /// in SHA256SUMS.sig.
    #[arg(long, value_name = "FILE", requires = "out")]
    key: Option<PathBuf>,
}

const HEAD: &str = "owner,device,with,operations,status,made,ends,last used,unused for 60 days\r\n";

/// A table for each device, and a list of their hashes, signed.
fn write_signed(review: &[Access], out: &Path, key: &Path) -> Result<usize, CliError> {
    let holder = HolderKey::open(key)?;
    files::create_private_directory(out)?;
    let mut tables: BTreeMap<String, String> = BTreeMap::new();
    for access in review {
        let name = access.listed.share.audience.to_string().replace(':', "-");
        let table = tables
            .entry(format!("{name}.csv"))
            .or_insert_with(|| HEAD.to_owned());
        let line = fields(access).map(|field| quoted(&field)).join(",");
        table.push_str(&format!("{line}\r\n"));
    }
    // A line that says what this is comes first, so that the signature is for nothing else.
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

pub(crate) fn review(home: &IssuerDir, args: &Review, json: bool) -> Result<ExitCode, CliError> {
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
        match json {
            true => print_json(&json!({ "tables": count, "directory": out.display().to_string() })),
            false => outln!(
                "{count} tables, SHA256SUMS and its signature are in {}",
                out.display()
            ),
        }
        return Ok(ExitCode::SUCCESS);
    }
    if json {
        let lines = review.iter().map(|access| {
            let mut line = row(&access.listed);
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
                fields(access).map(|field| quoted(&field)).join(",")
            );
        }
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
    let share = &access.listed.share;
    [
        access.owner.to_string(),
        share.audience.to_string(),
        share.recipient.name().to_owned(),
        operations(&access.listed),
        access.listed.status.name().to_owned(),
        share.made.to_string(),
        share.end.to_string(),
        share.used.map_or_else(String::new, |at| at.to_string()),
        if access.unused { "yes" } else { "no" }.to_owned(),
    ]
}

/// A field for spreadsheets; one that a spreadsheet would take for a formula is made text.
fn quoted(field: &str) -> String {
    let safe = match field.starts_with(['=', '+', '-', '@']) {
        true => format!("'{field}"),
        false => field.to_owned(),
    };
    match safe.contains([',', '"', '\r', '\n']) {
        true => format!("\"{}\"", safe.replace('"', "\"\"")),
        false => safe,
    }
}
