//! `[operations."NAME"]`: the operations of the device and their handlers.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use crate::config::ArgDefinition;
use doorward_protocol::wire::Class;

/// An operation as it is configured, with the fields of all handlers. The handler checks them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// How much harm it can do.
    #[serde(deserialize_with = "class")]
    pub class: Class,
    /// The handler that executes it.
    pub handler: HandlerKind,
    /// `exec`: the program and its arguments; no shell is involved. `{NAME}` is replaced by the
    /// command's argument of that name, and must be a whole argument.
    #[serde(default)]
    pub argv: Vec<String>,
    /// `nut`: the instant command.
    pub command: Option<String>,
    /// `nut`: the variable that is set to the argument `value`.
    pub variable: Option<String>,
    /// `nut`: variables to read, after the command or the change if there is one.
    #[serde(default)]
    pub read: Vec<String>,
    /// `logind`: the action.
    pub action: Option<PowerAction>,
    /// `unit`: the systemd unit.
    pub unit: Option<String>,
    /// `unit`: the job of the unit.
    pub job: Option<Job>,
    /// `mqtt`: the topic of the command on the machine's own bus.
    pub topic: Option<String>,
    /// The arguments that a command may have.
    #[serde(default)]
    pub args: BTreeMap<String, ArgDefinition>,
    /// Conditions of the UPS under which it must not run.
    #[serde(default)]
    pub interlocks: Vec<Condition>,
    /// Timeout in seconds.
    #[serde(default = "default_timeout")]
    pub timeout_s: u64,
    /// The proof of success.
    #[serde(default)]
    pub confirm: Confirm,
}

fn default_timeout() -> u64 {
    60
}

/// The kind of a handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HandlerKind {
    /// An operation of doorward itself.
    Builtin,
    /// Runs a program.
    Exec,
    /// A UPS, by NUT's upsd.
    Nut,
    /// Reboot and shutdown, by systemd-logind.
    Logind,
    /// A unit of systemd.
    Unit,
    /// A service on the machine's own MQTT bus, in the format of thin-edge.io.
    Mqtt,
    /// Firmware, by the machine's updater.
    Firmware,
}

/// An action of systemd-logind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PowerAction {
    /// Reboots the machine.
    Reboot,
    /// Shuts the machine down and switches it off.
    PowerOff,
    /// Cancels a scheduled action.
    Cancel,
    /// All steps of a reboot without the reboot itself.
    DryReboot,
}

/// A job of a systemd unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Job {
    /// Starts it.
    Start,
    /// Stops it.
    Stop,
    /// Stops it, if it runs, and starts it.
    Restart,
    /// Makes it read its configuration again.
    Reload,
}

/// The proof that an operation succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Confirm {
    /// The result of the handler.
    #[default]
    Exit,
    /// A reboot of the machine.
    Boot,
}

/// A condition of the UPS, from `ups.status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// On battery, `OB`.
    OnBattery,
    /// Low battery, `LB`.
    LowBattery,
    /// Calibrating, `CAL`.
    Calibrating,
}

impl Condition {
    /// The flag in `ups.status`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::OnBattery => "OB",
            Self::LowBattery => "LB",
            Self::Calibrating => "CAL",
        }
    }
}

impl Definition {
    /// The timeout.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_s)
    }
}

/// The name of the argument for which an element of argv is a placeholder.
#[must_use]
pub fn placeholder(part: &str) -> Option<&str> {
    part.strip_prefix('{')?.strip_suffix('}')
}

fn class<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Class, D::Error> {
    let name = String::deserialize(d)?;
    Class::ALL
        .into_iter()
        .find(|class| class.name() == name)
        .ok_or_else(|| {
            serde::de::Error::custom("class must be one of read, change, interrupt, danger")
        })
}
