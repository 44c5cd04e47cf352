//! `doorkey send`: one command, the statements to attach, and where a large result goes.

use doorward_terminal::outln;
use std::process::ExitCode;
use std::time::Duration;

use crate::cli::IssuerDir;
use crate::cli::args::Send;
use crate::cli::receipt;
use crate::cli::value_parsers::Argument;
use crate::error::client_error;
use doorward_client::{CommandRequest, HolderKey};
use doorward_client::{Progress, SendParams, fetch_result, send};
use doorward_protocol::wire::{
    Audience, Bundle, Id, KeyBytes, Map, Outcome, PublicKey, Registration,
};
use doorward_terminal::{CliError, block_on, exit_status};
use doorward_transport::files;

/// Sends the command and prints its receipt.
pub(crate) fn run(home: &IssuerDir, args: Send, json: bool) -> Result<ExitCode, CliError> {
    let holder = HolderKey::open(&args.key)?;
    let (mut carry, mut if_missing) = (Vec::new(), Vec::new());
    let mut device_key = args.device_key.map(|key| key.0);
    if let Some(pass) = &args.pass {
        let bytes = files::read(pass, 1 << 16)?;
        device_key = device_key.or(key_in_pass(&bytes, &args.device));
        carry.push(bytes);
    }
    // With the issuer's directory, attach the statements that the device is missing.
    let known = block_on(async {
        let platform = home.open().await?;
        let device = platform.device(&args.device).await?;
        Ok((device, platform.validity_statements(&args.device).await?))
    });
    match known {
        Ok((Some(device), kept)) => {
            device_key = device_key.or(Some(device.key));
            if_missing = kept;
        }
        Ok((None, _)) => {}
        // With a pass the issuer's directory is not needed.
        Err(_) if device_key.is_some() || !home.directory.exists() => {}
        Err(failure) => return Err(failure),
    }
    for file in &args.carry {
        carry.push(files::read(file, 1 << 16)?);
    }
    let device_key = device_key.ok_or_else(|| {
        CliError::new(
            exit_status::DATA,
            format!(
                "the key of {} is not known, so its receipts could not be verified",
                args.device
            ),
        )
        .with_remedy("Give --pass FILE, --device-key HEX, or the issuer's directory.")
    })?;
    let device_key = PublicKey::new(&device_key)
        .map_err(|error| CliError::new(exit_status::DATA, format!("the device's key: {error}")))?;
    let command = CommandRequest {
        device: args.device,
        operation: args.operation,
        args: Map::new(
            args.args
                .into_iter()
                .map(|Argument(name, value)| (name, value)),
        ),
        ttl: args.ttl,
        dry: args.dry_run,
    };
    let broker = args.broker.broker().ok_or_else(|| {
        CliError::new(exit_status::USAGE, "no broker given").with_remedy("Give --broker URL.")
    })?;
    let params = SendParams {
        carry: &carry,
        if_missing: &if_missing,
        wait: Duration::from_secs(args.wait),
        results: args.out.is_some(),
        progress: &|progress| print_progress(&progress, json),
        ..SendParams::new(&broker, &device_key, &holder, &command)
    };
    let sent = block_on(async { send(&params).await.map_err(client_error) })?;
    receipt::print(&params, &sent, json);
    if let (Some(path), Some(receipt)) = (&args.out, &sent.receipt)
        && receipt.body.outcome == Outcome::Done
    {
        let result = block_on(async {
            fetch_result(&params, receipt, sent.chunks)
                .await
                .map_err(client_error)
        })?;
        files::replace(path, &result, 0o600)?;
        if !json {
            outln!("written   {} bytes to {}", result.len(), path.display());
        }
    }
    Ok(ExitCode::from(receipt::exit_of(sent.receipt.as_ref())))
}

/// Prints on standard error how far a long operation has come.
fn print_progress(progress: &Progress<'_>, json: bool) {
    use std::io::IsTerminal;
    let receipt = match progress {
        Progress::Executing(receipt) => receipt,
        Progress::ConnectionLost(error) => {
            eprintln!("{error}; waiting for the broker");
            return;
        }
    };
    if json && !std::io::stderr().is_terminal() {
        return;
    }
    let rows = receipt.body.result.iter();
    let rows: Vec<String> = rows
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    eprintln!("executing {}", rows.join(", "));
}

/// The device's key in the registration of a pass. It is as trustworthy as the source of the pass.
fn key_in_pass(pass: &[u8], device: &Id) -> Option<KeyBytes> {
    let bundle = Bundle::parse(pass).ok()?;
    bundle
        .statements
        .into_iter()
        .filter_map(Result::ok)
        .filter_map(|envelope| envelope.claims::<Registration>().ok())
        .find(|registration| registration.aud == Audience::Device(device.clone()))
        .map(|registration| registration.body.device)
}
