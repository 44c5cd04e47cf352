//! The device's program.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use super::{Failure, block_on, device_status, doctor, events, import, status, validate};
use crate::config::Config;
use crate::store::Identity;
use crate::wire::{Id, SecretKey};

/// Access control on the device itself: signed share tokens decide every MQTT command, with
/// the network cable out.
#[derive(Debug, Parser)]
#[command(name = "doorward", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// The configuration that a command is about.
#[derive(Debug, Args)]
pub(super) struct ConfigFile {
    /// The configuration.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/etc/doorward/doorward.toml"
    )]
    pub(super) config: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon.
    Run(ConfigFile),
    /// Find out what is wrong with this device, and what to do about it.
    Doctor(doctor::Doctor),
    /// Check a configuration before it is used.
    Validate(validate::Validate),
    /// Give this device its id, a new key, and the issuer that it will trust. Done once.
    Provision {
        /// The state directory of the configuration.
        #[arg(long, value_name = "DIR", default_value = "/var/lib/doorward")]
        state: PathBuf,
        /// The id of this device: 1 to 64 of A-Z a-z 0-9 . _ : @ -
        #[arg(long, value_name = "ID")]
        device: Id,
        /// The issuer's `issuers.cwt`, as `doorkey issuer init` made it.
        #[arg(long, value_name = "FILE")]
        issuers: PathBuf,
        /// Print the result as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say how the running daemon is: links, lists, time, store, log.
    Status(device_status::Status),
    /// Take statements that somebody has brought, such as on a stick.
    Import(import::Import),
    /// Read the event log.
    Events(events::Events),
    /// Show the whole of it on this machine in half a minute: a broker, a device, shares,
    /// commands allowed and refused, with and without the cloud.
    #[cfg(feature = "demo")]
    Demo(super::demo::Demo),
}

/// Runs the command line.
///
/// # Errors
/// What the command could not do.
pub fn run(cli: Cli) -> Result<ExitCode, Failure> {
    match cli.command {
        Command::Run(file) => serve(&file.config),
        Command::Provision {
            state,
            device,
            issuers,
            json,
        } => provision(&state, &device, &issuers, json),
        Command::Doctor(args) => doctor::run(&args),
        Command::Validate(args) => validate::run(&args),
        Command::Status(args) => device_status::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Events(events) => events::run(&events),
        #[cfg(feature = "demo")]
        Command::Demo(demo) => super::demo::run(&demo),
    }
}

fn serve(path: &Path) -> Result<ExitCode, Failure> {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let config = Config::load(path).map_err(|error| {
        Failure::new(status::CONFIG, error)
            .with_remedy("config/doorward.toml in the source is an example with comments.")
    })?;
    for (name, why) in config.broken() {
        tracing::warn!(operation = %name, %why, "an operation cannot work as it is defined");
    }
    block_on(async {
        let stop = stop_signal().map_err(|error| Failure::new(status::IO, error))?;
        crate::agent::run(&config, stop)
            .await
            .map_err(|error| Failure::new(status::IO, error).with_remedy(start_remedy(&config)))?;
        Ok(ExitCode::SUCCESS)
    })
}

fn start_remedy(config: &Config) -> String {
    format!(
        "If this device is new, give it an identity: doorward provision --state {} --device ID \
         --issuers FILE",
        config.state.display()
    )
}

/// Ready when the service manager, or a person, asks the daemon to stop.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

fn provision(state: &Path, device: &Id, issuers: &Path, json: bool) -> Result<ExitCode, Failure> {
    let bytes = std::fs::read(issuers).map_err(|error| {
        Failure::new(
            status::IO,
            format!("cannot read {}: {error}", issuers.display()),
        )
    })?;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| Failure::new(status::IO, error))?;
    let key = SecretKey::from_seed(&seed);
    Identity::create(state, device, &key, &bytes)?;
    let fingerprint = crate::wire::hash(&bytes);
    if json {
        let out = serde_json::json!({
            "device": device.as_str(),
            "key": key.public().hex(),
            "issuers": fingerprint.hex(),
        });
        println!("{out}");
    } else {
        println!("device   {device}");
        println!("key      {}", key.public());
        println!("trusts   the issuer whose file has SHA-256 {fingerprint}");
        println!();
        println!("Next, where the issuer is:");
        println!(
            "  doorkey register {device} --device-key {} --owner ACCOUNT --owner-key FILE",
            key.public()
        );
    }
    Ok(ExitCode::SUCCESS)
}
