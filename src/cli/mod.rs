//! The device's program.

#![allow(clippy::print_stderr, reason = "this module prints for people")]

mod doctor;
mod events;
mod export;
mod factory_reset;
mod import;
mod openmetrics;
mod provision;
mod status;
mod validate;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::Config;
use doorward_terminal::{CliError, block_on, exit_status};

/// Access control on the device itself: signed share tokens decide every MQTT command, with
/// the network cable out.
#[derive(Debug, Parser)]
#[command(name = "doorward", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Where the configuration is, if nothing else is said.
pub(super) const DEFAULT_CONFIG: &str = "/etc/doorward/doorward.toml";

/// The configuration that a command is about.
#[derive(Debug, Args)]
pub(super) struct ConfigFile {
    /// The configuration.
    #[arg(
        long,
        value_name = "FILE",
        default_value = DEFAULT_CONFIG
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
    /// Give this device its id, a new key, the issuer that it will trust, and its links. Asks for
    /// what is missing. What was done once is not done again.
    Provision(Box<provision::Provision>),
    /// Make this device new: forget who it is, whose it was, and all that it knew. For whoever
    /// stands before it.
    FactoryReset(factory_reset::FactoryReset),
    /// Say how the running daemon is: links, lists, time, store, log.
    Status(status::Status),
    /// Take statements that somebody has brought, such as on a stick.
    Import(import::Import),
    /// Read the event log.
    Events(events::Events),
    /// Show the whole of it on this machine in half a minute: a broker, a device, shares,
    /// commands allowed and refused, with and without the cloud.
    #[cfg(feature = "demo")]
    Demo(doorward_demo::Demo),
}

/// Runs the command line.
///
/// # Errors
/// What the command could not do.
pub fn run(cli: Cli) -> Result<ExitCode, CliError> {
    match cli.command {
        Command::Run(file) => serve(&file.config),
        Command::Provision(args) => provision::run(*args),
        Command::FactoryReset(args) => factory_reset::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Validate(args) => validate::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Events(events) => events::run(&events),
        #[cfg(feature = "demo")]
        Command::Demo(demo) => doorward_demo::run(&demo),
    }
}

fn serve(path: &Path) -> Result<ExitCode, CliError> {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let config = Config::load(path).map_err(|error| {
        CliError::new(exit_status::CONFIG, error).with_remedy(
            "`doorward provision` makes one; /etc/doorward/doorward.toml explains itself.",
        )
    })?;
    for (name, why) in config.unusable_operations() {
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
        "If this device is new, give it an identity: doorward provision. Its state directory is {}.",
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
