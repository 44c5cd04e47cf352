//! Options that several commands share.

use std::path::{Path, PathBuf};

use crate::cli::broker_args::BrokerArgs;
use crate::cli::profile::{Profile, ProfileArgs};
use crate::cli::value_parsers::{DurationArg, TimeArg};
use crate::service::Platform;
use doorward_protocol::wire::Timestamp;
use doorward_terminal::{CliError, exit_status};
use doorward_transport::Broker;

/// The form of the result.
#[derive(Debug, clap::Args)]
pub(crate) struct OutputArgs {
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// The issuer that a command works with.
#[derive(Debug, clap::Args)]
pub(crate) struct IssuerArgs {
    /// Directory of the issuer: its keys and its database [default: ~/.doorkey]
    #[arg(
        long,
        help_heading = "Issuer",
        value_name = "DIR",
        env = "DOORKEY_ISSUER"
    )]
    issuer: Option<PathBuf>,
    /// URL of the database, like postgres://HOST/NAME [default: a file in the issuer's directory]
    #[arg(
        long,
        alias = "ledger",
        help_heading = "Issuer",
        value_name = "URL",
        env = "DOORKEY_DATABASE",
        hide_env_values = true
    )]
    database: Option<String>,
    #[command(flatten)]
    profile: ProfileArgs,
}

impl IssuerArgs {
    /// Adds the values of the environment, the profile and the defaults. The profile's database
    /// belongs to the profile's issuer: it is not used for another one.
    pub(crate) fn resolve(&self) -> Result<IssuerDir, CliError> {
        let profile = self.profile.load()?;
        let is_profiles = self.issuer.is_none() || self.issuer == profile.issuer;
        let database = self
            .database
            .clone()
            .or_else(|| std::env::var("DOORKEY_LEDGER").ok())
            .or_else(|| profile.database.clone().filter(|_| is_profiles));
        let directory = self.issuer.clone().or_else(|| profile.issuer.clone());
        Ok(IssuerDir {
            directory: directory.unwrap_or_else(default_directory),
            database,
            profile,
        })
    }
}

fn default_directory() -> PathBuf {
    let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from);
    home.join(".doorkey")
}

/// The issuer's directory and database, and the profile that they were taken from.
#[derive(Debug)]
pub(crate) struct IssuerDir {
    pub(crate) directory: PathBuf,
    pub(crate) database: Option<String>,
    pub(crate) profile: Profile,
}

impl IssuerDir {
    pub(crate) async fn open(&self) -> Result<Platform, CliError> {
        Ok(Platform::open(&self.directory, self.database.as_deref()).await?)
    }

    /// The broker, if one is given.
    pub(crate) fn broker(&self, args: BrokerArgs) -> Result<Option<Broker>, CliError> {
        args.resolve(&self.profile)
    }

    /// The broker of a command that cannot do without one.
    pub(crate) fn required_broker(&self, args: BrokerArgs) -> Result<Broker, CliError> {
        self.broker(args)?
            .ok_or_else(|| missing("broker", "--broker URL", "DOORKEY_BROKER"))
    }
}

/// The key of the account that a command acts for.
#[derive(Debug, clap::Args)]
pub(crate) struct KeyArgs {
    /// File with your secret key
    #[arg(long, value_name = "FILE", env = "DOORKEY_KEY")]
    key: Option<PathBuf>,
}

impl KeyArgs {
    pub(crate) fn resolve(&self, profile: &Profile) -> Result<PathBuf, CliError> {
        let key: Option<&Path> = self.key.as_deref().or(profile.key.as_deref());
        let key = key.ok_or_else(|| missing("key", "--key FILE", "DOORKEY_KEY"))?;
        Ok(key.to_owned())
    }
}

/// The error for an option that neither the command line nor environment nor profile sets.
pub(crate) fn missing(setting: &str, option: &str, variable: &str) -> CliError {
    CliError::new(exit_status::USAGE, format!("no {setting} given")).with_remedy(format!(
        "Give {option}, or set {variable}, or `{setting}` in a profile of \
         ~/.config/doorkey/config.toml."
    ))
}

/// The end of something new, as a time or as a duration from now.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
pub(crate) struct EndArgs {
    /// End: a date or time like 2027-01-31 or 2027-01-31T18:00:00Z
    #[arg(long, value_name = "TIME")]
    until: Option<TimeArg>,
    /// Duration from now, like 4h or 30d
    #[arg(long = "for", value_name = "DURATION")]
    duration: Option<DurationArg>,
}

impl EndArgs {
    /// The end, if one is given.
    pub(crate) fn end(&self, now: Timestamp) -> Option<Timestamp> {
        let until = self.until.map(|until| until.0);
        until.or_else(|| self.duration.map(|duration| now.plus(duration.0)))
    }

    /// The end, by default after a number of days.
    pub(crate) fn end_or_days(&self, now: Timestamp, days: u64) -> Timestamp {
        self.end(now).unwrap_or_else(|| now.plus(days * 24 * 3600))
    }
}
