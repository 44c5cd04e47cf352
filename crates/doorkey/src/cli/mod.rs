//! The command line of `doorkey`.
#![allow(clippy::print_stderr, reason = "this module prints for people")]

mod accept;
mod api;
mod api_client;
mod args;
mod broker_args;
mod bundle;
mod cancel;
mod explain;
mod group;
mod ids;
mod inspect;
mod issuer;
mod key;
mod ledger_commands;
mod licence;
mod log;
mod log_collect;
mod profile;
mod receipt;
mod register;
mod release;
mod rotate;
mod send;
mod serve;
mod share;
mod shares_list;
mod value_parsers;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub(crate) use args::IssuerDir;

use doorward_terminal::{CliError, exit_status};

/// Create shares, cancel them, and send commands to devices
#[derive(Debug, Parser)]
#[command(
    name = "doorkey",
    version,
    max_term_width = 100,
    after_long_help = "\
Options can also come from the environment (DOORKEY_BROKER, DOORKEY_ISSUER, DOORKEY_DATABASE,
DOORKEY_KEY, DOORKEY_SERVICE) or from a profile of ~/.config/doorkey/config.toml. An option comes
before the environment, the environment before the profile.

Examples:
  doorkey issuer init acme
  doorkey key new ole.key
  doorkey share ups-7 --to anna@example.org --allow view --for 30d
  doorkey send ups-7 status.read --key ole.key --broker mqtts://broker.example.org"
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create or show a person's key, which signs commands
    #[command(after_long_help = key::EXAMPLES)]
    Key {
        #[command(subcommand)]
        command: key::Key,
    },
    /// Create an issuer, show it, and manage its keys, which devices trust
    #[command(after_long_help = issuer::EXAMPLES)]
    Issuer {
        #[command(subcommand)]
        command: issuer::Issuer,
    },
    /// Register a device to an owner, and set its plan
    Register(register::Register),
    /// Share devices with a person, a group or a guest
    Share(share::NewShareArgs),
    /// Accept or decline an invitation
    Accept(accept::Accept),
    /// Cancel shares, or renew the revocation list of a device
    Cancel(cancel::Cancel),
    #[command(flatten)]
    Change(ledger_commands::Change),
    /// List shares: given by an account, for an account, or of a device
    Shares(shares_list::Shares),
    /// Review who has access to which device until when, and which shares are unused
    Review(shares_list::Review),
    /// List an owner's alerts: new shares, first uses, repeated denials
    Alerts(shares_list::Alerts),
    /// Create an account in the database
    Account(ledger_commands::NewAccount),
    /// Create groups, and sign their member lists
    #[command(after_long_help = group::EXAMPLES)]
    Group {
        #[command(subcommand)]
        command: group::Group,
    },
    /// Answer a group's request for access to a site, through the service
    Access(api::Access),
    /// Call the HTTP API of the service, signed in with your key
    Api(api::Api),
    /// Sign in to the service and print the session token, valid for an hour, for other programs
    SignIn(api::SignIn),
    /// Run the service: the HTTP API for owners, recipients and groups, and updates of devices
    Serve(serve::Serve),
    /// Release a firmware image for a model of device
    Release(release::Release),
    /// Issue a licence for one device, as its vendor
    Licence(licence::NewLicence),
    /// Write all statements for a device to a file, for a device without a network
    Bundle(bundle::BundleArgs),
    /// Send a command to a device, and wait for its signed receipt
    Send(send::Send),
    /// Inspect a file: show the signed objects in it
    Inspect(inspect::Inspect),
    /// Collect a device's event log, and verify copies of it
    #[command(after_long_help = log::EXAMPLES)]
    Log {
        #[command(subcommand)]
        command: log::Log,
    },
    /// Explain a result code and its remedy, or list all codes
    Explain(explain::Explain),
}

/// Runs the command line.
///
/// # Errors
/// If the command fails.
pub fn run(cli: Cli) -> Result<ExitCode, CliError> {
    match cli.command {
        Command::Key { command } => key::run(command),
        Command::Issuer { command } => issuer::run(command),
        Command::Register(args) => register::run(args),
        Command::Share(args) => share::run(args),
        Command::Accept(args) => accept::run(args),
        Command::Cancel(args) => cancel::run(args),
        Command::Change(change) => ledger_commands::change(change),
        Command::Shares(args) => shares_list::shares(args),
        Command::Review(args) => shares_list::review(args),
        Command::Alerts(args) => shares_list::alerts(args),
        Command::Account(args) => ledger_commands::account(args),
        Command::Group { command } => group::run(command),
        Command::Access(args) => api::access(&args),
        Command::Api(args) => api::api(&args),
        Command::SignIn(args) => api::sign_in(&args),
        Command::Serve(args) => serve::run(args),
        Command::Release(args) => release::run(args),
        Command::Licence(args) => licence::run(args),
        Command::Bundle(args) => bundle::run(args),
        Command::Send(args) => send::run(args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Log { command } => log::run(command),
        Command::Explain(args) => explain::run(&args),
    }
}

fn published_text(published: bool) -> &'static str {
    if published {
        "; published"
    } else {
        "; not published, since no --broker was given"
    }
}

fn not_registered(device: &impl std::fmt::Display) -> CliError {
    CliError::new(
        exit_status::DATA,
        format!("{device} is not registered here"),
    )
    .with_remedy("Check its id, and --issuer.")
}
