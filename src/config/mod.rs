//! `doorward.toml`. Bad values are refused while it is read, so that the message has the
//! line; what concerns several sections is checked afterwards.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

mod argument;
mod check;
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
pub use operation::{Condition, Confirm, Definition, Handler, Job, PowerAction, placeholder};
pub use setting::Setting;

use crate::link::ListenerConfig;
use doorward_protocol::gate::MAX_REBOOTS;
use doorward_protocol::wire::Operation;
use doorward_transport::{Broker, BrokerUrl, Tls};
use drop_in::ConfigText;

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the identity, the log and the cache are.
    pub state: PathBuf,
    /// The links; at least one must be there.
    #[serde(default)]
    pub links: Links,
    /// What the device offers, by name.
    #[serde(default)]
    pub operations: BTreeMap<OperationName, Definition>,
    /// The UPS, as NUT's upsd on this machine knows it.
    pub nut: Option<Nut>,
    /// The broker of the machine's own bus, as thin-edge.io has one.
    pub bus: Option<LinkSection>,
    /// The machine's firmware.
    pub firmware: Option<Firmware>,
    /// Whose licences this machine takes.
    pub licence: Option<LicenceConfig>,
    /// What `config.read` and `config.write` are about.
    #[serde(default)]
    pub settings: BTreeMap<String, Setting>,
    /// What goes into a diagnostics bundle besides what doorward knows itself.
    #[serde(default)]
    pub diagnostics: Diagnostics,
    /// How often the machine may be booted.
    #[serde(default)]
    pub reboots: RebootLimit,
    /// Making the device new again.
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

/// How often operations may boot the machine, so that no loop can be made of them.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RebootLimit {
    /// So often ...
    pub most: usize,
    /// ... in so many seconds.
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

/// Making the device new again, by whoever stands before it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FactoryReset {
    /// A program that succeeds only while somebody is there, such as one that reads a button.
    pub presence: Vec<String>,
}

/// What goes into a diagnostics bundle.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Diagnostics {
    /// Files, of which the end is taken if they are long.
    pub files: Vec<PathBuf>,
    /// Programs, of which the output is taken.
    pub programs: Vec<Vec<String>>,
    /// The largest that all of it may be, in KiB, before it is compressed.
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
            return Err("files and programs are absolute paths".into());
        }
        if self.files.len() + self.programs.len() > 32 {
            return Err("32 files and programs at most".into());
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
    /// Reads and checks a file and its parts (`doorward.d/*.toml` beside `doorward.toml`). One that
    /// others may write to is refused.
    ///
    /// # Errors
    /// With the file, the line or the section, and what is wrong there.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::load_with(path, &[])
    }

    /// The same with files, by path and text, as if they had been written already.
    ///
    /// # Errors
    /// As above.
    pub fn load_with(path: &Path, written: &[(PathBuf, String)]) -> Result<Self, ConfigError> {
        let error = |(path, why)| ConfigError { path, why };
        let parts = ConfigText::read(path, written).map_err(error)?;
        let config: Self =
            toml::from_str(&parts.text).map_err(|e| error(parts.locate_error(&e)))?;
        let whole = |why| error((path.to_owned(), why));
        config.check().map_err(whole)?;
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
            let checked = match nut::is_word(name) {
                true => setting.check(self.nut.is_some()),
                false => Err("a name is 1 to 64 letters, digits, . _ -".into()),
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

    /// Operations that cannot work as they are defined, and why. They are offered, and fail with
    /// that reason; the others work.
    #[must_use]
    pub fn unusable_operations(&self) -> BTreeMap<Operation, String> {
        let operations = self.operations.iter();
        operations
            .filter_map(|(OperationName(name), definition)| {
                let checked = definition.check(name, self);
                Some((name.clone(), checked.err()?))
            })
            .collect()
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
    fn the_shipped_example_is_valid() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/doorward.toml");
        // The links are what `doorward provision` asks for.
        let error = Config::load(&path).unwrap_err().to_string();
        assert!(error.contains("doorward provision"), "{error}");
        let link = "[links.local]\nurl = \"mqtt://127.0.0.1\"\n".to_owned();
        let part = directory_of(&path).join("links.toml");
        let config = Config::load_with(&path, &[(part, link)]).unwrap();
        assert_eq!(config.unusable_operations(), BTreeMap::new());
    }

    #[test]
    fn what_the_shipped_example_only_shows_is_valid_too() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/doorward.toml");
        let text = std::fs::read_to_string(path).unwrap();
        let shown = |line: &str| {
            let inner = line.strip_prefix("# ")?;
            toml::from_str::<toml::Table>(inner).ok()?;
            (!inner.is_empty() && !inner.starts_with('#')).then(|| inner.to_owned())
        };
        let all: Vec<String> = text
            .lines()
            .map(|line| shown(line).unwrap_or_else(|| line.to_owned()))
            .collect();
        // Two that exclude each other, and what only a maker can fill in.
        let all = all
            .join("\n")
            .replacen("\"device.reboot\"]", "\"device.reboot.exec\"]", 1)
            .replace(
                "64 hexadecimal digits\"]",
                &format!("{}\"]", "58".to_owned() + &"66".repeat(31)),
            );
        let config = load(&all).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(config.unusable_operations(), BTreeMap::new());
        assert!(config.operations.len() > 15, "{}", config.operations.len());
    }

    #[test]
    fn a_mistake_is_named_with_its_place() {
        assert!(load(GOOD).is_ok());
        for (change, to, says) in [
            ("read\"\nh", "reed\"\nh", "a class is one of"),
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
    fn an_operation_that_cannot_work_is_named_and_the_others_do() {
        let with = |fields: &str| {
            let text = format!(
                "{GOOD}[operations.\"x\"]\nclass = \"change\"\n{fields}\n[nut]\nups = \"ups\"\n\
                 user = \"doorward\"\npassword_file = \"/p\"\n"
            );
            let broken = load(&text).unwrap().unusable_operations();
            assert!(broken.len() <= 1, "{broken:?}");
            broken.into_values().next().unwrap_or_default()
        };
        let nut = "handler = \"nut\"\n";
        let exec = "handler = \"exec\"\n";
        let int = "args.value = { type = \"int\" }";
        for (fields, says) in [
            (format!("{nut}command = \"load.off\""), ""),
            (format!("{nut}read = [\"ups.status\"]"), ""),
            (format!("{nut}variable = \"a.b\"\n{int}"), ""),
            (
                format!("{exec}argv = [\"/bin/x\", \"{{value}}\"]\n{int}"),
                "",
            ),
            ("handler = \"builtin\"".into(), "no built-in operation"),
            ("handler = \"logind\"".into(), "needs action"),
            (
                "handler = \"logind\"\naction = \"reboot\"\nargs.delay_s = { type = \"int\" }"
                    .into(),
                "with a min of 0 or more",
            ),
            (
                "handler = \"logind\"\naction = \"cancel\"\nargs.delay_s = { type = \"int\" }"
                    .into(),
                "no argument but delay_s",
            ),
            (
                "handler = \"unit\"\nunit = \"x\"".into(),
                "no unit with its type",
            ),
            (
                "handler = \"unit\"\nunit = \"-x.service --now\"".into(),
                "no unit with its type",
            ),
            (
                "handler = \"unit\"\nunit = \"x.service\"\njob = \"reload\"".into(),
                "",
            ),
            (
                "handler = \"mqtt\"\ntopic = \"te/#\"".into(),
                "without + and #",
            ),
            (
                "handler = \"mqtt\"\ntopic = \"doorward/v1/x/command\"".into(),
                "not of doorward",
            ),
            ("handler = \"mqtt\"\ntopic = \"te/x\"".into(), "add [bus]"),
            ("handler = \"firmware\"".into(), "does firmware.stage"),
            (exec.into(), "needs argv"),
            (format!("{exec}argv = [\"x\"]"), "absolute path"),
            (
                format!("{exec}argv = [\"/bin/x\", \"{{value}}\"]"),
                "needs args.value",
            ),
            (
                format!("{exec}argv = [\"/bin/x\", \"-{{value}}\"]\n{int}"),
                "stands alone",
            ),
            (
                format!("{exec}argv = [\"/bin/x\"]\ncommand = \"load.off\""),
                "another handler",
            ),
            (nut.into(), "needs command, variable or read"),
            (
                format!("{nut}command = \"outlet.0.load.off\""),
                "outlet 0 is all",
            ),
            (
                format!("{nut}command = \"load.off\\nFSD ups\""),
                "no name of NUT",
            ),
            (
                format!("{nut}command = \"load.off\"\n{int}"),
                "only variable takes",
            ),
            (format!("{nut}variable = \"a.b\""), "needs args.value"),
            (
                format!("{nut}command = \"a\"\nvariable = \"a.b\"\n{int}"),
                "either command",
            ),
            (format!("{nut}command = \"a\"\ntimeout_s = 0"), "timeout_s"),
            (
                format!("{nut}command = \"a\"\nconfirm = \"boot\""),
                "for the exec",
            ),
            (
                format!("{nut}variable = \"a.b\"\nargs.value = {{ type = \"text\", min = 1 }}"),
                "min and max are for",
            ),
            (
                format!("{nut}variable = \"a.b\"\nargs.value = {{ type = \"text\", one_of = [] }}"),
                "one_of is empty",
            ),
            (
                format!(
                    "{nut}variable = \"a.b\"\nargs.value = {{ type = \"int\", min = 2, max = 1 }}"
                ),
                "min is above max",
            ),
        ] {
            let said = with(&fields);
            assert!(
                said.contains(says) && said.is_empty() == says.is_empty(),
                "{fields}: {said}"
            );
        }
        let alone = format!("{GOOD}[operations.\"x\"]\nclass = \"read\"\n{nut}read = [\"a\"]");
        let broken = load(&alone).unwrap().unusable_operations();
        assert!(broken.values().all(|why| why.contains("add [nut]")) && broken.len() == 1);
        let far = with("handler = \"exec\"\nargv = [\"/bin/x\"]");
        assert_eq!(far, "");
        let far = GOOD.replace("[operations", "[nut]\nups = \"u\"\nuser = \"d\"\npassword_file = \"/p\"\naddress = \"10.0.0.1:3493\"\n[operations");
        assert!(load(&far).unwrap_err().contains("must be on this machine"));
    }

    #[test]
    fn what_changes_something_is_not_of_class_read() {
        let settings = "[settings.x]\nvalue = { type = \"int\" }\nget = [\"/x\"]\nset = [\"/x\", \"{value}\"]\n";
        for (name, fields) in [
            ("config.write", "handler = \"builtin\""),
            ("boot", "handler = \"logind\"\naction = \"reboot\""),
            ("unit", "handler = \"unit\"\nunit = \"x.service\""),
        ] {
            for (class, broken) in [("read", true), ("change", false)] {
                let text = format!(
                    "{GOOD}[operations.\"{name}\"]\nclass = \"{class}\"\n{fields}\n{settings}"
                );
                let found = load(&text).unwrap().unusable_operations();
                assert_eq!(!found.is_empty(), broken, "{name} {class} {found:?}");
            }
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
