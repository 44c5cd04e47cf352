//! `[operations."NAME"]`: what the device offers, and who does it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::nut::is_word;
use crate::wire::{ArgLimit, Class, Operation, Value};

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

/// What one argument may be.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArgDefinition {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: ArgKind,
    /// A number: at least this.
    pub min: Option<i64>,
    /// A number: at most this.
    pub max: Option<i64>,
    /// A text: one of these.
    pub one_of: Option<Vec<String>>,
    /// Whether it may be left out.
    #[serde(default)]
    pub optional: bool,
}

/// The type of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ArgKind {
    /// A whole number.
    Int,
    /// A text.
    Text,
    /// Yes or no.
    Bool,
}

/// Longest text of an argument, in bytes.
const LONGEST: usize = 256;

impl ArgDefinition {
    /// What the gate looks at.
    #[must_use]
    pub fn limit(&self) -> ArgLimit {
        let list = self.one_of.as_ref();
        let bool = [Value::Bool(false), Value::Bool(true)];
        ArgLimit {
            one_of: match self.kind {
                ArgKind::Bool => Some(bool.to_vec()),
                _ => list.map(|list| list.iter().cloned().map(Value::Text).collect()),
            },
            // An open range still takes numbers only.
            min: (self.kind == ArgKind::Int).then_some(self.min.unwrap_or(i64::MIN)),
            max: self.max,
        }
    }

    /// Whether a value is sound, asked again by whoever hands it on: of the type, within its
    /// limits, and nothing that another program could take for anything but a value.
    #[must_use]
    pub fn takes(&self, value: &Value) -> bool {
        let sound = match (self.kind, value) {
            (ArgKind::Int, Value::Int(_)) | (ArgKind::Bool, Value::Bool(_)) => true,
            (ArgKind::Text, Value::Text(text)) => {
                text.len() <= LONGEST
                    && !text.starts_with('-')
                    && !text.chars().any(char::is_control)
            }
            _ => false,
        };
        sound && self.limit().allows(value)
    }

    fn check(&self) -> Result<(), &'static str> {
        let is = |kind| self.kind == kind;
        if (self.min.is_some() || self.max.is_some()) && !is(ArgKind::Int) {
            return Err("min and max are for type = \"int\"");
        }
        if self.min.zip(self.max).is_some_and(|(min, max)| min > max) {
            return Err("min is above max");
        }
        if self.one_of.is_some() && !is(ArgKind::Text) {
            return Err("one_of is for type = \"text\"");
        }
        let list = self.one_of.iter().flatten();
        let texts: Vec<_> = list.map(|text| Value::Text(text.clone())).collect();
        if self.one_of.is_some() && texts.is_empty() {
            return Err("one_of is empty, so no value would be taken");
        }
        if !texts.iter().all(|text| self.takes(text)) {
            return Err("a text of one_of begins with -, has control characters or is too long");
        }
        Ok(())
    }
}

impl Definition {
    /// How long it may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_s)
    }

    pub(super) fn check(&self, name: &Operation, has_nut: bool) -> Result<(), String> {
        let handled = match self.handler {
            Handler::Builtin => self.check_builtin(name),
            Handler::Exec => self.check_exec(),
            Handler::Nut => self.check_nut(),
        };
        handled?;
        if self.confirm == Confirm::Boot && self.handler != Handler::Exec {
            return Err("confirm = \"boot\" is for the exec handler".into());
        }
        if (self.handler == Handler::Nut || !self.interlocks.is_empty()) && !has_nut {
            return Err("the UPS is not named; add [nut]".into());
        }
        for (arg, definition) in &self.args {
            if !is_word(arg) {
                return Err(format!("`{arg}` is no name of an argument"));
            }
            let checked = definition.check();
            checked.map_err(|why| format!("args.{arg}: {why}"))?;
        }
        if !(1..=86400).contains(&self.timeout_s) {
            return Err("timeout_s must be from 1 to 86400".into());
        }
        Ok(())
    }

    fn check_builtin(&self, name: &Operation) -> Result<(), String> {
        if !crate::operation::is_builtin(name) {
            return Err("doorward has no built-in operation of this name".into());
        }
        if !self.args.is_empty() {
            return Err("a built-in operation has its own arguments".into());
        }
        self.has_only(&[])
    }

    fn check_exec(&self) -> Result<(), String> {
        let Some(program) = self.argv.first() else {
            return Err("the exec handler needs argv".into());
        };
        if !program.starts_with('/') {
            return Err("argv must begin with an absolute path".into());
        }
        for part in &self.argv {
            let required = |arg: &str| self.args.get(arg).is_some_and(|arg| !arg.optional);
            match placeholder(part) {
                Some(arg) if !required(arg) => {
                    return Err(format!("`{part}` in argv needs args.{arg}, not optional"));
                }
                None if part.contains(['{', '}']) => {
                    return Err(format!("in argv, `{part}`: a placeholder stands alone"));
                }
                _ => {}
            }
        }
        self.has_only(&["argv"])
    }

    fn check_nut(&self) -> Result<(), String> {
        let names = self.command.iter().chain(&self.variable).chain(&self.read);
        for name in names {
            if !is_word(name) {
                return Err(format!("`{name}` is no name of NUT"));
            }
            if name.split('.').take(2).eq(["outlet", "0"]) {
                return Err("outlet 0 is all outlets at once; name one".into());
            }
        }
        let (command, variable) = (&self.command, &self.variable);
        match (command, variable) {
            (Some(_), Some(_)) => return Err("either command or variable".into()),
            (None, None) if self.read.is_empty() => {
                return Err("the nut handler needs command, variable or read".into());
            }
            _ => {}
        }
        let value = self.args.get("value").is_some_and(|value| !value.optional);
        if variable.is_some() && !(value && self.args.len() == 1) {
            return Err("variable needs args.value, not optional, and no other".into());
        }
        if variable.is_none() && !self.args.is_empty() {
            return Err("only variable takes an argument".into());
        }
        self.has_only(&["command", "variable", "read"])
    }

    /// What belongs to other handlers must not be there.
    fn has_only(&self, fields: &[&str]) -> Result<(), String> {
        for (field, is_set) in [
            ("argv", !self.argv.is_empty()),
            ("command", self.command.is_some()),
            ("variable", self.variable.is_some()),
            ("read", !self.read.is_empty()),
        ] {
            if is_set && !fields.contains(&field) {
                return Err(format!("{field} is for another handler"));
            }
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn arg(text: &str) -> ArgDefinition {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn a_value_is_of_the_type_and_within_its_limits() {
        let percent = arg("type = \"int\"\nmin = 0\nmax = 100");
        let open = arg("type = \"int\"");
        let mode = arg("type = \"text\"\none_of = [\"eco\", \"full\"]");
        let flag = arg("type = \"bool\"");
        for (definition, value, takes) in [
            (&percent, Value::Int(100), true),
            (&percent, Value::Int(101), false),
            (&percent, Value::Int(-1), false),
            (&percent, Value::from("1"), false),
            (&open, Value::Int(i64::MIN), true),
            (&open, Value::Bool(true), false),
            (&mode, Value::from("eco"), true),
            (&mode, Value::from("eco "), false),
            (&flag, Value::Bool(false), true),
            (&flag, Value::Int(0), false),
            (&flag, Value::Bytes(vec![]), false),
        ] {
            assert_eq!(definition.takes(&value), takes, "{definition:?} {value:?}");
            assert_eq!(
                definition.limit().allows(&value),
                takes,
                "{value:?} at the gate"
            );
        }
    }

    #[test]
    fn a_text_can_be_taken_for_nothing_but_a_value() {
        let text = arg("type = \"text\"");
        assert!(text.takes(&Value::from("back to \"eco\"; $(reboot)")));
        for hostile in ["-rf", "--config=/x", "a\nFSD ups", "a\0b", "\u{1b}[2J"] {
            assert!(!text.takes(&Value::from(hostile)), "{hostile:?}");
        }
        assert!(!text.takes(&Value::Text("x".repeat(257))));
    }
}
