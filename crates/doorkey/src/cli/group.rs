//! `doorkey group`: a team with a key of its own, which says who is in it.

use doorward_terminal::outln;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use crate::cli::IssuerDir;
use crate::cli::broker_args;
use crate::cli::broker_args::BrokerArgs;
use crate::cli::value_parsers::{PublicHex, TimeArg};
use crate::domain::LookupKey;
use crate::service::NewGroup;
use doorward_client::HolderKey;
use doorward_protocol::wire::{Id, KeyBytes, Map, Roster, RosterBody};
use doorward_terminal::{CliError, block_on, exit_status, print_json};
use doorward_transport::clock;
use doorward_transport::files;

#[derive(Debug, Subcommand)]
pub(crate) enum Group {
    /// Make a group on a platform whose ledger is here.
    Add {
        /// The group's id.
        group: Id,
        /// The account that owns it.
        #[arg(long, value_name = "ACCOUNT")]
        owner: Id,
        /// The key by which it is looked up: 4 to 16 letters and digits.
        #[arg(long, value_name = "KEY")]
        lookup_key: LookupKey,
        /// The name for people.
        #[arg(long, value_name = "NAME")]
        name: String,
        /// The group's own public key, which signs its rosters.
        #[arg(long, value_name = "KEY")]
        key: PublicHex,
        /// Hosts that people may be sent back to, with commas between them.
        #[arg(long, value_name = "HOSTS", value_delimiter = ',')]
        hosts: Vec<String>,
    },
    /// Sign who is in a group from now on, all of them: whoever is left out is out.
    Roster {
        /// The group's id.
        group: Id,
        /// The members, as ACCOUNT=KEY with a *.pub file or 64 hexadecimal digits.
        #[arg(value_name = "ACCOUNT=KEY")]
        members: Vec<Member>,
        /// The group's own secret key.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// Its number: higher than that of the last one.
        #[arg(long, value_name = "NUMBER")]
        number: u64,
        /// How long it is good for.
        #[arg(long = "for", value_name = "TIME", default_value = "30d")]
        end: TimeArg,
        /// Write it here, to be carried or given to a service.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Put it into the ledger that is here.
        #[arg(long)]
        take: bool,
        #[command(flatten)]
        broker: BrokerArgs,
    },
}

/// One member.
#[derive(Debug, Clone)]
pub(crate) struct Member(Id, KeyBytes);

impl std::str::FromStr for Member {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (account, key) = text.split_once('=').ok_or("a member is ACCOUNT=KEY")?;
        Ok(Self(Id::new(account)?, key.parse::<PublicHex>()?.0))
    }
}

pub(crate) fn run(home: &IssuerDir, group: Group, json: bool) -> Result<ExitCode, CliError> {
    match group {
        Group::Add {
            group,
            owner,
            lookup_key,
            name,
            key,
            hosts,
        } => {
            let new = NewGroup {
                id: group,
                lookup_key,
                name,
                key: key.0,
                hosts,
            };
            let group = block_on(async {
                let platform = home.open().await?;
                let unknown =
                    || CliError::new(exit_status::DATA, format!("there is no account {owner}"));
                let owner = platform.account(&owner).await?.ok_or_else(unknown)?;
                Ok(platform.add_group(&owner, new).await?)
            })?;
            match json {
                true => print_json(
                    &json!({ "group": group.id.as_str(), "lookup_key": group.lookup_key.as_str() }),
                ),
                false => outln!(
                    "{} asks for access at /access/request/{}",
                    group.name,
                    group.lookup_key
                ),
            }
        }
        Group::Roster {
            group,
            members,
            key,
            number,
            end,
            out,
            take,
            broker,
        } => {
            let (holder, now) = (HolderKey::open(&key)?, clock::system());
            let count = members.len();
            let roster = Roster {
                sub: group,
                exp: end.from(now),
                iat: now,
                body: RosterBody {
                    format: 1,
                    seq: number,
                    members: Map::new(members.into_iter().map(|Member(id, key)| (key, id))),
                },
            };
            doorward_protocol::wire::Object::check(&roster)
                .map_err(|error| CliError::new(exit_status::DATA, error))?;
            let bytes = holder.sign(&roster);
            if let Some(out) = &out {
                files::replace(out, &bytes, 0o644)?;
            }
            let mut reached = 0;
            if take {
                reached = block_on(async {
                    let platform = home.open().await?;
                    let reached = platform.accept_roster(&bytes, now).await?;
                    broker_args::send_all(&platform, broker.broker()).await?;
                    Ok(reached)
                })?;
            }
            match json {
                true => {
                    print_json(&json!({ "members": count, "number": number, "reached": reached }))
                }
                false => outln!("roster {number} of {} names {count} members", roster.sub),
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
