//! What owners, installers and clouds carry.

mod args;
mod broker;
mod cancel;
mod carry;
mod collect;
mod fetch;
mod licence;
mod log;
mod release;
mod send;
mod values;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde_json::json;

use args::{NewShareArgs, Register, Send};
use cancel::Cancel;

use super::{Failure, inspect, print_json, status};
use crate::clock;
use crate::files;
use crate::gate::Code;
use crate::issuer::{Holder, NewRegistration, NewShare, Platform};
use crate::link::topics;
use crate::wire::{Audience, Id, Kind, Plan};

/// Make shares, cancel them, and command devices with them.
#[derive(Debug, Parser)]
#[command(name = "doorkey", version, max_term_width = 100)]
pub struct Cli {
    /// The issuer's directory: its keys and what it has signed.
    #[arg(long, global = true, value_name = "DIR", default_value_os_t = home())]
    issuer: PathBuf,
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
    /// End shares at once.
    Cancel(Cancel),
    /// Say which firmware may be installed on a model of device.
    Release(release::Release),
    /// Say what a machine may do, as its maker.
    Licence(licence::NewLicence),
    /// Write all that a device should know into a file, to be carried there.
    Bundle(carry::Carry),
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
}

/// Runs the command line.
///
/// # Errors
/// What the command could not do.
pub fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let json = cli.json;
    match cli.command {
        Command::Key { what } => key(&what, json),
        Command::Issuer {
            what: Issuer::Init { name },
        } => issuer_init(&cli.issuer, name, json),
        Command::Register(args) => register(&cli.issuer, args, json),
        Command::Share(args) => share(&cli.issuer, args, json),
        Command::Cancel(args) => cancel::run(&cli.issuer, args, json),
        Command::Release(args) => release::run(&cli.issuer, args, json),
        Command::Licence(args) => licence::run(args, json),
        Command::Bundle(args) => carry::run(&cli.issuer, &args, json),
        Command::Send(args) => send::run(&cli.issuer, args, json),
        Command::Inspect { file } => inspect::run(&file, json),
        Command::Log(log) => log::run(&cli.issuer, log, json).map(|()| ExitCode::SUCCESS),
        Command::Explain { code } => explain(code.as_deref(), json),
    }
}

fn key(what: &Key, json: bool) -> Result<ExitCode, Failure> {
    let holder = match what {
        Key::New { file } => {
            let holder = Holder::create(file)?;
            let public = file.with_extension("pub");
            files::replace(&public, format!("{}\n", holder.public()).as_bytes(), 0o644)?;
            holder
        }
        Key::Show { file } => Holder::open(file)?,
    };
    if json {
        print_json(&json!({ "key": holder.public().hex() }));
    } else {
        println!("{}", holder.public());
    }
    Ok(ExitCode::SUCCESS)
}

fn issuer_init(directory: &Path, name: Id, json: bool) -> Result<ExitCode, Failure> {
    let platform = Platform::init(directory, name, clock::system())?;
    let file = platform.issuers_file();
    let fingerprint = crate::wire::hash(&files::read(&file, 1 << 20)?);
    if json {
        print_json(&json!({
            "name": platform.name().as_str(),
            "file": file.display().to_string(),
            "sha256": fingerprint.hex(),
        }));
    } else {
        println!("issuer   {}", platform.name());
        println!("devices  pin {}", file.display());
        println!("SHA-256  {fingerprint}");
    }
    Ok(ExitCode::SUCCESS)
}

fn register(directory: &Path, args: Register, json: bool) -> Result<ExitCode, Failure> {
    let platform = Platform::open(directory)?;
    let now = clock::system();
    let device = platform.register(
        NewRegistration {
            device: args.device,
            device_key: args.device_key.0,
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
        },
        now,
    )?;
    let registration = &device.registration;
    let topic = topics::statement(&registration.aud, Kind::Registration, None);
    let published = broker::publish(args.broker.broker(), topic, &device.bytes)?;
    if json {
        print_json(&json!({
            "device": registration.aud.to_string(), "seq": registration.body.seq,
            "published": published,
        }));
    } else {
        println!(
            "{} is registered to {} on the {} plan{}",
            registration.aud,
            registration.sub,
            registration.body.plan.name,
            published_text(published)
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn share(directory: &Path, args: NewShareArgs, json: bool) -> Result<ExitCode, Failure> {
    let platform = Platform::open(directory)?;
    let now = clock::system();
    let limits = args.limits();
    let (share, bytes) = platform.share(
        NewShare {
            audience: args.audience,
            to: args.to,
            key: args.key.0,
            operations: args.allow,
            end: args.end.from(now),
            description: args.description,
            limits,
            region: args.region,
        },
        now,
    )?;
    if let Some(out) = &args.out {
        let mut pass = Vec::new();
        if let Audience::Device(device) = &share.aud
            && let Some(device) = platform.device(device)?
        {
            pass.extend(device.bytes);
        }
        pass.extend(&bytes);
        files::replace(out, &pass, 0o644)?;
    }
    let topic = topics::statement(&share.aud, Kind::Share, Some(&share.cti.hex()));
    let published = broker::publish(args.broker.broker(), topic, &bytes)?;
    if json {
        print_json(&json!({
            "share": share.cti.hex(), "to": share.sub.as_str(), "audience": share.aud.to_string(),
            "ends": share.exp.to_string(), "published": published,
        }));
    } else {
        println!(
            "{} is shared with {} until {}{}",
            share.aud,
            share.sub,
            share.exp,
            published_text(published)
        );
        println!("share    {}", share.cti);
        if let Some(out) = &args.out {
            println!("pass     {}", out.display());
        }
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

fn explain(code: Option<&str>, json: bool) -> Result<ExitCode, Failure> {
    let codes = match code {
        None => Code::ALL.to_vec(),
        Some(name) => vec![Code::from_name(name).ok_or_else(|| {
            Failure::new(status::DATA, format!("there is no code `{name}`"))
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
        println!("{code}");
        println!("  {}", code.sentence());
        if !code.remedy().is_empty() {
            println!("  {}", code.remedy());
        }
        println!("  Send again? {}.", code.retry().name());
    }
    Ok(ExitCode::SUCCESS)
}
