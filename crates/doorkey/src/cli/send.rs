//! `doorkey send`: sends one command, with the statements that the device is missing, and fetches a
//! large result.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use crate::cli::args::{IssuerArgs, KeyArgs, OutputArgs};
use crate::cli::broker_args::BrokerArgs;
use crate::cli::receipt;
use crate::cli::value_parsers::{Argument, PublicHex};
use crate::error::client_error;
use doorward_client::{CommandRequest, HolderKey};
use doorward_client::{Progress, SendParams, fetch_result, send};
use doorward_protocol::wire::{
    Audience, Bundle, Id, KeyBytes, Map, Operation, Outcome, PublicKey, Registration,
};
use doorward_terminal::{CliError, block_on, exit_status, outln};
use doorward_transport::files;

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  doorkey send ups-7 status.read --key anna.key --pass anna.pass --broker mqtts://broker.example.org
  doorkey send ups-7 device.reboot --key ole.key --dry-run
  doorkey send ups-7 report.read kind=events --key ole.key --out events.csv
  doorkey send ups-7 status.read --profile lab

Exit status: 0 done, 77 denied, 1 failed, 75 result unknown, 69 no answer.")]
pub(crate) struct Send {
    /// Id of the device
    device: Id,
    /// Operation, like device.reboot
    operation: Operation,
    /// Arguments, as NAME=VALUE; numbers, true and false are recognized, @FILE is a file's content
    #[arg(value_name = "NAME=VALUE")]
    args: Vec<Argument>,
    #[command(flatten)]
    key: KeyArgs,
    /// File with the pass that came with your share; it also contains the device's public key
    #[arg(long, value_name = "FILE")]
    pass: Option<PathBuf>,
    /// The device's public key, if there is neither a pass nor the issuer's directory: a *.pub file
    /// or 64 hexadecimal digits
    #[arg(long, alias = "device-key", value_name = "PUBLIC_KEY")]
    device_public_key: Option<PublicHex>,
    /// File with statements to deliver to the device along with the command; may be repeated
    #[arg(long, value_name = "FILE")]
    carry: Vec<PathBuf>,
    /// File for a result that is larger than a receipt, like that of diag.bundle
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Ask whether the command would be allowed, without running it
    #[arg(long)]
    dry_run: bool,
    /// How long to wait for the receipt, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    wait: u64,
    /// How long the command is valid, in seconds, at most 300
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    ttl: u64,
    #[command(flatten)]
    broker: BrokerArgs,
    #[command(flatten)]
    issuer: IssuerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Sends the command and prints its receipt.
pub(crate) fn run(args: Send) -> Result<ExitCode, CliError> {
    let home = args.issuer.resolve()?;
    let json = args.output.json;
    let broker = home.required_broker(args.broker)?;
    let holder = HolderKey::open(&args.key.resolve(&home.profile)?)?;
    let (mut carry, mut if_missing) = (Vec::new(), Vec::new());
    let mut device_key = args.device_public_key.map(|key| key.0);
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
        Ok((Some(device), statements)) => {
            device_key = device_key.or(Some(device.key));
            if_missing = statements;
        }
        Ok((None, _)) => {}
        // With a pass the issuer's directory is not needed.
        Err(_) if device_key.is_some() || !home.directory.exists() => {}
        Err(error) => return Err(error),
    }
    for file in &args.carry {
        carry.push(files::read(file, 1 << 16)?);
    }
    let device_key = device_key.ok_or_else(|| {
        CliError::new(
            exit_status::DATA,
            format!(
                "the public key of {} is unknown, so its receipts could not be verified",
                args.device
            ),
        )
        .with_remedy("Give --pass FILE, --device-public-key PUBLIC_KEY, or --issuer DIR.")
    })?;
    let device_key = PublicKey::new(&device_key).map_err(|error| {
        CliError::new(
            exit_status::DATA,
            format!("the device's public key: {error}"),
        )
    })?;
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

/// Prints the progress of a long operation to standard error.
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
