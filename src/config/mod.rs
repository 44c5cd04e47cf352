//! `doorward.toml`. Invalid values are refused while it is parsed, so that the message has the line
//! number; rules across several sections are checked afterwards.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

mod argument;
mod drop_in;
mod firmware;
mod licence;
mod nut;
mod operation;
mod setting;

pub use argument::{ArgDefinition, ArgKind};
pub use drop_in::directory_of;
pub use firmware::{Firmware, Source, UpdaterKind};
pub use licence::LicenceConfig;
pub use nut::Nut;
pub(crate) use nut::{NO_UPS, is_word};
pub use operation::{Condition, Confirm, Definition, HandlerKind, Job, PowerAction, placeholder};
pub use setting::Setting;

use crate::link::ListenerConfig;
use doorward_protocol::gate::MAX_REBOOTS;
use doorward_protocol::wire::Operation;
use doorward_transport::{Broker, BrokerUrl, Tls};
use drop_in::ConfigText;

/// The complete configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Directory of the identity, the event log and the cache.
    pub state: PathBuf,
    /// The links; at least one is needed.
    #[serde(default)]
    pub links: Links,
    /// The operations, by name.
    #[serde(default)]
    pub operations: BTreeMap<OperationName, Definition>,
    /// The UPS that is managed by NUT's upsd.
    pub nut: Option<Nut>,
    /// The broker of the machine's own bus, such as thin-edge.io's.
    pub bus: Option<LinkSection>,
    /// The machine's firmware.
    pub firmware: Option<Firmware>,
    /// The licences that this machine accepts.
    pub licence: Option<LicenceConfig>,
    /// The settings for `config.read` and `config.write`.
    #[serde(default)]
    pub settings: BTreeMap<String, Setting>,
    /// Additional content of diagnostics bundles.
    #[serde(default)]
    pub diagnostics: Diagnostics,
    /// The limit of reboots.
    #[serde(default)]
    pub reboots: RebootLimit,
    /// The factory reset.
    #[serde(default)]
    pub factory_reset: FactoryReset,
    /// The event log.
    #[serde(default)]
    pub log: LogConfig,
}

/// The links of the device.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Links {
    /// The connection to the cloud's broker.
    pub cloud: Option<LinkSection>,
    /// The connection to a broker on the site's own network.
    pub local: Option<LinkSection>,
    /// The device's own MQTT listener.
    pub listener: Option<ListenerConfig>,
}

/// A connection to a broker.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkSection {
    /// `mqtts://HOST:PORT`, or `mqtt://HOST:PORT` without TLS.
    pub url: BrokerUrl,
    /// The user name for the broker.
    pub user: Option<String>,
    /// The file with the password.
    pub password_file: Option<PathBuf>,
    /// TLS: trusted CA certificates and the device's own certificate.
    #[serde(default)]
    pub tls: Tls,
    /// MQTT keep-alive in seconds.
    pub keep_alive_s: Option<u16>,
}

impl LinkSection {
    /// The broker with the settings of this section.
    #[must_use]
    pub fn broker(&self) -> Broker {
        let broker = Broker::from(self.url.clone());
        Broker {
            user: self.user.clone(),
            password_file: self.password_file.clone(),
            tls: self.tls.clone(),
            keep_alive: self.keep_alive_s.unwrap_or(broker.keep_alive),
            ..broker
        }
    }
}

/// The limit of reboots by operations, which prevents reboot loops.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RebootLimit {
    /// Maximum number of reboots within `within_s`.
    pub most: usize,
    /// Length of the period in seconds.
    pub within_s: u64,
}

impl Default for RebootLimit {
    fn default() -> Self {
        Self {
            most: 4,
            within_s: 3600,
        }
    }
}

/// The factory reset, which requires physical presence.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FactoryReset {
    /// A program that succeeds only while a person is present, such as one that reads a button.
    pub presence: Vec<String>,
}

/// Additional content of diagnostics bundles.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Diagnostics {
    /// Files; of a long one, the end is included.
    pub files: Vec<PathBuf>,
    /// Programs whose output is included.
    pub programs: Vec<Vec<String>>,
    /// Maximum size of the bundle in KiB before compression.
    pub limit_kib: u64,
}

impl Default for Diagnostics {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            programs: Vec::new(),
            limit_kib: 4096,
        }
    }
}

impl Diagnostics {
    fn check(&self) -> Result<(), String> {
        let programs = self.programs.iter().map(|argv| argv.first());
        let programs = programs.map(|program| program.is_some_and(|it| it.starts_with('/')));
        let files = self.files.iter().map(|path| path.is_absolute());
        if !programs.chain(files).all(|absolute| absolute) {
            return Err("files and programs must be absolute paths".into());
        }
        if self.files.len() + self.programs.len() > 32 {
            return Err("at most 32 files and programs are allowed".into());
        }
        if !(64..=65536).contains(&self.limit_kib) {
            return Err("limit_kib must be from 64 to 65536".into());
        }
        Ok(())
    }
}

/// The event log.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// Maximum size in MiB.
    #[serde(default = "default_log_limit")]
    pub limit_mib: u64,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            limit_mib: default_log_limit(),
        }
    }
}

fn default_log_limit() -> u64 {
    16
}

/// The name of an operation as a key of the file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct OperationName(pub Operation);

impl TryFrom<String> for OperationName {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Operation::new(&text).map(Self)
    }
}

/// The reason why a configuration cannot be used.
#[derive(Debug)]
pub struct ConfigError {
    path: PathBuf,
    why: String,
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.why)
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads and checks a file and its drop-in files (`doorward.d/*.toml` beside `doorward.toml`).
    /// A file that all users may write to is refused.
    ///
    /// # Errors
    /// With the file, the line or the section, and the reason.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::load_with(path, &[])
    }

    /// Like [`load`](Self::load), with files (path and text) as if they had been written already.
    ///
    /// # Errors
    /// Those of [`load`](Self::load).
    pub fn load_with(path: &Path, written: &[(PathBuf, String)]) -> Result<Self, ConfigError> {
        let error = |(path, why)| ConfigError { path, why };
        let files = ConfigText::read(path, written).map_err(error)?;
        let config: Self =
            toml::from_str(&files.text).map_err(|e| error(files.locate_error(&e)))?;
        config
            .check()
            .map_err(|why| error((path.to_owned(), why)))?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        let links = &self.links;
        if links.cloud.is_none() && links.local.is_none() && links.listener.is_none() {
            return Err(
                "[links]: at least one of cloud, local and listener is needed; \
                 `doorward provision` asks for them"
                    .into(),
            );
        }
        if let Some(listener) = &links.listener {
            let checked = listener.check();
            checked.map_err(|why| format!("[links.listener]: {why}"))?;
        }
        let links = [
            ("links.cloud", &self.links.cloud),
            ("links.local", &self.links.local),
            ("bus", &self.bus),
        ];
        for (name, link) in links {
            if let Some(link) = link {
                let checked = link.broker().check();
                checked.map_err(|why| format!("[{name}]: {why}"))?;
            }
        }
        if let Some(nut) = &self.nut {
            nut.check().map_err(|why| format!("[nut]: {why}"))?;
        }
        if let Some(firmware) = &self.firmware {
            let checked = firmware.check();
            checked.map_err(|why| format!("[firmware]: {why}"))?;
        }
        if let Some(licence) = &self.licence {
            licence.check().map_err(|why| format!("[licence]: {why}"))?;
        }
        for (name, setting) in &self.settings {
            let checked = match is_word(name) {
                true => setting.check(self.nut.is_some()),
                false => Err("a name must be 1 to 64 letters, digits, . _ -".into()),
            };
            checked.map_err(|why| format!("[settings.{name:?}]: {why}"))?;
        }
        self.diagnostics
            .check()
            .map_err(|why| format!("[diagnostics]: {why}"))?;
        let RebootLimit { most, within_s } = self.reboots;
        if !(1..=MAX_REBOOTS).contains(&most) || !(1..=86400).contains(&within_s) {
            return Err(format!(
                "[reboots]: most must be from 1 to {MAX_REBOOTS}, within_s from 1 to 86400"
            ));
        }
        let presence = self.factory_reset.presence.first();
        if presence.is_some_and(|program| !program.starts_with('/')) {
            return Err("[factory_reset]: presence must begin with an absolute path".into());
        }
        if !(1..=1024).contains(&self.log.limit_mib) {
            return Err("[log]: limit_mib must be from 1 to 1024".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("doorward.toml");
        std::fs::write(&path, text).unwrap();
        Config::load(&path).map_err(|e| e.to_string())
    }

    const GOOD: &str = r#"
state = "/var/lib/doorward"
[links.local]
url = "mqtt://127.0.0.1"
[operations."status.read"]
class = "read"
handler = "builtin"
"#;

    #[test]
    fn a_mistake_is_named_with_its_place() {
        assert!(load(GOOD).is_ok());
        for (change, to, says) in [
            ("read\"\nh", "reed\"\nh", "class must be one of"),
            ("mqtt://", "http://", "mqtts://HOST"),
            (
                "\n[op",
                "\ntls.ca = \"/x\"\n[op",
                "[links.local]: TLS options are set",
            ),
            ("\n[op", "\ntls.cert = \"/x\"\n[op", "unknown field `cert`"),
            ("[links.local]", "[links.lan]", "unknown field `lan`"),
            ("status.read", "Status Read", "an operation is 1 to 64"),
            ("handler", "handlre", "unknown field `handlre`"),
            (
                "[links.local]\nurl = \"mqtt://127.0.0.1\"",
                "[links]",
                "at least one",
            ),
        ] {
            let error = load(&GOOD.replace(change, to)).unwrap_err();
            assert!(error.contains(says), "{change} -> {to}: {error}");
        }
    }

    #[test]
    fn a_file_that_everybody_may_write_to_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("doorward.toml");
        std::fs::write(&path, GOOD).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
        let error = Config::load(&path).unwrap_err().to_string();
        assert!(error.contains("chmod o-w"), "{error}");
    }
}
