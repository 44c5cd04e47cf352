//! `[operations."NAME"]`: what the device offers, and who does it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use crate::config::ArgDefinition;
use doorward_protocol::wire::Class;

/// An operation as it is configured.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// How much it can do.
    #[serde(deserialize_with = "class")]
    pub class: Class,
    /// Who does it.
    pub handler: Handler,
    /// `exec`: the program and its arguments. No shell is involved. An argument of the command
    /// stands as `{NAME}`, alone.
    #[serde(default)]
    pub argv: Vec<String>,
    /// `nut`: the instant command.
    pub command: Option<String>,
    /// `nut`: the variable that the argument `value` is written to.
    pub variable: Option<String>,
    /// `nut`: variables to read, at the end if something was done before.
    #[serde(default)]
    pub read: Vec<String>,
    /// `logind`: what the machine is to do.
    pub action: Option<PowerAction>,
    /// `unit`: the systemd unit.
    pub unit: Option<String>,
    /// `unit`: what becomes of it.
    pub job: Option<Job>,
    /// `mqtt`: the topic of the command on the machine's own bus.
    pub topic: Option<String>,
    /// The arguments that a command may have; no others.
    #[serde(default)]
    pub args: BTreeMap<String, ArgDefinition>,
    /// Conditions under which it must not run.
    #[serde(default)]
    pub interlocks: Vec<Condition>,
    /// How long it may take, in seconds.
    #[serde(default = "default_timeout")]
    pub timeout_s: u64,
    /// What shows that it took effect.
    #[serde(default)]
    pub confirm: Confirm,
}

fn default_timeout() -> u64 {
    60
}

/// Who does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Handler {
    /// doorward itself.
    Builtin,
    /// A program.
    Exec,
    /// NUT's upsd.
    Nut,
    /// systemd-logind.
    Logind,
    /// systemd: one unit.
    Unit,
    /// A service on the machine's own MQTT bus, asked as thin-edge.io's are.
    Mqtt,
    /// The updater of the machine's firmware.
    Firmware,
}

/// What systemd-logind does with the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PowerAction {
    /// It boots again.
    Reboot,
    /// It is shut down and switched off.
    PowerOff,
    /// What was scheduled does not happen.
    Cancel,
    /// A rehearsal: everything but the boot itself.
    DryReboot,
}

/// What systemd does with a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Job {
    /// It is started.
    Start,
    /// It is stopped.
    Stop,
    /// It is stopped, if it runs, and started.
    Restart,
    /// It reads its configuration again.
    Reload,
}

/// What shows that an operation took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Confirm {
    /// Its handler says so.
    #[default]
    Exit,
    /// The machine boots.
    Boot,
}

/// A condition of the UPS, from its `ups.status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// It runs on its battery, `OB`.
    OnBattery,
    /// Its battery is low, `LB`.
    LowBattery,
    /// It calibrates itself, `CAL`.
    Calibrating,
}

impl Condition {
    /// The word in `ups.status`.
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
    /// How long it may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_s)
    }

    /// Whether its success shows in a new boot of the machine.
    #[must_use]
    pub fn boots(&self) -> bool {
        self.confirm == Confirm::Boot
            || matches!(
                self.action,
                Some(PowerAction::Reboot | PowerAction::PowerOff)
            )
    }
}

/// The name of the argument that stands in this part of argv.
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
            serde::de::Error::custom("a class is one of read, change, interrupt, danger")
        })
}
