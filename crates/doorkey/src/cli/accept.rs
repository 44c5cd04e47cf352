//! `doorkey accept`: accepts an invitation, with a secret key that never leaves this machine.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::cli::api_client::Client;
use crate::cli::args::{IssuerArgs, KeyArgs, OutputArgs};
use crate::cli::value_parsers::IdPrefix;
use crate::cli::{IssuerDir, ids};
use crate::domain::InviteCode;
use crate::service::{Acceptance, accept_message};
use doorward_client::HolderKey;
use doorward_protocol::wire::{Bytes, Id};
use doorward_terminal::{CliError, block_on, exit_status, outln, print_json};
use doorward_transport::clock;
use doorward_transport::files;

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  doorkey accept 'https://doors.example.org/accept/ID#CODE' --key anna.key
  doorkey accept 'ID#CODE' --key anna.key --account anna --out passes
  doorkey accept 'ID#CODE' --decline")]
pub(crate) struct Accept {
    /// Link of the invitation with its code, like https://HOST/accept/ID#CODE; or ID#CODE, if the
    /// issuer's database is on this machine
    invitation: String,
    #[command(flatten)]
    key: KeyArgs,
    /// Your account, or the name for a new one [default: the name of the key file]
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<Id>,
    /// Enterprise of a new account
    #[arg(long, value_name = "NAME")]
    enterprise: Option<Id>,
    /// Region of a new account [default: that of the devices]
    #[arg(long, value_name = "REGION")]
    region: Option<Id>,
    /// Language of messages: en, de or fr
    #[arg(long, value_name = "LANGUAGE", default_value = "en")]
    language: String,
    /// File with the CA certificates that the service's certificate is checked against
    #[arg(long, alias = "server-ca", value_name = "FILE")]
    service_ca: Option<PathBuf>,
    /// Directory for the passes, one for each device or site
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Decline the invitation; no key is needed
    #[arg(long)]
    decline: bool,
    #[command(flatten)]
    issuer: IssuerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// The accepted shares: target, id and pass of each.
type Accepted = Vec<(String, String, Vec<u8>)>;

/// The place where an invitation is stored.
enum Invitation<'a> {
    /// A service, by its base URL, and the complete id.
    Service(&'a str, Bytes<16>),
    /// The database of the issuer.
    Database(IdPrefix),
}

fn parse_invitation(place: &str) -> Option<Invitation<'_>> {
    match place.rsplit_once("/accept/") {
        Some((base, id)) => Some(Invitation::Service(base, Bytes::from_hex(id)?)),
        None => place.parse().ok().map(Invitation::Database),
    }
}

pub(crate) fn run(args: Accept) -> Result<ExitCode, CliError> {
    let wrong = || {
        CliError::new(exit_status::USAGE, "this is neither a link nor ID#CODE")
            .with_remedy("Copy the complete link, including the part after #.")
    };
    let (place, code) = args.invitation.split_once('#').ok_or_else(wrong)?;
    let invitation = parse_invitation(place).ok_or_else(wrong)?;
    let code = InviteCode::from_input(code);
    let home = args.issuer.resolve()?;
    let json = args.output.json;
    if args.decline {
        decline(&home, &args, &invitation, &code)?;
        match json {
            true => print_json(&json!({ "account": "declined", "shares": [] })),
            false => outln!("The invitation is declined; the sharer is informed."),
        }
        return Ok(ExitCode::SUCCESS);
    }
    let key = args.key.resolve(&home.profile)?;
    let holder = match key.exists() {
        true => HolderKey::open(&key)?,
        false => HolderKey::create_pair(&key)?,
    };
    let account = match &args.account {
        Some(account) => account.clone(),
        None => account_named_like(&key)?,
    };
    let accepted = match &invitation {
        Invitation::Service(base, id) => by_service(&args, base, id, &code, &account, &holder)?,
        Invitation::Database(id) => by_database(&home, &args, id, &code, &account, &holder)?,
    };
    for (target, share, pass) in &accepted {
        let name = target.replace(':', "-");
        let file = args
            .out
            .join(format!("{name}-{}.pass", share.get(..8).unwrap_or(share)));
        files::replace(&file, pass, 0o644)?;
        if !json {
            outln!("{target}  {}", file.display());
        }
    }
    if json {
        let shares = accepted.iter();
        let shares = shares.map(|(target, share, _)| json!({ "target": target, "share": share }));
        print_json(&json!({
            "account": account.as_str(), "shares": shares.collect::<Vec<_>>(),
        }));
    } else if accepted.is_empty() {
        outln!("nothing to accept: the invitation has no shares left");
    } else {
        outln!("Send with `doorkey send DEVICE OPERATION --key FILE --pass PASS --broker URL`.");
    }
    Ok(ExitCode::SUCCESS)
}

/// The account with the name of a key file.
fn account_named_like(key: &Path) -> Result<Id, CliError> {
    let name = key.file_stem().and_then(|name| name.to_str());
    let name = name.unwrap_or_default();
    Id::new(name).map_err(|rule| {
        CliError::new(
            exit_status::USAGE,
            format!("`{name}` cannot be the name of an account: {rule}"),
        )
        .with_remedy("Give --account ACCOUNT.")
    })
}

fn by_service(
    args: &Accept,
    base: &str,
    id: &Bytes<16>,
    code: &InviteCode,
    account: &Id,
    holder: &HolderKey,
) -> Result<Accepted, CliError> {
    let client = Client::new(base, args.service_ca.as_ref())?;
    let path = |action: &str| format!("/v1/invitations/{id}/{action}");
    let shown = json!({ "code": code.formatted() });
    let invitation = client.request("POST", &path("look"), Some(&shown))?;
    let unexpected = || CliError::new(exit_status::DATA, "unexpected response of the service");
    let platform = invitation["platform"]
        .as_str()
        .and_then(|name| Id::new(name).ok());
    let message = accept_message(&platform.ok_or_else(unexpected)?, id, account);
    let region = args.region.as_ref().map(ToString::to_string);
    let region = region.or_else(|| invitation["region"].as_str().map(str::to_owned));
    let body = json!({
        "code": code.formatted(), "account": account.as_str(), "key": holder.public().hex(),
        "enterprise": args.enterprise.as_ref().map(ToString::to_string),
        "region": region, "language": args.language,
        "proof": holder.sign_text(&message).hex(),
    });
    let accepted = client.request("POST", &path("acceptance"), Some(&body))?;
    let read = |row: &Value| {
        let pass = data_encoding::HEXLOWER
            .decode(row["pass"].as_str()?.as_bytes())
            .ok()?;
        let share = &row["share"];
        Some((
            share["target"].as_str()?.to_owned(),
            share["id"].as_str()?.to_owned(),
            pass,
        ))
    };
    let rows = accepted.as_array().ok_or_else(unexpected)?;
    rows.iter()
        .map(|row| read(row).ok_or_else(unexpected))
        .collect()
}

fn by_database(
    home: &IssuerDir,
    args: &Accept,
    prefix: &IdPrefix,
    code: &InviteCode,
    account: &Id,
    holder: &HolderKey,
) -> Result<Accepted, CliError> {
    let now = clock::system();
    block_on(async {
        let platform = home.open().await?;
        let id = &ids::find_invitation(&platform, prefix).await?;
        let (_, shares) = platform.invitation(id, code, now).await?;
        let region = shares.first().map(|share| share.region.clone());
        let region = args.region.clone().or(region);
        let message = accept_message(platform.name(), id, account);
        let acceptance = Acceptance {
            account: account.clone(),
            key: holder.public(),
            enterprise: args.enterprise.clone(),
            region: region.unwrap_or_else(|| platform.name().clone()),
            language: args.language.clone(),
            proof: holder.sign_text(&message),
        };
        let passes = platform
            .accept(id, code, &acceptance, now)
            .await?
            .into_iter();
        let accepted =
            passes.map(|(share, pass)| (share.audience.to_string(), share.id.hex(), pass));
        Ok(accepted.collect())
    })
}

fn decline(
    home: &IssuerDir,
    args: &Accept,
    invitation: &Invitation<'_>,
    code: &InviteCode,
) -> Result<(), CliError> {
    match invitation {
        Invitation::Service(base, id) => {
            let client = Client::new(base, args.service_ca.as_ref())?;
            let body = json!({ "code": code.formatted() });
            let path = format!("/v1/invitations/{id}/refusal");
            client.request("POST", &path, Some(&body))?;
            Ok(())
        }
        Invitation::Database(prefix) => block_on(async {
            let platform = home.open().await?;
            let id = ids::find_invitation(&platform, prefix).await?;
            Ok(platform.decline(&id, code, clock::system()).await?)
        }),
    }
}
