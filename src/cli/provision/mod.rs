//! `doorward provision`: gives a device its ID, its key, the issuer that it trusts, and its links.
//! Idempotent: steps that are complete are not repeated.

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

/// The steps to do, before any of them is done.
struct Plan {
    /// The state directory.
    state: PathBuf,
    device: Id,
    issuers: Trusted,
    /// The device as provisioned before, with the same ID and issuer.
    before: Option<Pinned>,
    /// The configuration files to write.
    changes: Vec<LinkChange>,
    /// Path of the encrypted key, if it is to be encrypted.
    seal: Option<PathBuf>,
}

pub(super) fn run(args: Provision) -> Result<ExitCode, CliError> {
    let (json, dry_run) = (args.json, args.dry_run);
    let plan = plan(args)?;
    if dry_run {
        show_plan(&plan, json);
        return Ok(ExitCode::SUCCESS);
    }
    let claim = apply(&plan)?;
    let now = Pinned::read(&plan.state)?.ok_or_else(|| {
        CliError::new(
            exit_status::IO,
            "the identity cannot be read back after it was written",
        )
    })?;
    print(&plan, &now, claim.as_ref(), json);
    Ok(ExitCode::SUCCESS)
}

/// Determines the steps, and asks for missing values on a terminal. Writes nothing.
fn plan(args: Provision) -> Result<Plan, CliError> {
    let mut prompt = prompt::Prompt::new(args.json);
    let target = links::ConfigTarget::of(&args)?;
    let before = Pinned::read(&target.state)?;
    let mut answers = Answers::merged(args.answers, args.answers_file.as_deref())?;
    answers.check()?;
    answers.complete(&mut prompt, before.as_ref(), target.lacks_a_link())?;
    let device = answers.device.clone().ok_or_else(options::missing)?;
    let issuers = match (&answers.issuers, &before) {
        (Some(given), _) => issuer_trust::read(given)?,
        (None, Some(before)) => Trusted::pinned(before),
        (None, None) => return Err(options::missing()),
    };
    if let Some(before) = &before {
        check_unchanged(before, &device, &issuers)?;
    }
    if before.is_none() || answers.fingerprint.is_some() {
        issuer_trust::confirm(
            &issuers,
            answers.fingerprint.as_deref(),
            args.yes,
            &mut prompt,
        )?;
    }
    let changes = target.changes(&answers)?;
    let seal = answers.seal.then(seal::path).filter(|sealed| {
        // An encrypted key is kept.
        before.is_none() || !sealed.exists()
    });
    if seal.is_some() {
        seal::check_available(target.config())?;
    }
    Ok(Plan {
        state: target.state,
        device,
        issuers,
        before,
        changes,
        seal,
    })
}

/// Refuses another ID or issuer: they change only by a factory reset.
fn check_unchanged(before: &Pinned, device: &Id, issuers: &Trusted) -> Result<(), CliError> {
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
        "A device is provisioned once. To start again, run at the device itself: doorward \
         factory-reset",
    ))
}

/// Executes the plan: the configuration first, then the identity, with the device's ID last.
/// Returns the claim, if the device has no owner.
fn apply(plan: &Plan) -> Result<Option<Claim>, CliError> {
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
                // The former owner has deleted the device.
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
    outln!("Nothing was written. Without --dry-run:");
    match &plan.before {
        None => outln!("  {}: a new key for {}", plan.state.display(), plan.device),
        Some(_) => outln!("  {}: unchanged", plan.state.display()),
    }
    for change in &plan.changes {
        outln!("  {}:", change.path.display());
        match change.shown() {
            Some(text) => text.lines().for_each(|line| outln!("    {line}")),
            None => outln!("    the shipped configuration"),
        }
    }
    if let Some(sealed) = &plan.seal {
        outln!(
            "  {}: the key, encrypted for this machine",
            sealed.display()
        );
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
        format_hash(now.fingerprint)
    );
    for change in &plan.changes {
        outln!("wrote    {}", change.path.display());
    }
    if plan.before.is_some() && plan.changes.is_empty() && plan.seal.is_none() {
        outln!("unchanged: the device was provisioned before");
    }
    let start = "systemctl enable --now doorward    (without systemd: doorward run)";
    match (&claim, &now.owner) {
        (Some(claim), _) => {
            outln!("claim    {claim}");
            qr::show(claim);
            outln!();
            outln!("With the claim, one account can become the owner, once. Next:");
            outln!(
                "  at the issuer:        doorkey register '{claim}' --owner ACCOUNT --owner-public-key FILE --broker URL"
            );
            outln!("  or, with a platform:  enter it in the platform's application");
            outln!("  here:                 {start}");
            outln!("  then, here:           doorward doctor");
        }
        (None, owner) => {
            let owner = owner.as_ref().map_or("none", Id::as_str);
            outln!("owner    {owner} (already claimed)");
        }
    }
}

fn format_hash(fingerprint: Hash) -> String {
    format_fingerprint(&fingerprint.hex())
}

/// Removes the files that provisioning has written outside the state directory.
pub(super) fn forget(config: &Path) -> Result<(), CliError> {
    links::forget(config)?;
    seal::forget(config)
}
