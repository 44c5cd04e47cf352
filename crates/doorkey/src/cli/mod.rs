//! What owners, installers and clouds carry.

use doorward_terminal::outln;
mod accept;
mod api;
mod api_client;
mod args;
mod broker_args;
mod bundle;
mod cancel;
mod group;
mod inspect;
mod issuer;
mod ledger_commands;
mod licence;
mod log;
mod log_collect;
mod receipt;
mod release;
mod rotate;
mod send;
mod serve;
mod share;
mod shares_list;
mod value_parsers;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde_json::json;

use args::{Register, Send};
use cancel::Cancel;
use share::NewShareArgs;
use value_parsers::DeviceArg;

use crate::domain::NewRegistration;
use crate::service::Platform;
use doorward_client::HolderKey;
use doorward_protocol::gate::Code;
use doorward_protocol::wire::{Id, Plan};
use doorward_terminal::{CliError, block_on, exit_status, print_json};
use doorward_transport::clock;
use doorward_transport::files;

/// Make shares, cancel them, and command devices with them.
#[derive(Debug, Parser)]
#[command(name = "doorkey", version, max_term_width = 100)]
pub struct Cli {
    /// The issuer's directory: its keys and what it has signed.
    #[arg(long, global = true, value_name = "DIR", default_value_os_t = home())]
    issuer: PathBuf,
    /// The ledger, like postgres://HOST/NAME; otherwise a file in the issuer's directory.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "DOORKEY_LEDGER",
        hide_env_values = true
    )]
    ledger: Option<String>,
    /// Print the result as JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

fn home() -> PathBuf {
    let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from);
    home.join(".doorkey")
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A person's key: what commands are signed with.
    Key {
        #[command(subcommand)]
        what: Key,
    },
    /// The issuer: the keys that devices trust.
    Issuer {
        #[command(subcommand)]
        what: Issuer,
    },
    /// Say who owns a device and what its plan is.
    Register(Register),
    /// Let somebody use a device.
    Share(NewShareArgs),
    /// Take what somebody shares with you.
    Accept(accept::Accept),
    /// End shares at once.
    Cancel(Cancel),
    #[command(flatten)]
    Change(ledger_commands::Change),
    /// List shares: by somebody, with somebody, or of a device.
    Shares(shares_list::Shares),
    /// Say who can do what until when, when they last did, and what nobody uses.
    Review(shares_list::Review),
    /// Show an owner's news: new shares, first uses, refusals again and again.
    Alerts(shares_list::Alerts),
    /// Make an account in the ledger.
    Account(ledger_commands::NewAccount),
    /// Make a group, and say who is in it.
    Group {
        #[command(subcommand)]
        what: group::Group,
    },
    /// Answer a group that asks for access to a site, by the service.
    Access(api::Access),
    /// Ask the service for anything, signed in with your key.
    Api(api::Api),
    /// Print the token of a new session, for other programs: it lasts an hour.
    SignIn(api::SignIn),
    /// Serve owners, recipients and groups over HTTP, and keep devices up to date.
    Serve(serve::Serve),
    /// Say which firmware may be installed on a model of device.
    Release(release::Release),
    /// Say what a machine may do, as its maker.
    Licence(licence::NewLicence),
    /// Write all that a device should know into a file, to be carried there.
    Bundle(bundle::Carry),
    /// Ask a device to do something, and wait for its signed receipt.
    Send(Send),
    /// Show what is in a file: any object, or a bundle of them.
    Inspect {
        /// The file: bytes or hexadecimal; - for standard input.
        file: PathBuf,
    },
    /// Keep a device's event log, and check a copy of it.
    Log(log::Log),
    /// Say what a code means and what to do about it; without one, list them all.
    Explain {
        /// The code, as it stands in a receipt.
        code: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
enum Key {
    /// Make a key: FILE, which never leaves you, and beside it the public half as *.pub.
    New {
        /// The file, like anna.key.
        file: PathBuf,
    },
    /// Print the public half of a key.
    Show {
        /// The file.
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
enum Issuer {
    /// Make a new issuer. Devices pin its `issuers.cwt` when they are provisioned.
    Init {
        /// The name of the platform.
        name: Id,
    },
    /// Show the issuer for `doorward provision`: its fingerprint, and all of it as text and QR code.
    Show,
    /// Lock the root key behind a passphrase: it is needed only to change keys. Carry a copy of
    /// keys/root.sealed to a safe place, and delete it here if you like.
    Seal {
        /// The file with the passphrase.
        #[arg(long, value_name = "FILE")]
        passphrase_file: PathBuf,
    },
    /// Give a role new keys. Devices take them from the broker, or from a stick.
    Rotate {
        /// root, registry, shares, revocations or firmware.
        #[arg(required = true)]
        roles: Vec<rotate::RoleName>,
        /// The file with the passphrase of the root key, if it is sealed.
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
        #[command(flatten)]
        broker: broker_args::BrokerArgs,
    },
    /// Draft the next keys, for custodians to sign: who holds the root, new keys for roles.
    Draft(rotate::NewDraft),
    /// Sign a draft with your part of the root.
    Cosign {
        /// The draft.
        draft: PathBuf,
        /// Your key.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// Make a draft that enough custodians have signed the issuer's keys.
    Adopt {
        /// The draft.
        draft: PathBuf,
        #[command(flatten)]
        broker: broker_args::BrokerArgs,
    },
    /// Make a code for an emergency, to be kept in a sealed envelope: one command, with all that
    /// can be shared, and the owner hears of it.
    BreakGlass(rotate::BreakGlass),
}

/// Runs the command line.
///
/// # Errors
/// What the command could not do.
pub fn run(cli: Cli) -> Result<ExitCode, CliError> {
    let json = cli.json;
    let home = IssuerDir {
        directory: cli.issuer,
        ledger: cli.ledger,
    };
    match cli.command {
        Command::Key { what } => key(&what, json),
        Command::Issuer { what } => match what {
            Issuer::Init { name } => issuer::init(&home, name, json),
            Issuer::Show => issuer::show(&home, json),
            Issuer::Seal { passphrase_file } => rotate::seal(&home, &passphrase_file, json),
            Issuer::Rotate {
                roles,
                passphrase_file,
                broker,
            } => rotate::rotate(&home, &roles, passphrase_file.as_deref(), broker, json),
            Issuer::Draft(args) => rotate::draft(&home, args, json),
            Issuer::Cosign { draft, key } => rotate::cosign(&draft, &key, json),
            Issuer::Adopt { draft, broker } => rotate::adopt(&home, &draft, broker, json),
            Issuer::BreakGlass(args) => rotate::break_glass(&home, args, json),
        },
        Command::Register(args) => register(&home, args, json),
        Command::Share(args) => share::run(&home, args, json),
        Command::Accept(args) => accept::run(&home, &args, json),
        Command::Cancel(args) => cancel::run(&home, args, json),
        Command::Change(change) => ledger_commands::change(&home, change, json),
        Command::Shares(args) => shares_list::shares(&home, &args, json),
        Command::Review(args) => shares_list::review(&home, &args, json),
        Command::Alerts(args) => shares_list::alerts(&home, &args, json),
        Command::Account(args) => ledger_commands::account(&home, args, json),
        Command::Group { what } => group::run(&home, what, json),
        Command::Access(args) => api::access(&args, json),
        Command::Api(args) => api::api(&args),
        Command::SignIn(args) => api::sign_in(&args, json),
        Command::Serve(args) => serve::run(&home, args, json),
        Command::Release(args) => release::run(&home, args, json),
        Command::Licence(args) => licence::run(args, json),
        Command::Bundle(args) => bundle::run(&home, &args, json),
        Command::Send(args) => send::run(&home, args, json),
        Command::Inspect { file } => inspect::run(&file, json),
        Command::Log(log) => log::run(&home, log, json).map(|()| ExitCode::SUCCESS),
        Command::Explain { code } => explain(code.as_deref(), json),
    }
}

fn key(what: &Key, json: bool) -> Result<ExitCode, CliError> {
    let holder = match what {
        Key::New { file } => {
            let holder = HolderKey::create(file)?;
            let public = file.with_extension("pub");
            files::replace(&public, format!("{}\n", holder.public()).as_bytes(), 0o644)?;
            holder
        }
        Key::Show { file } => HolderKey::open(file)?,
    };
    if json {
        print_json(&json!({ "key": holder.public().hex() }));
    } else {
        outln!("{}", holder.public());
    }
    Ok(ExitCode::SUCCESS)
}

/// Where the issuer is.
#[derive(Debug)]
struct IssuerDir {
    directory: PathBuf,
    ledger: Option<String>,
}

impl IssuerDir {
    async fn open(&self) -> Result<Platform, CliError> {
        Ok(Platform::open(&self.directory, self.ledger.as_deref()).await?)
    }
}

fn register(home: &IssuerDir, args: Register, json: bool) -> Result<ExitCode, CliError> {
    let now = clock::system();
    let (device, device_key) = match (args.device, args.device_key) {
        (DeviceArg::Claim(claim), None) => (claim.device, claim.key),
        (DeviceArg::Id(device), Some(key)) => (device, key.0),
        (DeviceArg::Id(_), None) => {
            return Err(
                CliError::new(exit_status::USAGE, "which key has the device?").with_remedy(
                    "Give the claim that `doorward provision` printed, or --device-key.",
                ),
            );
        }
        (DeviceArg::Claim(_), Some(_)) => {
            return Err(CliError::new(
                exit_status::USAGE,
                "the claim has the device's key in it",
            ));
        }
    };
    let new = NewRegistration {
        device,
        device_key,
        owner: args.owner,
        owner_key: args.owner_key.0,
        model: args.model,
        region: args.region,
        site: args.site,
        plan: Plan {
            name: args.plan,
            end: args.plan_end.map(|end| end.from(now)),
        },
        demo: args.demo,
    };
    let broker = args.broker.broker();
    let (device, published) = block_on(async {
        let platform = home.open().await?;
        let device = platform.register(new, now).await?;
        Ok((device, broker_args::send_all(&platform, broker).await?))
    })?;
    if json {
        print_json(&json!({
            "device": device.id.as_str(), "seq": device.seq, "published": published,
        }));
    } else {
        outln!(
            "{} is registered to {} on the {} plan{}",
            device.id,
            device.owner,
            device.plan.name,
            published_text(published)
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn published_text(published: bool) -> &'static str {
    if published {
        "; published"
    } else {
        "; not published, since no --broker was given"
    }
}

fn explain(code: Option<&str>, json: bool) -> Result<ExitCode, CliError> {
    let codes = match code {
        None => Code::ALL.to_vec(),
        Some(name) => vec![Code::from_name(name).ok_or_else(|| {
            CliError::new(exit_status::DATA, format!("there is no code `{name}`"))
                .with_remedy("`doorkey explain` lists them all.")
        })?],
    };
    if json {
        let rows = codes.iter().map(|code| {
            json!({
                "code": code.name(), "sentence": code.sentence(), "remedy": code.remedy(),
                "sender_known": code.sender_known(), "may_have_run": code.may_have_run(),
                "retry": code.retry().name(),
            })
        });
        print_json(&rows.collect());
        return Ok(ExitCode::SUCCESS);
    }
    for code in codes {
        outln!("{code}");
        outln!("  {}", code.sentence());
        if !code.remedy().is_empty() {
            outln!("  {}", code.remedy());
        }
        outln!("  Send again? {}.", code.retry().name());
    }
    Ok(ExitCode::SUCCESS)
}

fn not_registered(device: &Id) -> CliError {
    CliError::new(
        exit_status::DATA,
        format!("{device} is not registered here"),
    )
    .with_remedy("Check its id, and --issuer.")
}
