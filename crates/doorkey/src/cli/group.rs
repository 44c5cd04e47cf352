//! `doorkey group`: groups, and the member lists that they sign with keys of their own.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use crate::cli::args::{EndArgs, IssuerArgs, OutputArgs};
use crate::cli::broker_args::{self, BrokerArgs};
use crate::cli::value_parsers::PublicHex;
use crate::domain::LookupKey;
use crate::service::NewGroup;
use doorward_client::HolderKey;
use doorward_protocol::wire::{Id, KeyBytes, Map, Object, Roster, RosterBody};
use doorward_terminal::{CliError, block_on, exit_status, outln, print_json};
use doorward_transport::clock;
use doorward_transport::files;

pub(crate) const EXAMPLES: &str = "\
Examples:
  doorkey group add tzbv --owner tess --lookup-key TZBV --name \"Solar TZ\" --public-key tzbv.pub
  doorkey group members tzbv anna=anna.pub --key tzbv.key --number 1 --import";

/// How long a member list is valid, in days, unless an end is given.
const VALID_DAYS: u64 = 30;

#[derive(Debug, Subcommand)]
pub(crate) enum Group {
    /// Create a group in the database
    Add(NewGroupArgs),
    /// Sign the member list of a group; it replaces the last one completely
    #[command(alias = "roster")]
    Members(MemberListArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  doorkey group add tzbv --owner tess --lookup-key TZBV --name \"Solar TZ\" --public-key tzbv.pub \
--hosts portal.tzbv.example")]
pub(crate) struct NewGroupArgs {
    /// Id of the group
    group: Id,
    /// Account that owns the group
    #[arg(long, value_name = "ACCOUNT")]
    owner: Id,
    /// Lookup code in the group's links: 4 to 16 letters and digits
    #[arg(long, value_name = "LOOKUP_KEY")]
    lookup_key: LookupKey,
    /// Name for people to read
    #[arg(long, value_name = "NAME")]
    name: String,
    /// The group's public key, which its member lists are verified with: a *.pub file or 64
    /// hexadecimal digits
    #[arg(long, value_name = "PUBLIC_KEY")]
    public_key: PublicHex,
    /// Hosts that a return URL may be on, separated by commas
    #[arg(long, value_name = "HOSTS", value_delimiter = ',')]
    hosts: Vec<String>,
    #[command(flatten)]
    issuer: IssuerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, clap::Args)]
#[command(
    mut_arg("duration", |arg| arg.help("Duration from now, like 4h or 30d [default: 30d]")),
    after_long_help = "\
Examples:
  doorkey group members tzbv anna=anna.pub ben=ben.pub --key tzbv.key --number 2 --out members.cwt
  doorkey group members tzbv anna=anna.pub --key tzbv.key --number 3 --for 7d --import"
)]
pub(crate) struct MemberListArgs {
    /// Id of the group
    group: Id,
    /// All members, as ACCOUNT=PUBLIC_KEY with a *.pub file or 64 hexadecimal digits
    #[arg(value_name = "ACCOUNT=PUBLIC_KEY")]
    members: Vec<Member>,
    /// File with the group's secret key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Number of the list; higher than that of the last one
    #[arg(long, value_name = "NUMBER")]
    number: u64,
    #[command(flatten)]
    end: EndArgs,
    /// File to write the signed list to
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Import the list into the database
    #[arg(long, alias = "take")]
    import: bool,
    #[command(flatten)]
    broker: BrokerArgs,
    #[command(flatten)]
    issuer: IssuerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// A member: an account and its public key.
#[derive(Debug, Clone)]
pub(crate) struct Member(Id, KeyBytes);

impl std::str::FromStr for Member {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (account, key) = text
            .split_once('=')
            .ok_or("a member is ACCOUNT=PUBLIC_KEY")?;
        Ok(Self(Id::new(account)?, key.parse::<PublicHex>()?.0))
    }
}

pub(crate) fn run(command: Group) -> Result<ExitCode, CliError> {
    match command {
        Group::Add(args) => add(args),
        Group::Members(args) => sign_members(args),
    }
}

fn add(args: NewGroupArgs) -> Result<ExitCode, CliError> {
    let home = args.issuer.resolve()?;
    let owner = args.owner;
    let new = NewGroup {
        id: args.group,
        lookup_key: args.lookup_key,
        name: args.name,
        key: args.public_key.0,
        hosts: args.hosts,
    };
    let group = block_on(async {
        let platform = home.open().await?;
        let unknown = || CliError::new(exit_status::DATA, format!("there is no account {owner}"));
        let owner = platform.account(&owner).await?.ok_or_else(unknown)?;
        Ok(platform.add_group(&owner, new).await?)
    })?;
    match args.output.json {
        true => print_json(
            &json!({ "group": group.id.as_str(), "lookup_key": group.lookup_key.as_str() }),
        ),
        false => outln!(
            "{} is a group; it requests access at /access/request/{}",
            group.name,
            group.lookup_key
        ),
    }
    Ok(ExitCode::SUCCESS)
}

fn sign_members(args: MemberListArgs) -> Result<ExitCode, CliError> {
    let (holder, now) = (HolderKey::open(&args.key)?, clock::system());
    let (count, number) = (args.members.len(), args.number);
    let members = args.members.into_iter().map(|Member(id, key)| (key, id));
    let roster = Roster {
        sub: args.group,
        exp: args.end.end_or_days(now, VALID_DAYS),
        iat: now,
        body: RosterBody {
            format: 1,
            seq: number,
            members: Map::new(members),
        },
    };
    roster
        .check()
        .map_err(|error| CliError::new(exit_status::DATA, error))?;
    let bytes = holder.sign(&roster);
    if let Some(out) = &args.out {
        files::replace(out, &bytes, 0o644)?;
    }
    let mut reached = 0;
    if args.import {
        let home = args.issuer.resolve()?;
        let broker = home.broker(args.broker)?;
        reached = block_on(async {
            let platform = home.open().await?;
            let reached = platform.accept_roster(&bytes, now).await?;
            broker_args::send_all(&platform, broker).await?;
            Ok(reached)
        })?;
    }
    match args.output.json {
        true => print_json(&json!({ "members": count, "number": number, "reached": reached })),
        false => {
            let (group, end) = (&roster.sub, roster.exp);
            outln!("member list {number} of {group} has {count} members, valid until {end}");
            if args.out.is_none() && !args.import {
                outln!("It was not stored: give --out FILE or --import.");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
