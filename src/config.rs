//! `doorward.toml`. Bad values are refused while it is read, so that the message has the
//! line; what concerns several sections is checked afterwards.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

mod nut;
mod operation;

pub use nut::Nut;
pub use operation::{ArgDefinition, ArgKind, Condition, Confirm, Definition, Handler, placeholder};

use crate::link::{Broker, BrokerUrl, ListenerConfig, Tls};
use crate::wire::Operation;

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the identity, the log and the cache are.
    pub state: PathBuf,
    /// The links; at least one must be there.
    pub links: Links,
    /// What the device offers, by name.
    #[serde(default)]
    pub operations: BTreeMap<OperationName, Definition>,
    /// The UPS, as NUT's upsd on this machine knows it.
    pub nut: Option<Nut>,
    /// The event log.
    #[serde(default)]
    pub log: LogConfig,
}

/// The links of the device.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Links {
    /// To the cloud's broker.
    pub cloud: Option<LinkSection>,
    /// To a broker on the site's own network.
    pub local: Option<LinkSection>,
    /// Where MQTT clients connect to the device itself.
    pub listener: Option<ListenerConfig>,
}

/// One link.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkSection {
    /// `mqtts://HOST:PORT`, or `mqtt://HOST:PORT` where nobody can listen in.
    pub url: BrokerUrl,
    /// The user name that the broker knows the device by.
    pub user: Option<String>,
    /// The file with the password.
    pub password_file: Option<PathBuf>,
    /// Whom to trust, and what to show.
    #[serde(default)]
    pub tls: Tls,
    /// Seconds between two signs of life.
    pub keep_alive_s: Option<u16>,
}

impl LinkSection {
    /// The broker as it is configured here.
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

/// The event log.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// How large it may grow, in MiB.
    #[serde(default = "default_log")]
    pub limit_mib: u64,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            limit_mib: default_log(),
        }
    }
}

fn default_log() -> u64 {
    16
}

/// An operation's name as a key of the file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct OperationName(pub Operation);

impl TryFrom<String> for OperationName {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Operation::new(&text).map(Self)
    }
}

/// Why a configuration cannot be used.
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
    /// Reads and checks a file. One that others may write to is refused.
    ///
    /// # Errors
    /// With the line, or the section, and what is wrong there.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let error = |why: String| ConfigError {
            path: path.to_owned(),
            why,
        };
        let text = read_private(path).map_err(error)?;
        let config: Self = toml::from_str(&text).map_err(|e| error(e.to_string()))?;
        config.check().map_err(error)?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        let links = &self.links;
        if links.cloud.is_none() && links.local.is_none() && links.listener.is_none() {
            return Err("[links]: at least one of cloud, local and listener is needed".into());
        }
        if let Some(listener) = &links.listener {
            let checked = listener.check();
            checked.map_err(|why| format!("[links.listener]: {why}"))?;
        }
        let links = [("cloud", &self.links.cloud), ("local", &self.links.local)];
        for (name, link) in links {
            if let Some(link) = link {
                let checked = link.broker().check();
                checked.map_err(|why| format!("[links.{name}]: {why}"))?;
            }
        }
        if let Some(nut) = &self.nut {
            nut.check().map_err(|why| format!("[nut]: {why}"))?;
        }
        if !(1..=1024).contains(&self.log.limit_mib) {
            return Err("[log]: limit_mib must be from 1 to 1024".into());
        }
        for (OperationName(name), definition) in &self.operations {
            let checked = definition.check(name, self.nut.is_some());
            checked.map_err(|why| format!("[operations.\"{name}\"]: {why}"))?;
        }
        Ok(())
    }
}

/// Reads a file that decides over power: whoever may write to it would decide too.
fn read_private(path: &Path) -> Result<String, String> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).map_err(|e| e.to_string())?;
    if metadata.mode() & 0o002 != 0 {
        return Err("everybody may write to it; run chmod o-w".into());
    }
    if metadata.len() > 1 << 20 {
        return Err("it is larger than 1 MiB".into());
    }
    std::fs::read_to_string(path).map_err(|e| e.to_string())
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
    fn the_shipped_example_is_valid() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/doorward.toml");
        Config::load(&path).unwrap();
    }

    #[test]
    fn a_mistake_is_named_with_its_place() {
        assert!(load(GOOD).is_ok());
        for (change, to, says) in [
            ("read\"\nh", "reed\"\nh", "a class is one of"),
            ("builtin", "exec", "needs argv"),
            ("status.read", "status.raed", "no built-in operation"),
            ("mqtt://", "http://", "mqtts://HOST"),
            (
                "\n[op",
                "\ntls.ca = \"/x\"\n[op",
                "[links.local]: tls is set",
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
