//! `doorkey accept`: takes what somebody shares, with a key that never leaves this machine.

use doorward_terminal::outln;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::cli::IssuerDir;
use crate::cli::api_client::Client;
use crate::domain::InviteCode;
use crate::service::{Acceptance, accept_message};
use doorward_client::HolderKey;
use doorward_protocol::wire::{Bytes, Id};
use doorward_terminal::{CliError, block_on, exit_status, print_json};
use doorward_transport::clock;
use doorward_transport::files;

#[derive(Debug, clap::Args)]
pub(crate) struct Accept {
    /// The link of the invitation with its code, like https://HOST/accept/ID#CODE; or ID#CODE, if
    /// the issuer's ledger is on this machine.
    invitation: String,
    /// Your key. If there is none, it is made.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Your account, or the name for a new one; the key's file name without it.
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<Id>,
    /// The enterprise of a new account.
    #[arg(long, value_name = "NAME")]
    enterprise: Option<Id>,
    /// The region of a new account; that of the devices without it.
    #[arg(long, value_name = "REGION")]
    region: Option<Id>,
    /// The language of messages: en, de or fr.
    #[arg(long, value_name = "LANGUAGE", default_value = "en")]
    language: String,
    /// Certificates of the authorities that may vouch for the service.
    #[arg(long, value_name = "FILE")]
    server_ca: Option<PathBuf>,
    /// A directory for the passes, one for each device or site.
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Say no instead.
    #[arg(long)]
    decline: bool,
}

/// What was accepted: what it is for, its id, and the pass.
type Accepted = Vec<(String, String, Vec<u8>)>;

pub(crate) fn run(home: &IssuerDir, args: &Accept, json: bool) -> Result<ExitCode, CliError> {
    let wrong = || {
        CliError::new(exit_status::USAGE, "that is neither a link nor ID#CODE")
            .with_remedy("Copy it whole, with what stands behind the #.")
    };
    let (place, code) = args.invitation.split_once('#').ok_or_else(wrong)?;
    let (base, id) = match place.rsplit_once("/accept/") {
        Some((base, id)) => (Some(base), id),
        None => (None, place),
    };
    let id: Bytes<16> = Bytes::from_hex(id).ok_or_else(wrong)?;
    let code = InviteCode::typed(code);
    if args.decline {
        decline(home, args, base, &id, &code)?;
        return said(json, "declined", &Vec::new());
    }
    let holder = match args.key.exists() {
        true => HolderKey::open(&args.key)?,
        false => {
            let holder = HolderKey::create(&args.key)?;
            let public = args.key.with_extension("pub");
            files::replace(&public, format!("{}\n", holder.public()).as_bytes(), 0o644)?;
            holder
        }
    };
    let account = match &args.account {
        Some(account) => account.clone(),
        None => {
            let name = args
                .key
                .file_stem()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            Id::new(name).map_err(|rule| {
                CliError::new(
                    exit_status::USAGE,
                    format!("`{name}` cannot be an account: {rule}"),
                )
                .with_remedy("Give --account NAME.")
            })?
        }
    };
    let accepted = match base {
        Some(base) => by_service(args, base, &id, &code, &account, &holder)?,
        None => by_ledger(home, args, &id, &code, &account, &holder)?,
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
    said(json, account.as_str(), &accepted)
}

fn said(json: bool, account: &str, accepted: &Accepted) -> Result<ExitCode, CliError> {
    if json {
        let shares = accepted.iter();
        let shares = shares.map(|(target, share, _)| json!({ "target": target, "share": share }));
        print_json(&json!({ "account": account, "shares": shares.collect::<Vec<_>>() }));
    } else if accepted.is_empty() {
        outln!("The sharer sees that you declined.");
    } else {
        outln!("Send with `doorkey send DEVICE OPERATION --key FILE --pass PASS --broker URL`.");
    }
    Ok(ExitCode::SUCCESS)
}

fn by_service(
    args: &Accept,
    base: &str,
    id: &Bytes<16>,
    code: &InviteCode,
    account: &Id,
    holder: &HolderKey,
) -> Result<Accepted, CliError> {
    let client = Client::new(base, args.server_ca.as_ref())?;
    let path = |what: &str| format!("/v1/invitations/{id}/{what}");
    let given = json!({ "code": code.shown() });
    let invitation = client.ask("POST", &path("look"), Some(&given))?;
    let strange = || CliError::new(exit_status::DATA, "the service answers strangely");
    let platform = invitation["platform"]
        .as_str()
        .and_then(|name| Id::new(name).ok());
    let message = accept_message(&platform.ok_or_else(strange)?, id, account);
    let region = args.region.as_ref().map(ToString::to_string);
    let region = region.or_else(|| invitation["region"].as_str().map(str::to_owned));
    let body = json!({
        "code": code.shown(), "account": account.as_str(), "key": holder.public().hex(),
        "enterprise": args.enterprise.as_ref().map(ToString::to_string),
        "region": region, "language": args.language,
        "proof": holder.sign_text(&message).hex(),
    });
    let accepted = client.ask("POST", &path("acceptance"), Some(&body))?;
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
    let rows = accepted.as_array().ok_or_else(strange)?;
    rows.iter()
        .map(|row| read(row).ok_or_else(strange))
        .collect()
}

fn by_ledger(
    home: &IssuerDir,
    args: &Accept,
    id: &Bytes<16>,
    code: &InviteCode,
    account: &Id,
    holder: &HolderKey,
) -> Result<Accepted, CliError> {
    let now = clock::system();
    block_on(async {
        let platform = home.open().await?;
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
    base: Option<&str>,
    id: &Bytes<16>,
    code: &InviteCode,
) -> Result<(), CliError> {
    match base {
        Some(base) => {
            let client = Client::new(base, args.server_ca.as_ref())?;
            let given = json!({ "code": code.shown() });
            client.ask(
                "POST",
                &format!("/v1/invitations/{id}/refusal"),
                Some(&given),
            )?;
            Ok(())
        }
        None => block_on(async {
            Ok(home
                .open()
                .await?
                .decline(id, code, clock::system())
                .await?)
        }),
    }
}
