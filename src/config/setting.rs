//! `[settings."NAME"]`: the settings that `config.read` reads and `config.write` changes.

use serde::Deserialize;

use crate::config::nut::{NO_UPS, is_word};
use crate::config::{ArgDefinition, placeholder};

/// A setting of the machine or of its equipment.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// Type and limits of the value.
    pub value: ArgDefinition,
    /// The variable of NUT that holds it.
    pub variable: Option<String>,
    /// The program that prints it.
    #[serde(default)]
    pub get: Vec<String>,
    /// The program that sets it; `{value}` is replaced by the value.
    #[serde(default)]
    pub set: Vec<String>,
    /// Whether only the owner may change it.
    #[serde(default)]
    pub owner_only: bool,
    /// Seconds after which an unconfirmed change is reverted; 0: a change is permanent at once.
    #[serde(default = "confirm_s")]
    pub confirm_s: u64,
}

fn confirm_s() -> u64 {
    300
}

impl Setting {
    /// Refuses values that cannot work.
    pub(super) fn check(&self, has_nut: bool) -> Result<(), String> {
        self.value.check().map_err(|why| format!("value: {why}"))?;
        if self.value.optional {
            return Err("value: optional is not allowed".into());
        }
        match &self.variable {
            Some(_) if !self.get.is_empty() || !self.set.is_empty() => {
                return Err("set either variable, or get and set".into());
            }
            Some(variable) if !is_word(variable) => {
                return Err(format!("`{variable}` is not a valid name of NUT"));
            }
            Some(_) if !has_nut => return Err(NO_UPS.into()),
            Some(_) => {}
            None => {
                for (name, argv) in [("get", &self.get), ("set", &self.set)] {
                    if !argv.first().is_some_and(|program| program.starts_with('/')) {
                        return Err(format!("{name} must begin with an absolute path"));
                    }
                }
                let placeholders = self.set.iter().filter_map(|part| placeholder(part));
                if placeholders.collect::<Vec<_>>() != ["value"] {
                    return Err("set needs {value} exactly once, as a whole argument".into());
                }
            }
        }
        if self.confirm_s > 3600 {
            return Err("confirm_s must be from 0 to 3600".into());
        }
        Ok(())
    }
}
