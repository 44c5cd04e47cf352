//! `doorkey issuer seal`, `rotate`, `draft`, `cosign`, `adopt` and `break-glass`: changes of keys.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;

use crate::cli::args::{EndArgs, IssuerArgs, OutputArgs};
use crate::cli::broker_args::{self, BrokerArgs};
use crate::cli::value_parsers::PublicHex;
use crate::cli::{IssuerDir, not_registered, published_text};
use crate::domain::{Actor, NewShare, ShareTarget};
use crate::keys::{Draft, Keys};
use doorward_protocol::wire::{Audience, Id, Limits, Role, RoleKeys, SecretKey, Text};
use doorward_terminal::{CliError, block_on, exit_status, outln, print_json};
use doorward_transport::Broker;
use doorward_transport::clock;
use doorward_transport::files;
use doorward_transport::files::Doing;
use doorward_transport::random;

/// A role of issuer keys, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RoleName(Role);

impl std::str::FromStr for RoleName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut all = Role::ALL.into_iter();
        all.find(|role| role.name() == text)
            .map(Self)
            .ok_or("a role is root, registry, shares, revocations or firmware")
    }
}

fn passphrase(file: &Path) -> Result<Vec<u8>, CliError> {
    let mut bytes = files::read_secret(file, 4096)?;
    while bytes
        .last()
        .is_some_and(|last| matches!(last, b'\n' | b'\r'))
    {
        bytes.pop();
    }
    Ok(bytes)
}

pub(crate) fn seal(home: &IssuerDir, file: &Path, json: bool) -> Result<ExitCode, CliError> {
    let sealed = Keys::open(&home.directory)?.seal(&passphrase(file)?)?;
    match json {
        true => print_json(&json!({ "sealed": sealed.display().to_string() })),
        false => {
            outln!("The encrypted root key is in {}", sealed.display());
            outln!("Keep a copy of it and the passphrase in two separate places.");
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn rotate(
    home: &IssuerDir,
    roles: &[RoleName],
    file: Option<&Path>,
    broker: Option<Broker>,
    json: bool,
) -> Result<ExitCode, CliError> {
    let passphrase = file.map(passphrase).transpose()?;
    let roles: Vec<Role> = roles.iter().map(|role| role.0).collect();
    let (reached, published) = block_on(async {
        let mut platform = home.open().await?;
        let now = clock::system();
        let reached = platform.rotate(&roles, passphrase.as_deref(), now).await?;
        Ok((reached, broker_args::send_all(&platform, broker).await?))
    })?;
    let names: Vec<&str> = roles.iter().map(|role| role.name()).collect();
    match json {
        true => print_json(&json!({
            "roles": names, "reached": reached, "published": published,
        })),
        false => {
            let names = names.join(", ");
            outln!(
                "{names} have new keys, for {reached} devices and sites{}",
                published_text(published)
            );
            outln!("Devices without a broker receive them with `doorkey bundle`.");
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  doorkey issuer draft --new registry --out keys.draft
  doorkey issuer draft --threshold 2 --custodian-public-key a.pub --custodian-public-key b.pub \
--custodian-public-key c.pub --out keys.draft")]
pub(crate) struct NewDraft {
    /// Role that gets a new key; may be repeated
    #[arg(long = "new", value_name = "ROLE")]
    new: Vec<RoleName>,
    /// Public key of a custodian who holds the root key with others: a *.pub file or 64 hexadecimal
    /// digits; may be repeated
    #[arg(
        long,
        alias = "custodian",
        value_name = "PUBLIC_KEY",
        requires = "threshold"
    )]
    custodian_public_key: Vec<PublicHex>,
    /// Number of custodians who have to sign
    #[arg(long, value_name = "NUMBER", requires = "custodian_public_key")]
    threshold: Option<u8>,
    /// File to write the draft to
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    issuer: IssuerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) fn draft(args: NewDraft) -> Result<ExitCode, CliError> {
    if args.new.is_empty() && args.threshold.is_none() {
        let why = "nothing to change: neither a role nor custodians are given";
        return Err(CliError::new(exit_status::USAGE, why)
            .with_remedy("Give --new ROLE, or --custodian-public-key and --threshold."));
    }
    let home = args.issuer.resolve()?;
    let keys = Keys::open(&home.directory)?;
    let mut changes = Vec::new();
    for RoleName(role) in args.new {
        changes.push((role, keys.new_key(role)?));
    }
    if let Some(threshold) = args.threshold {
        let keys = args.custodian_public_key.iter().map(|key| key.0).collect();
        changes.push((Role::Root, RoleKeys { threshold, keys }));
    }
    let draft = keys.draft(&changes, clock::system())?;
    files::replace(&args.out, &draft.bytes(), 0o644)?;
    print_draft(&draft, args.output.json);
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn cosign(file: &Path, key: &Path, json: bool) -> Result<ExitCode, CliError> {
    let mut draft = Draft::parse(&files::read(file, 1 << 16)?)?;
    let wrong = || {
        CliError::new(
            exit_status::DATA,
            format!("{} does not contain a key", key.display()),
        )
    };
    let key = SecretKey::from_text(&files::read_secret(key, 4096)?).ok_or_else(wrong)?;
    draft.sign(&key)?;
    files::replace(file, &draft.bytes(), 0o644)?;
    print_draft(&draft, json);
    Ok(ExitCode::SUCCESS)
}

/// Prints a draft, for its signers.
fn print_draft(draft: &Draft, json: bool) {
    let body = &draft.issuers.body;
    let root = draft.issuers.role(Role::Root);
    let (threshold, keys) = root.map_or((0, 0), |root| (root.threshold, root.keys.len()));
    if json {
        return print_json(&json!({
            "version": body.version, "signatures": draft.signatures(),
            "root": { "threshold": threshold, "keys": keys },
        }));
    }
    outln!(
        "version {} of the keys of {}",
        body.version,
        draft.issuers.iss
    );
    for (role, keys) in body.roles.iter() {
        let names: Vec<String> = keys.keys.iter().map(|key| key.hex()).collect();
        outln!(
            "  {:<12} {} of {}",
            role.name(),
            keys.threshold,
            names.join(" ")
        );
    }
    outln!("signatures: {}", draft.signatures());
}

pub(crate) fn adopt(
    home: &IssuerDir,
    file: &Path,
    broker: Option<Broker>,
    json: bool,
) -> Result<ExitCode, CliError> {
    let draft = Draft::parse(&files::read(file, 1 << 16)?)?;
    let (reached, published) = block_on(async {
        let mut platform = home.open().await?;
        let reached = platform.adopt(&draft, clock::system()).await?;
        Ok((reached, broker_args::send_all(&platform, broker).await?))
    })?;
    let version = draft.issuers.body.version;
    match json {
        true => print_json(&json!({
            "version": version, "reached": reached, "published": published,
        })),
        false => outln!(
            "version {version} of the keys is in force, for {reached} devices and sites{}",
            published_text(published)
        ),
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug, clap::Args)]
#[command(
    mut_arg("duration", |arg| arg.help("Duration from now, like 30d [default: 365d]")),
    after_long_help = "\
Examples:
  doorkey issuer break-glass ups-7 --out emergency.key
  doorkey issuer break-glass site:depot --for 90d --out emergency.key"
)]
pub(crate) struct BreakGlass {
    /// Id of the device, or site:NAME
    device: Audience,
    #[command(flatten)]
    end: EndArgs,
    /// File to write the key to: print it, seal the print in an envelope, and delete the file
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    broker: BrokerArgs,
    #[command(flatten)]
    issuer: IssuerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// How long an emergency key is valid, in days, unless an end is given.
const EMERGENCY_DAYS: u64 = 365;

pub(crate) fn break_glass(args: BreakGlass) -> Result<ExitCode, CliError> {
    let now = clock::system();
    let home = args.issuer.resolve()?;
    let broker = home.broker(args.broker)?;
    let key = SecretKey::from_seed(&random().doing("make a key for", &args.out)?);
    let name = Id::new("break-glass").map_err(|rule| CliError::new(exit_status::DATA, rule))?;
    let description = "sealed emergency code, good for one command";
    let new = NewShare {
        to: ShareTarget::Key(name, key.public()),
        permissions: vec!["full".to_owned()],
        end: args.end.end_or_days(now, EMERGENCY_DAYS),
        description: Text::new(description).ok(),
        region: region_of(&home, &args.device)?,
        limits: Some(Limits {
            uses: Some(1),
            ..Limits::default()
        }),
    };
    if args.out.exists() {
        let why = format!("{} exists already", args.out.display());
        return Err(CliError::new(exit_status::IO, why).with_remedy("Give another --out FILE."));
    }
    // The key is written first: a share whose key is lost could never be used.
    files::replace(&args.out, key.to_text().as_bytes(), 0o600)?;
    let (share, published) = block_on(async {
        let platform = home.open().await?;
        let audience = std::slice::from_ref(&args.device);
        let created = platform.share(Actor::Issuer, audience, &new, now).await;
        let created =
            created.and_then(|mut created| created.each.pop().map(|(_, share)| share).transpose());
        let share = match created {
            Ok(Some(share)) => share,
            Ok(None) => return Err(CliError::new(exit_status::DATA, "nothing was shared")),
            Err(error) => {
                files::remove(&args.out)?;
                return Err(error.into());
            }
        };
        Ok((share, broker_args::send_all(&platform, broker).await?))
    })?;
    match args.output.json {
        true => print_json(&json!({ "share": share.id.hex(), "published": published })),
        false => {
            outln!(
                "{} contains a key for one command on {}{}",
                args.out.display(),
                args.device,
                published_text(published)
            );
            outln!(
                "Its use is recorded in the event log and among the owner's alerts: break-glass."
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The region of a device; of a site, that of its first device.
fn region_of(home: &IssuerDir, device: &Audience) -> Result<Id, CliError> {
    let devices = block_on(async { Ok(home.open().await?.devices(device).await?) })?;
    let region = devices.into_iter().next().map(|device| device.region);
    region.ok_or_else(|| not_registered(device))
}
