//! The commands of `doorward`.

#![allow(clippy::print_stderr, reason = "this module prints for people")]

mod device_files;
mod doctor;
mod events;
mod export;
mod factory_reset;
mod import;
mod openmetrics;
mod provision;
mod status;
mod validate;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::Config;
use crate::operation::unusable_operations;
use device_files::{DEFAULT_CONFIG, DEFAULT_STATE, DeviceFiles};
use doorward_terminal::{CliError, block_on, exit_status};

/// Access control on the device itself: signed share tokens decide every MQTT command, with
/// the network cable out.
#[derive(Debug, Parser)]
#[command(
    name = "doorward",
    version,
    max_term_width = 100,
    after_long_help = "Examples:
  doorward provision
  doorward doctor
  doorward status
  doorward events list"
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon.
    #[command(after_long_help = "Examples:
  doorward run
  doorward run --config /etc/doorward/doorward.toml")]
    Run(DeviceFiles),
    /// Find problems and how to fix them.
    ///
    /// Checks everything that the daemon depends on: configuration, clock, state directory,
    /// secrets, certificates, brokers, UPS, D-Bus and programs. The exit status is 1 if there is an
    /// error.
    #[command(after_long_help = "Examples:
  doorward doctor
  doorward doctor --config /etc/doorward/doorward.toml --json")]
    Doctor(doctor::Doctor),
    /// Check a configuration file.
    ///
    /// Reports syntax errors with their line, and operations that can never work. The exit status
    /// is 78 if there are any.
    #[command(after_long_help = "Examples:
  doorward validate
  doorward validate --config new.toml")]
    Validate(validate::Validate),
    /// Provision this device: its ID, a new key, the issuer that it trusts, and its links.
    ///
    /// Asks for missing values on a terminal. Can be repeated: the ID, the key and the issuer stay
    /// the same, links are updated. With --state alone, no configuration is written.
    #[command(after_long_help = "Examples:
  doorward provision
  doorward provision --device ups-7 --issuers issuers.cwt --local mqtt://127.0.0.1:1883
  doorward provision --answers fleet.toml --device ups-7 --json
  doorward provision --cloud mqtts://broker.example:8883 --ca /etc/doorward/ca.pem --dry-run")]
    Provision(Box<provision::Provision>),
    /// Reset this device to its factory state. Requires physical presence.
    ///
    /// Deletes the identity, the owner, all shares and the event log. Physical presence is proven
    /// at the device's own console, or by the program in `[factory_reset] presence`.
    #[command(after_long_help = "Examples:
  doorward factory-reset
  doorward factory-reset --config /etc/doorward/doorward.toml --json")]
    FactoryReset(factory_reset::FactoryReset),
    /// Show the daemon's status: links, revocation lists, time, database, event log.
    #[command(after_long_help = "Examples:
  doorward status
  doorward status --watch 5
  doorward status --openmetrics")]
    Status(status::Status),
    /// Import statements from files, such as from a USB drive.
    #[command(after_long_help = "Examples:
  doorward import /media/usb/ups-7.bundle
  doorward import ups-7.bundle --state /var/lib/doorward --json")]
    Import(import::Import),
    /// Show, export, verify or trim the event log.
    #[command(after_long_help = "Examples:
  doorward events list
  doorward events export --format csv
  doorward events verify")]
    Events(events::Events),
    /// Demonstrate access control on this machine, with a broker, a device and shares.
    ///
    /// Takes about fifteen seconds: commands are allowed and denied, with and without the cloud.
    #[cfg(feature = "demo")]
    #[command(after_long_help = "Examples:
  doorward demo
  doorward demo --stay")]
    Demo(doorward_demo::Demo),
}

/// Runs the command line.
///
/// # Errors
/// The reason why the command failed.
pub fn run(cli: Cli) -> Result<ExitCode, CliError> {
    match cli.command {
        Command::Run(files) => serve(&files),
        Command::Provision(args) => provision::run(*args),
        Command::FactoryReset(args) => factory_reset::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Validate(args) => validate::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Events(args) => events::run(&args),
        #[cfg(feature = "demo")]
        Command::Demo(args) => doorward_demo::run(&args),
    }
}

fn serve(files: &DeviceFiles) -> Result<ExitCode, CliError> {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let config = files.load().map_err(|error| {
        error.with_remedy(
            "`doorward provision` creates one; /etc/doorward/doorward.toml explains each setting.",
        )
    })?;
    for (name, why) in unusable_operations(&config) {
        tracing::warn!(operation = %name, %why, "an operation cannot work as it is defined");
    }
    block_on(async {
        let stop = stop_signal().map_err(|error| CliError::new(exit_status::IO, error))?;
        crate::daemon::run(&config, stop).await.map_err(|error| {
            CliError::new(exit_status::IO, error).with_remedy(start_remedy(&config))
        })?;
        Ok(ExitCode::SUCCESS)
    })
}

fn start_remedy(config: &Config) -> String {
    format!(
        "If this device is new, provision it: doorward provision. Its state directory is {}.",
        config.state.display()
    )
}

/// Completes when the service manager, or a person, asks the daemon to stop.
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
