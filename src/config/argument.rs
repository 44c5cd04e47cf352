//! Types and limits of arguments and settings.

use serde::Deserialize;

use doorward_protocol::wire::{ArgLimit, Value};

/// Type and limits of an argument or a setting.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArgDefinition {
    /// The type.
    #[serde(rename = "type")]
    pub kind: ArgKind,
    /// Minimum of a number.
    pub min: Option<i64>,
    /// Maximum of a number.
    pub max: Option<i64>,
    /// The allowed texts.
    pub one_of: Option<Vec<String>>,
    /// Whether it may be omitted.
    #[serde(default)]
    pub optional: bool,
}

/// The type of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ArgKind {
    /// An integer.
    Int,
    /// A text.
    Text,
    /// A boolean.
    Bool,
}

/// Longest text of an argument, in bytes.
const MAX_TEXT: usize = 256;

impl ArgDefinition {
    /// The limit in the form that the gate checks.
    #[must_use]
    pub fn limit(&self) -> ArgLimit {
        let list = self.one_of.as_ref();
        let bool = [Value::Bool(false), Value::Bool(true)];
        ArgLimit {
            one_of: match self.kind {
                ArgKind::Bool => Some(bool.to_vec()),
                _ => list.map(|list| list.iter().cloned().map(Value::Text).collect()),
            },
            // An open range still excludes other types.
            min: (self.kind == ArgKind::Int).then_some(self.min.unwrap_or(i64::MIN)),
            max: self.max,
        }
    }

    /// Whether `value` has the type, is within the limits, and cannot be mistaken for an option or
    /// a control sequence by another program.
    #[must_use]
    pub fn takes(&self, value: &Value) -> bool {
        let is_valid = match (self.kind, value) {
            (ArgKind::Int, Value::Int(_)) | (ArgKind::Bool, Value::Bool(_)) => true,
            (ArgKind::Text, Value::Text(text)) => {
                text.len() <= MAX_TEXT
                    && !text.starts_with('-')
                    && !text.chars().any(char::is_control)
            }
            _ => false,
        };
        is_valid && self.limit().allows(value)
    }

    pub(crate) fn check(&self) -> Result<(), &'static str> {
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
            return Err("one_of is empty, so no value is allowed");
        }
        if !texts.iter().all(|text| self.takes(text)) {
            return Err(
                "a text of one_of begins with -, has control characters or exceeds 256 bytes",
            );
        }
        Ok(())
    }
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
