//! `doorward provision`: gives a device its id, its key, the issuer that it will trust, and the way
//! to its brokers. What was done once is not done again.

use doorward_terminal::outln;
mod issuer_trust;
mod links;
mod options;
mod prompt;
mod seal;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;

use crate::store::{Identity, Pinned};
use doorward_protocol::wire::{Claim, Hash, Id, SecretKey, format_fingerprint};
use doorward_terminal::{CliError, exit_status, qr};
use doorward_transport::files;
use issuer_trust::Trusted;
use links::LinkChange;
use options::Answers;
pub(super) use options::Provision;

/// What is to be done, before any of it is.
struct Plan {
    /// The state directory.
    state: PathBuf,
    device: Id,
    issuers: Trusted,
    /// The device as it is, if it was provisioned before, with the same id and issuer.
    before: Option<Pinned>,
    /// Files of the configuration as they will be.
    changes: Vec<LinkChange>,
    /// Where the key will be kept sealed.
    seal: Option<PathBuf>,
}

pub(super) fn run(args: Provision) -> Result<ExitCode, CliError> {
    let (json, dry_run) = (args.json, args.dry_run);
    let plan = plan(args)?;
    if dry_run {
        show_plan(&plan, json);
        return Ok(ExitCode::SUCCESS);
    }
    let claim = carry_out(&plan)?;
    let now = Pinned::read(&plan.state)?.ok_or_else(|| {
        CliError::new(
            exit_status::IO,
            "what was just written is not there any more",
        )
    })?;
    print(&plan, &now, claim.as_ref(), json);
    Ok(ExitCode::SUCCESS)
}

/// Finds out what has to be done, asking for what is missing if somebody is there. Nothing is
/// written yet.
fn plan(args: Provision) -> Result<Plan, CliError> {
    let mut ask = prompt::Ask::new(args.json);
    let place = links::ConfigTarget::of(&args)?;
    let before = Pinned::read(&place.state)?;
    let mut answers = Answers::merged(args.answers, args.answers_file.as_deref())?;
    answers.check()?;
    answers.complete(&mut ask, before.as_ref(), place.lacks_a_link())?;
    let device = answers.device.clone().ok_or_else(options::missing)?;
    let issuers = match (&answers.issuers, &before) {
        (Some(given), _) => issuer_trust::read(given)?,
        (None, Some(before)) => Trusted::pinned(before),
        (None, None) => return Err(options::missing()),
    };
    if let Some(before) = &before {
        agrees(before, &device, &issuers)?;
    }
    if before.is_none() || answers.fingerprint.is_some() {
        issuer_trust::confirm(&issuers, answers.fingerprint.as_deref(), args.yes, &mut ask)?;
    }
    let changes = place.changes(&answers)?;
    let seal = answers.seal.then(seal::path).filter(|sealed| {
        // A key that is sealed already stays as it is.
        before.is_none() || !sealed.exists()
    });
    if seal.is_some() {
        seal::possible(place.config())?;
    }
    Ok(Plan {
        state: place.state,
        device,
        issuers,
        before,
        changes,
        seal,
    })
}

/// A device has one id, one issuer and one owner, until it is reset.
fn agrees(before: &Pinned, device: &Id, issuers: &Trusted) -> Result<(), CliError> {
    let why = if before.device != *device {
        format!("this device is {} already", before.device)
    } else if before.fingerprint != issuers.fingerprint {
        format!(
            "this device trusts {} already, by a file with SHA-256 {}",
            before.issuers.iss, before.fingerprint
        )
    } else {
        return Ok(());
    };
    let why = match &before.owner {
        Some(owner) => format!("{why}, and belongs to {owner}"),
        None => why,
    };
    Err(CliError::new(exit_status::DENIED, why).with_remedy(
        "A device is provisioned once. Whoever stands before it can make it new: doorward \
         factory-reset",
    ))
}

/// Does it: the configuration first, then who the device is, its id last of all. Returns the claim,
/// if the device has no owner.
fn carry_out(plan: &Plan) -> Result<Option<Claim>, CliError> {
    for change in &plan.changes {
        change.write()?;
    }
    let owner = plan.before.as_ref().and_then(|it| it.owner.as_ref());
    let (key, secret) = match &plan.before {
        None => {
            let key = SecretKey::from_seed(&random()?);
            let secret = Claim::secret(&random()?);
            Identity::create(
                &plan.state,
                &plan.device,
                &key,
                &plan.issuers.bytes,
                &secret,
            )?;
            (key.public(), Some(secret))
        }
        Some(before) if owner.is_some() => (before.key, None),
        Some(before) => {
            let secret = match &before.claim {
                Some(secret) => secret.clone(),
                // It had an owner, who has deleted it.
                None => {
                    let secret = Claim::secret(&random()?);
                    Identity::replace_claim(&plan.state, &secret)?;
                    secret
                }
            };
            (before.key, Some(secret))
        }
    };
    if let Some(sealed) = &plan.seal {
        seal::seal(&plan.state, sealed)?;
    }
    files::give_to_owner_of(&plan.state, &plan.state.join("identity"))?;
    Ok(secret.map(|secret| Claim {
        device: plan.device.clone(),
        key,
        secret,
    }))
}

fn random<const N: usize>() -> Result<[u8; N], CliError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| CliError::new(exit_status::IO, error))?;
    Ok(bytes)
}

fn show_plan(plan: &Plan, as_json: bool) {
    let files: Vec<&Path> = plan.changes.iter().map(|it| it.path.as_path()).collect();
    if as_json {
        let out = json!({
            "dry_run": true, "device": plan.device.as_str(),
            "issuers": plan.issuers.fingerprint.hex(), "new": plan.before.is_none(),
            "files": files, "sealed": plan.seal,
        });
        outln!("{out}");
        return;
    }
    outln!("Nothing was written. This would be done:");
    match &plan.before {
        None => outln!("  {}: a new key for {}", plan.state.display(), plan.device),
        Some(_) => outln!("  {}: stays as it is", plan.state.display()),
    }
    for change in &plan.changes {
        outln!("  {}:", change.path.display());
        match change.shown() {
            Some(text) => text.lines().for_each(|line| outln!("    {line}")),
            None => outln!("    the configuration that doorward is shipped with"),
        }
    }
    if let Some(sealed) = &plan.seal {
        outln!("  {}: the key, sealed to this machine", sealed.display());
    }
}

fn print(plan: &Plan, now: &Pinned, claim: Option<&Claim>, as_json: bool) {
    let claim = claim.map(ToString::to_string);
    if as_json {
        let out = json!({
            "device": now.device.as_str(), "key": now.key.hex(),
            "issuers": now.fingerprint.hex(), "new": plan.before.is_none(), "claim": claim,
            "owner": now.owner.as_ref().map(Id::as_str),
            "files": plan.changes.iter().map(|it| &it.path).collect::<Vec<_>>(),
        });
        outln!("{out}");
        return;
    }
    outln!("device   {}", now.device);
    outln!("key      {}", now.key);
    outln!(
        "trusts   {}, SHA-256 {}",
        now.issuers.iss,
        shown(now.fingerprint)
    );
    for change in &plan.changes {
        outln!("wrote    {}", change.path.display());
    }
    let start = "systemctl enable --now doorward    (without systemd: doorward run)";
    match (&claim, &now.owner) {
        (Some(claim), _) => {
            outln!("claim    {claim}");
            qr::show(claim);
            outln!();
            outln!("Whoever has the claim can become the owner, once. Next:");
            outln!(
                "  where the issuer is:  doorkey register '{claim}' --owner ACCOUNT --owner-key FILE --broker URL"
            );
            outln!("  or, with a platform:  show it to the platform's application");
            outln!("  here:                 {start}");
            outln!("  then, here:           doorward doctor");
        }
        (None, owner) => {
            let owner = owner.as_ref().map_or("nobody", Id::as_str);
            outln!("owner    {owner}; there is nothing left to claim");
        }
    }
}

fn shown(fingerprint: Hash) -> String {
    format_fingerprint(&fingerprint.hex())
}

/// Takes away what provisioning has written beside the state directory.
pub(super) fn forget(config: &Path) -> Result<(), CliError> {
    links::forget(config)?;
    seal::forget(config)
}
