//! What has to be known to provision a device: from the command line, from a file for many devices,
//! or from whoever is asked.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;

use crate::cli::provision::prompt::Ask;
use crate::store::Pinned;
use doorward_protocol::wire::Id;
use doorward_terminal::{CliError, exit_status};
use doorward_transport::BrokerUrl;
use doorward_transport::files;

/// The command line. What it lacks is asked for, if standard input is a terminal.
#[derive(Debug, Args)]
pub(in crate::cli) struct Provision {
    #[command(flatten)]
    pub(super) answers: Answers,
    /// Take the answers from a TOML file, for many devices: the names are those of the options
    /// without their dashes, such as `issuers` or `password_file`. Options come before it.
    #[arg(long = "answers", value_name = "FILE")]
    pub(super) answers_file: Option<PathBuf>,
    /// The configuration; if it is missing, the one that is shipped is written there.
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// The state directory of the configuration. Without --config, the configuration is left alone.
    #[arg(long, value_name = "DIR")]
    pub(super) state: Option<PathBuf>,
    /// Do not ask whether the issuer is the right one: its fingerprint was compared already.
    #[arg(long)]
    pub(super) yes: bool,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Print one JSON object, and ask for nothing.
    #[arg(long)]
    pub(super) json: bool,
}

/// The answers.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Answers {
    /// The id of this device: 1 to 64 of A-Z a-z 0-9 . _ : @ -
    #[arg(long, value_name = "ID")]
    #[serde(deserialize_with = "parsed")]
    pub(super) device: Option<Id>,
    /// The issuer: its file `issuers.cwt`, the text that `doorkey issuer show` prints, or - for
    /// either on standard input.
    #[arg(long, value_name = "FILE|TEXT")]
    pub(super) issuers: Option<String>,
    /// The SHA-256 that `doorkey issuer show` printed where the issuer is: nothing else is trusted.
    #[arg(long, value_name = "HEX")]
    pub(super) fingerprint: Option<String>,
    /// The cloud's broker, like mqtts://broker.example:8883.
    #[arg(long, value_name = "URL")]
    #[serde(deserialize_with = "parsed")]
    pub(super) cloud: Option<BrokerUrl>,
    /// The user name there.
    #[arg(long, value_name = "NAME")]
    pub(super) user: Option<String>,
    /// The file with the password there.
    #[arg(long, value_name = "FILE")]
    pub(super) password_file: Option<PathBuf>,
    /// Who vouches for the cloud's broker, as PEM, if not the authorities that the system trusts.
    #[arg(long, value_name = "FILE")]
    pub(super) ca: Option<PathBuf>,
    /// The device's certificate for the cloud's broker, as PEM.
    #[arg(long, value_name = "FILE")]
    pub(super) certificate: Option<PathBuf>,
    /// The key of that certificate, as PEM.
    #[arg(long, value_name = "FILE")]
    pub(super) certificate_key: Option<PathBuf>,
    /// A broker on this device or on the site's network, like mqtt://127.0.0.1:1883.
    #[arg(long, value_name = "URL")]
    #[serde(deserialize_with = "parsed")]
    pub(super) local: Option<BrokerUrl>,
    /// Answer MQTT clients without a broker, at this address and port.
    #[arg(long, value_name = "ADDRESS")]
    pub(super) listen: Option<SocketAddr>,
    /// The certificate to show them, as PEM.
    #[arg(long, value_name = "FILE")]
    pub(super) listen_certificate: Option<PathBuf>,
    /// The key of that certificate, as PEM.
    #[arg(long, value_name = "FILE")]
    pub(super) listen_key: Option<PathBuf>,
    /// Keep the device's key sealed to this machine, by its TPM 2.0 if it has one: systemd unseals
    /// it for the daemon. Needs systemd 250 or later.
    #[arg(long)]
    pub(super) seal: bool,
}

/// Text of the file by the rules of its type.
fn parsed<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
    D: serde::Deserializer<'de>,
{
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

impl Answers {
    /// The command line's, and what it lacks from a file.
    pub(super) fn merged(given: Self, file: Option<&Path>) -> Result<Self, CliError> {
        let Some(path) = file else {
            return Ok(given);
        };
        let bytes = files::read(path, 1 << 16)?;
        let text = String::from_utf8_lossy(&bytes);
        let file: Self = toml::from_str(&text).map_err(|error| {
            CliError::new(exit_status::USAGE, format!("{}: {error}", path.display()))
        })?;
        Ok(Self {
            device: given.device.or(file.device),
            issuers: given.issuers.or(file.issuers),
            fingerprint: given.fingerprint.or(file.fingerprint),
            cloud: given.cloud.or(file.cloud),
            user: given.user.or(file.user),
            password_file: given.password_file.or(file.password_file),
            ca: given.ca.or(file.ca),
            certificate: given.certificate.or(file.certificate),
            certificate_key: given.certificate_key.or(file.certificate_key),
            local: given.local.or(file.local),
            listen: given.listen.or(file.listen),
            listen_certificate: given.listen_certificate.or(file.listen_certificate),
            listen_key: given.listen_key.or(file.listen_key),
            seal: given.seal || file.seal,
        })
    }

    /// What belongs to something that was not named is a mistake.
    pub(super) fn check(&self) -> Result<(), CliError> {
        let of_cloud = self.user.is_some()
            || self.password_file.is_some()
            || self.ca.is_some()
            || self.certificate.is_some();
        let of_listen = self.listen_certificate.is_some() || self.listen_key.is_some();
        let why = match () {
            () if of_cloud && self.cloud.is_none() => "--cloud is missing: whose log-in is that?",
            () if of_listen && self.listen.is_none() => "--listen is missing: at which address?",
            () if self.certificate.is_some() != self.certificate_key.is_some() => {
                "a certificate needs its key, and a key its certificate"
            }
            () => return Ok(()),
        };
        Err(CliError::new(exit_status::USAGE, why))
    }

    /// Asks for what is missing and cannot be known, if somebody is there.
    pub(super) fn complete(
        &mut self,
        ask: &mut Ask,
        before: Option<&Pinned>,
        lacks_a_link: bool,
    ) -> Result<(), CliError> {
        if self.device.is_none() {
            self.device = before.map(|before| before.device.clone());
        }
        if self.device.is_none() {
            let name = host_name();
            self.device = ask.value("The id of this device", name.as_deref(), |text| {
                text.parse::<Id>().map_err(str::to_owned)
            })?;
        }
        if self.issuers.is_none() && before.is_none() {
            let question = "The issuer: its file, or the text that `doorkey issuer show` prints";
            self.issuers = ask.value(question, None, |text| Ok(text.to_owned()))?;
        }
        if lacks_a_link && !self.names_a_link() {
            let url = |text: &str| match text {
                "none" => Ok(None),
                text => text
                    .parse::<BrokerUrl>()
                    .map(Some)
                    .map_err(|why| why.to_string()),
            };
            let question = "The cloud's broker, like mqtts://broker.example:8883, or none";
            self.cloud = ask.value(question, None, url)?.flatten();
            let question = "A broker on the site, or none";
            let usual = "mqtt://127.0.0.1:1883";
            self.local = ask.value(question, Some(usual), url)?.flatten();
        }
        Ok(())
    }

    /// Whether any of it is about a link.
    pub(super) fn names_a_link(&self) -> bool {
        self.cloud.is_some() || self.local.is_some() || self.listen.is_some()
    }
}

pub(super) fn missing() -> CliError {
    CliError::new(exit_status::USAGE, "--device and --issuers are needed")
        .with_remedy("On a terminal they are asked for. `doorward provision --help` says more.")
}

/// What the machine calls itself.
fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim();
    Id::new(name).ok().map(|id| id.to_string())
}
