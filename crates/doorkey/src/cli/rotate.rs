//! `doorkey issuer seal`, `rotate` and `break-glass`: keys that are seldom needed.

use doorward_terminal::outln;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;

use crate::cli::broker_args;
use crate::cli::broker_args::BrokerArgs;
use crate::cli::value_parsers::{PublicHex, TimeArg};
use crate::cli::{IssuerDir, published_text};
use crate::domain::{Actor, NewShare, ShareTarget};
use crate::keys::{Draft, Keys};
use doorward_protocol::wire::{Audience, Id, Limits, Role, RoleKeys, SecretKey, Text};
use doorward_terminal::{CliError, block_on, exit_status, print_json};
use doorward_transport::clock;
use doorward_transport::files;
use doorward_transport::files::Doing;
use doorward_transport::random;

/// A role by its name.
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
            outln!("The root key is in {}", sealed.display());
            outln!(
                "Keep a copy of it, and the passphrase, in two places that do not burn together."
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn rotate(
    home: &IssuerDir,
    roles: &[RoleName],
    file: Option<&Path>,
    broker: BrokerArgs,
    json: bool,
) -> Result<ExitCode, CliError> {
    let passphrase = file.map(passphrase).transpose()?;
    let roles: Vec<Role> = roles.iter().map(|role| role.0).collect();
    let broker = broker.broker();
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
            outln!("Devices that hear of them by no broker take them with `doorkey bundle`.");
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug, clap::Args)]
pub(crate) struct NewDraft {
    /// Roles that get a new key here.
    #[arg(long = "new", value_name = "ROLE")]
    new: Vec<RoleName>,
    /// The public keys of those who hold the root together.
    #[arg(long, value_name = "KEY", requires = "threshold")]
    custodian: Vec<PublicHex>,
    /// How many of them have to sign.
    #[arg(long, value_name = "NUMBER", requires = "custodian")]
    threshold: Option<u8>,
    /// Where to write the draft.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(crate) fn draft(home: &IssuerDir, args: NewDraft, json: bool) -> Result<ExitCode, CliError> {
    let keys = Keys::open(&home.directory)?;
    let mut changes = Vec::new();
    for RoleName(role) in args.new {
        changes.push((role, keys.new_key(role)?));
    }
    if let Some(threshold) = args.threshold {
        let keys = args.custodian.iter().map(|key| key.0).collect();
        changes.push((Role::Root, RoleKeys { threshold, keys }));
    }
    let draft = keys.draft(&changes, clock::system())?;
    files::replace(&args.out, &draft.bytes(), 0o644)?;
    tell(&draft, json);
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn cosign(file: &Path, key: &Path, json: bool) -> Result<ExitCode, CliError> {
    let mut draft = Draft::parse(&files::read(file, 1 << 16)?)?;
    let wrong = || CliError::new(exit_status::DATA, format!("{} holds no key", key.display()));
    let key = SecretKey::from_text(&files::read_secret(key, 4096)?).ok_or_else(wrong)?;
    draft.sign(&key)?;
    files::replace(file, &draft.bytes(), 0o644)?;
    tell(&draft, json);
    Ok(ExitCode::SUCCESS)
}

/// What somebody who signs should know.
fn tell(draft: &Draft, json: bool) {
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
    outln!("signed by {}", draft.signatures());
}

pub(crate) fn adopt(
    home: &IssuerDir,
    file: &Path,
    broker: BrokerArgs,
    json: bool,
) -> Result<ExitCode, CliError> {
    let draft = Draft::parse(&files::read(file, 1 << 16)?)?;
    let broker = broker.broker();
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
            "version {version} counts, for {reached} devices and sites{}",
            published_text(published)
        ),
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug, clap::Args)]
pub(crate) struct BreakGlass {
    /// The device, or site:NAME.
    device: Audience,
    /// How long the code is good for.
    #[arg(long = "for", value_name = "TIME", default_value = "365d")]
    end: TimeArg,
    /// Where to write the code: print it, put it into an envelope, delete the file.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    broker: BrokerArgs,
}

pub(crate) fn break_glass(
    home: &IssuerDir,
    args: BreakGlass,
    json: bool,
) -> Result<ExitCode, CliError> {
    let now = clock::system();
    let key = SecretKey::from_seed(&random().doing("make a key for", &args.out)?);
    let name = Id::new("break-glass").map_err(|rule| CliError::new(exit_status::DATA, rule))?;
    let words = "sealed emergency code, good for one command";
    let new = NewShare {
        to: ShareTarget::Key(name, key.public()),
        permissions: vec!["full".to_owned()],
        end: args.end.from(now),
        description: Text::new(words).ok(),
        region: home_region(home, &args.device)?,
        limits: Some(Limits {
            uses: Some(1),
            ..Limits::default()
        }),
    };
    let broker = args.broker.broker();
    let (share, published) = block_on(async {
        let platform = home.open().await?;
        let audience = std::slice::from_ref(&args.device);
        let mut made = platform.share(Actor::Issuer, audience, &new, now).await?;
        let Some((_, share)) = made.each.pop() else {
            return Err(CliError::new(exit_status::DATA, "nothing was shared"));
        };
        Ok((share?, broker_args::send_all(&platform, broker).await?))
    })?;
    files::replace(&args.out, key.to_text().as_bytes(), 0o600)?;
    match json {
        true => print_json(&json!({ "share": share.id.hex(), "published": published })),
        false => {
            outln!(
                "{} is a key for one command on {}{}",
                args.out.display(),
                args.device,
                published_text(published)
            );
            outln!("When it is used, the log and the owner's alerts say so: break-glass.");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The region of what is shared; that of a site without devices does not matter here.
fn home_region(home: &IssuerDir, device: &Audience) -> Result<Id, CliError> {
    let devices = block_on(async { Ok(home.open().await?.devices(device).await?) })?;
    let region = devices.into_iter().next().map(|device| device.region);
    region.ok_or_else(|| {
        CliError::new(
            exit_status::DATA,
            format!("{device} is not registered here"),
        )
    })
}
