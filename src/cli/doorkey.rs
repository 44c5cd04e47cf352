//! What owners, installers and clouds carry.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use serde_json::json;

use super::send::{self, Request};
use super::{Failure, block_on, inspect, print_json, status};
use crate::clock;
use crate::files;
use crate::gate::Code;
use crate::issuer::{Holder, NewRegistration, NewShare, Platform, Wish};
use crate::link::caller::Caller;
use crate::link::{BrokerUrl, topics};
use crate::wire::{
    Audience, Bundle, Bytes, Id, KeyBytes, Kind, Map, Operation, Plan, PublicKey, Registration,
    Text, Timestamp, Value,
};

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
    /// Ask a device to do something, and wait for its signed receipt.
    Send(Send),
    /// Show what is in a file: any object, or a bundle of them.
    Inspect {
        /// The file: bytes or hexadecimal; - for standard input.
        file: PathBuf,
    },
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

#[derive(Debug, clap::Args)]
struct Register {
    /// The device's id.
    device: Id,
    /// The device's key, as `doorward provision` printed it.
    #[arg(long, value_name = "HEX")]
    device_key: PublicHex,
    /// The owner's account.
    #[arg(long, value_name = "ACCOUNT")]
    owner: Id,
    /// The owner's public key: a *.pub file or its 64 hexadecimal digits.
    #[arg(long, value_name = "KEY")]
    owner_key: PublicHex,
    /// The model, for people.
    #[arg(long, default_value = "unknown")]
    model: Text,
    /// The region of the platform.
    #[arg(long, default_value = "eu")]
    region: Id,
    /// The site that the device belongs to.
    #[arg(long)]
    site: Option<Id>,
    /// basic, standard or advanced.
    #[arg(long, default_value = "advanced")]
    plan: Id,
    /// When the plan ends, like 30d or 2027-01-31T00:00:00Z.
    #[arg(long, value_name = "TIME")]
    plan_end: Option<When>,
    /// A device for demonstration: it cannot be shared.
    #[arg(long)]
    demo: bool,
    /// The broker to publish it on.
    #[arg(long, value_name = "URL")]
    broker: Option<BrokerUrl>,
}

#[derive(Debug, clap::Args)]
struct NewShareArgs {
    /// A device's id, or site:NAME for every device of a site.
    audience: Audience,
    /// The recipient's account.
    #[arg(long, value_name = "ACCOUNT")]
    to: Id,
    /// The recipient's public key: a *.pub file or its 64 hexadecimal digits.
    #[arg(long, value_name = "KEY")]
    key: PublicHex,
    /// Operations, with commas between them.
    #[arg(
        long,
        value_name = "OPERATIONS",
        value_delimiter = ',',
        required = true
    )]
    allow: Vec<Operation>,
    /// For how long, like 4h or 30d, or until when, like 2027-01-31T00:00:00Z.
    #[arg(long = "for", value_name = "TIME", default_value = "30d")]
    end: When,
    /// What it is for.
    #[arg(long, value_name = "TEXT")]
    description: Option<Text>,
    /// Write a pass for the recipient: what `doorkey send --pass` takes.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The broker to publish it on.
    #[arg(long, value_name = "URL")]
    broker: Option<BrokerUrl>,
}

#[derive(Debug, clap::Args)]
struct Cancel {
    /// A device's id, or site:NAME.
    audience: Audience,
    /// The ids of the shares; none of them: sign the list anew, as a proof of freshness.
    shares: Vec<ShareId>,
    /// End every share of this account.
    #[arg(long, value_name = "ACCOUNT")]
    of: Option<Id>,
    /// Write the list, to be carried to the device by `doorkey send --carry`.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The broker to publish it on.
    #[arg(long, value_name = "URL")]
    broker: Option<BrokerUrl>,
}

#[derive(Debug, clap::Args)]
struct Send {
    /// The device's id.
    device: Id,
    /// The operation, like device.reboot.
    operation: Operation,
    /// Arguments, as NAME=VALUE; numbers, true and false are taken as such.
    args: Vec<Argument>,
    /// The broker, on the cloud's side or on the site's.
    #[arg(long, value_name = "URL")]
    broker: BrokerUrl,
    /// Your key.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The pass that came with your share: it also holds the device's key.
    #[arg(long, value_name = "FILE")]
    pass: Option<PathBuf>,
    /// The device's key, if you have neither a pass nor the issuer's directory.
    #[arg(long, value_name = "HEX")]
    device_key: Option<PublicHex>,
    /// Statements to bring to the device along with the command.
    #[arg(long, value_name = "FILE")]
    carry: Vec<PathBuf>,
    /// How long to wait for the receipt, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    wait: u64,
    /// How long the command is valid, in seconds, at most 300.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    ttl: u64,
}

/// A public key: hexadecimal digits, or a file that holds them.
#[derive(Debug, Clone, Copy)]
struct PublicHex(KeyBytes);

impl std::str::FromStr for PublicHex {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let hex = match KeyBytes::from_hex(text) {
            Some(key) => return Ok(Self(key)),
            None if text.ends_with(".key") => {
                return Err("that is a secret key; give the *.pub file beside it".to_owned());
            }
            None => std::fs::read_to_string(text).map_err(|error| {
                format!("neither 64 hexadecimal digits nor a file that can be read: {error}")
            })?,
        };
        KeyBytes::from_hex(hex.trim())
            .map(Self)
            .ok_or_else(|| "the file does not hold 64 hexadecimal digits".to_owned())
    }
}

/// A share's id.
#[derive(Debug, Clone, Copy)]
struct ShareId(Bytes<16>);

impl std::str::FromStr for ShareId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Bytes::from_hex(text)
            .map(Self)
            .ok_or("a share's id is 32 hexadecimal digits")
    }
}

/// A time, or a length of time from now.
#[derive(Debug, Clone, Copy)]
enum When {
    At(Timestamp),
    In(u64),
}

impl std::str::FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(time) = text.parse::<jiff::Timestamp>() {
            return u64::try_from(time.as_second())
                .map(|seconds| Self::At(Timestamp(seconds)))
                .map_err(|_| "a time before 1970".to_owned());
        }
        text.parse::<jiff::Span>()
            .and_then(|span| span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()))
            .ok()
            .and_then(|span| u64::try_from(span.as_secs()).ok())
            .filter(|&seconds| seconds > 0)
            .map(Self::In)
            .ok_or_else(|| {
                "write a length like 4h or 30d, or a time like 2027-01-31T00:00:00Z".to_owned()
            })
    }
}

impl When {
    fn from(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(time) => time,
            Self::In(seconds) => now.plus(seconds),
        }
    }
}

/// One argument of a command.
#[derive(Debug, Clone)]
struct Argument(Text, Value);

impl std::str::FromStr for Argument {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, value) = text.split_once('=').ok_or("an argument is NAME=VALUE")?;
        let value = match (value.parse(), value.parse()) {
            (Ok(number), _) => Value::Int(number),
            (_, Ok(flag)) => Value::Bool(flag),
            _ => Value::Text(value.to_owned()),
        };
        Ok(Self(Text::new(name)?, value))
    }
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
        Command::Cancel(args) => cancel(&cli.issuer, &args, json),
        Command::Send(args) => send_command(&cli.issuer, args, json),
        Command::Inspect { file } => inspect::run(&file, json),
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
    let published = publish(args.broker.as_ref(), topic, &device.bytes)?;
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
    let (share, bytes) = platform.share(
        NewShare {
            audience: args.audience,
            to: args.to,
            key: args.key.0,
            operations: args.allow,
            end: args.end.from(now),
            description: args.description,
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
    let published = publish(args.broker.as_ref(), topic, &bytes)?;
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

fn cancel(directory: &Path, args: &Cancel, json: bool) -> Result<ExitCode, Failure> {
    let platform = Platform::open(directory)?;
    let known = platform.shares(&args.audience)?;
    let mut ending = Vec::new();
    for ShareId(id) in &args.shares {
        let found = known.iter().find(|share| share.cti == *id);
        ending.push(found.cloned().ok_or_else(|| {
            Failure::new(
                status::DATA,
                format!("{} has no share with the id {id}", args.audience),
            )
        })?);
    }
    if let Some(of) = &args.of {
        ending.extend(known.iter().filter(|share| share.sub == *of).cloned());
    }
    let (list, bytes) = platform.cancel(&args.audience, &ending, clock::system())?;
    if let Some(out) = &args.out {
        files::replace(out, &bytes, 0o644)?;
    }
    let topic = topics::statement(&args.audience, Kind::Revocations, None);
    let published = publish(args.broker.as_ref(), topic, &bytes)?;
    if json {
        print_json(&json!({
            "audience": args.audience.to_string(), "seq": list.body.seq,
            "cancelled": ending.len(), "published": published,
        }));
    } else {
        println!(
            "{} shares of {} are cancelled, list {}{}",
            ending.len(),
            args.audience,
            list.body.seq,
            published_text(published)
        );
        println!("It counts when the device has it, or when the leases of the shares end.");
    }
    Ok(ExitCode::SUCCESS)
}

fn send_command(directory: &Path, args: Send, json: bool) -> Result<ExitCode, Failure> {
    let holder = Holder::open(&args.key)?;
    let mut carry = Vec::new();
    let mut device_key = args.device_key.map(|key| key.0);
    if let Some(pass) = &args.pass {
        let bytes = files::read(pass, 1 << 16)?;
        device_key = device_key.or(key_in_pass(&bytes, &args.device));
        carry.push(bytes);
    }
    if device_key.is_none() && directory.exists() {
        let device = Platform::open(directory)?.device(&args.device)?;
        device_key = device.map(|device| device.registration.body.device);
    }
    for file in &args.carry {
        carry.push(files::read(file, 1 << 16)?);
    }
    let device_key = device_key.ok_or_else(|| {
        Failure::new(
            status::DATA,
            format!(
                "the key of {} is not known, so its receipts could not be verified",
                args.device
            ),
        )
        .with_remedy("Give --pass FILE, --device-key HEX, or the issuer's directory.")
    })?;
    let device_key = PublicKey::new(&device_key)
        .map_err(|error| Failure::new(status::DATA, format!("the device's key: {error}")))?;
    let wish = Wish {
        device: args.device,
        operation: args.operation,
        args: Map::new(
            args.args
                .into_iter()
                .map(|Argument(name, value)| (name, value)),
        ),
        ttl: args.ttl,
    };
    let request = Request {
        broker: &args.broker,
        device_key: &device_key,
        holder: &holder,
        wish: &wish,
        carry: &carry,
        wait: Duration::from_secs(args.wait),
    };
    let sent = block_on(send::send(&request))?;
    send::print(&request, &sent, json);
    Ok(ExitCode::from(send::exit_of(sent.receipt.as_ref())))
}

/// The device's key in the registration of a pass. Whoever gave the pass vouches for it.
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

fn publish(broker: Option<&BrokerUrl>, topic: String, bytes: &[u8]) -> Result<bool, Failure> {
    let Some(broker) = broker else {
        return Ok(false);
    };
    block_on(async {
        let caller = Caller::connect(broker).await?;
        caller.publish(topic, bytes.to_vec(), true).await?;
        Ok(true)
    })
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
