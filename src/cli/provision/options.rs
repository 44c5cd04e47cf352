//! The values that provisioning needs: from the command line, from an answers file for many
//! devices, or from questions on the terminal.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;

use crate::cli::DeviceFiles;
use crate::cli::provision::prompt::Prompt;
use crate::store::Pinned;
use doorward_protocol::wire::{Id, check_device_id};
use doorward_terminal::{CliError, exit_status};
use doorward_transport::BrokerUrl;
use doorward_transport::files;

#[derive(Debug, Args)]
pub(in crate::cli) struct Provision {
    #[command(flatten)]
    pub(super) answers: Answers,
    /// TOML file with the answers, for many devices. Its names are those of the options, such as
    /// `issuers` or `password_file`. Options on the command line take precedence.
    #[arg(long = "answers", value_name = "FILE")]
    pub(super) answers_file: Option<PathBuf>,
    #[command(flatten)]
    pub(super) files: DeviceFiles,
    /// Trust the issuer without a question: its fingerprint was compared already.
    #[arg(long)]
    pub(super) yes: bool,
    /// Show what would be done, and change nothing.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Print one JSON object, and ask no questions.
    #[arg(long)]
    pub(super) json: bool,
}

// The answers.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Answers {
    /// ID of this device: 1 to 64 characters of A-Z a-z 0-9 . _ : @ -
    #[arg(long, value_name = "ID")]
    #[serde(deserialize_with = "parsed")]
    pub(super) device: Option<Id>,
    /// Issuer: its file `issuers.cwt`, the text that `doorkey issuer show` prints, or - to read
    /// either from standard input.
    #[arg(long, value_name = "FILE|TEXT")]
    pub(super) issuers: Option<String>,
    /// Fingerprint (SHA-256) that `doorkey issuer show` prints; an issuer with another one is
    /// refused.
    #[arg(long, value_name = "HEX")]
    pub(super) fingerprint: Option<String>,
    /// URL of the cloud's broker, such as mqtts://broker.example:8883.
    #[arg(long, value_name = "URL")]
    #[serde(deserialize_with = "parsed")]
    pub(super) cloud: Option<BrokerUrl>,
    /// User name at the cloud's broker.
    #[arg(long, value_name = "NAME")]
    pub(super) user: Option<String>,
    /// File with the password for the cloud's broker.
    #[arg(long, value_name = "FILE")]
    pub(super) password_file: Option<PathBuf>,
    /// CA certificates (PEM) for the cloud's broker, instead of the system's.
    #[arg(long, value_name = "FILE")]
    pub(super) ca: Option<PathBuf>,
    /// Client certificate (PEM) of the device for the cloud's broker.
    #[arg(long, value_name = "FILE")]
    pub(super) certificate: Option<PathBuf>,
    /// Key (PEM) of the client certificate.
    #[arg(long, value_name = "FILE")]
    pub(super) certificate_key: Option<PathBuf>,
    /// URL of a broker on this device or on the site's network, such as mqtt://127.0.0.1:1883.
    #[arg(long, value_name = "URL")]
    #[serde(deserialize_with = "parsed")]
    pub(super) local: Option<BrokerUrl>,
    /// Accept MQTT clients without a broker, on this address and port.
    #[arg(long, value_name = "ADDRESS")]
    pub(super) listen: Option<SocketAddr>,
    /// Certificate (PEM) of the listener.
    #[arg(long, value_name = "FILE")]
    pub(super) listen_certificate: Option<PathBuf>,
    /// Key (PEM) of the listener's certificate.
    #[arg(long, value_name = "FILE")]
    pub(super) listen_key: Option<PathBuf>,
    /// Encrypt the device's key for this machine, with its TPM 2.0 if it has one; systemd decrypts
    /// it for the daemon. Needs systemd 250 or later.
    #[arg(long)]
    pub(super) seal: bool,
}

/// Parses a text of the answers file into its type.
fn parsed<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
    D: serde::Deserializer<'de>,
{
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

impl Answers {
    /// The answers of the command line, completed from a file.
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

    /// Refuses options that belong to a link that was not given.
    pub(super) fn check(&self) -> Result<(), CliError> {
        if let Some(device) = &self.device {
            check_device_id(device).map_err(|why| CliError::new(exit_status::USAGE, why))?;
        }
        let of_cloud = self.user.is_some()
            || self.password_file.is_some()
            || self.ca.is_some()
            || self.certificate.is_some();
        let of_listen = self.listen_certificate.is_some() || self.listen_key.is_some();
        let why = match () {
            () if of_cloud && self.cloud.is_none() => {
                "--user, --password-file, --ca and --certificate need --cloud"
            }
            () if of_listen && self.listen.is_none() => {
                "--listen-certificate and --listen-key need --listen"
            }
            () if self.certificate.is_some() != self.certificate_key.is_some() => {
                "--certificate and --certificate-key are needed together"
            }
            () => return Ok(()),
        };
        Err(CliError::new(exit_status::USAGE, why))
    }

    /// Asks for missing values on a terminal.
    pub(super) fn complete(
        &mut self,
        prompt: &mut Prompt,
        before: Option<&Pinned>,
        lacks_a_link: bool,
    ) -> Result<(), CliError> {
        if self.device.is_none() {
            self.device = before.map(|before| before.device.clone());
        }
        if self.device.is_none() {
            let name = host_name();
            self.device = prompt.value("The ID of this device", name.as_deref(), |text| {
                text.parse::<Id>().map_err(str::to_owned)
            })?;
        }
        if self.issuers.is_none() && before.is_none() {
            let question = "The issuer: its file, or the text that `doorkey issuer show` prints";
            self.issuers = prompt.value(question, None, |text| Ok(text.to_owned()))?;
        }
        if lacks_a_link && !self.names_a_link() {
            let url = |text: &str| match text {
                "none" => Ok(None),
                text => text
                    .parse::<BrokerUrl>()
                    .map(Some)
                    .map_err(|why| why.to_string()),
            };
            let question = "The cloud's broker, such as mqtts://broker.example:8883, or none";
            self.cloud = prompt.value(question, None, url)?.flatten();
            let question = "A broker on the site, or none";
            let usual = "mqtt://127.0.0.1:1883";
            self.local = prompt.value(question, Some(usual), url)?.flatten();
        }
        Ok(())
    }

    /// Whether a link is given.
    pub(super) fn names_a_link(&self) -> bool {
        self.cloud.is_some() || self.local.is_some() || self.listen.is_some()
    }
}

pub(super) fn missing() -> CliError {
    CliError::new(exit_status::USAGE, "--device and --issuers are needed")
        .with_remedy("On a terminal, doorward asks for them. See `doorward provision --help`.")
}

/// The host name of the machine, if it is a valid ID.
fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim();
    Id::new(name).ok().map(|id| id.to_string())
}
