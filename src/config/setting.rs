//! `[settings."NAME"]`: what `config.read` shows and `config.write` changes.

use serde::Deserialize;

use crate::config::nut::is_word;
use crate::config::{ArgDefinition, placeholder};

/// A setting of the machine, or of what hangs on it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// What it may be.
    pub value: ArgDefinition,
    /// The variable of NUT that holds it.
    pub variable: Option<String>,
    /// The program that prints it.
    #[serde(default)]
    pub get: Vec<String>,
    /// The program that sets it; `{value}` is where the value goes.
    #[serde(default)]
    pub set: Vec<String>,
    /// Whether only the owner may change it.
    #[serde(default)]
    pub owner_only: bool,
    /// A change that nobody confirms within so many seconds is taken back; 0: it stays at once.
    #[serde(default = "confirm_s")]
    pub confirm_s: u64,
}

fn confirm_s() -> u64 {
    300
}

impl Setting {
    /// Finds what cannot work.
    pub(super) fn check(&self, has_nut: bool) -> Result<(), String> {
        self.value.check().map_err(|why| format!("value: {why}"))?;
        if self.value.optional {
            return Err("value: a setting always has one".into());
        }
        match &self.variable {
            Some(_) if !self.get.is_empty() || !self.set.is_empty() => {
                return Err("either variable, or get and set".into());
            }
            Some(variable) if !is_word(variable) => {
                return Err(format!("`{variable}` is no name of NUT"));
            }
            Some(_) if !has_nut => return Err("the UPS is not named; add [nut]".into()),
            Some(_) => {}
            None => {
                for (name, argv) in [("get", &self.get), ("set", &self.set)] {
                    if !argv.first().is_some_and(|program| program.starts_with('/')) {
                        return Err(format!("{name} must begin with an absolute path"));
                    }
                }
                let places = self.set.iter().filter_map(|part| placeholder(part));
                if places.collect::<Vec<_>>() != ["value"] {
                    return Err("set needs {value}, alone and once, where the value goes".into());
                }
            }
        }
        if self.confirm_s > 3600 {
            return Err("confirm_s must be from 0 to 3600".into());
        }
        Ok(())
    }
}
