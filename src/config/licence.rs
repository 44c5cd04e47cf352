//! `[licence]`: the licences that this machine accepts.

use std::path::PathBuf;

use serde::Deserialize;

use doorward_protocol::wire::{Id, KeyBytes, PublicKey};

/// The configuration of `licence.apply`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LicenceConfig {
    /// The manufacturer's public keys, each as 64 hexadecimal digits.
    pub keys: Vec<String>,
    /// The serial number of this machine.
    pub serial: String,
    /// The file of the licence in force, for the programs that need it.
    pub file: PathBuf,
}

impl LicenceConfig {
    /// The manufacturer's keys.
    #[must_use]
    pub fn trusted(&self) -> Vec<PublicKey> {
        let keys = self.keys.iter().filter_map(|key| KeyBytes::from_hex(key));
        keys.filter_map(|key| PublicKey::new(&key).ok()).collect()
    }

    /// Refuses values that cannot work.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.keys.is_empty() || self.trusted().len() != self.keys.len() {
            return Err("keys: at least one is needed, each of 64 hexadecimal digits".into());
        }
        Id::new(&self.serial).map_err(|why| format!("serial: {why}"))?;
        if !self.file.is_absolute() {
            return Err("file must be an absolute path".into());
        }
        Ok(())
    }
}
