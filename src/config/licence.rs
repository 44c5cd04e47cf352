//! `[licence]`: whose licences this machine takes.

use std::path::PathBuf;

use serde::Deserialize;

use doorward_protocol::wire::{Id, KeyBytes, PublicKey};

/// What `licence.apply` needs to know.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LicenceConfig {
    /// The maker's public keys, as 64 hexadecimal digits.
    pub keys: Vec<String>,
    /// The serial number of this machine.
    pub serial: String,
    /// Where the licence in force is kept, for the programs that look at it.
    pub file: PathBuf,
}

impl LicenceConfig {
    /// The maker's keys.
    #[must_use]
    pub fn trusted(&self) -> Vec<PublicKey> {
        let keys = self.keys.iter().filter_map(|key| KeyBytes::from_hex(key));
        keys.filter_map(|key| PublicKey::new(&key).ok()).collect()
    }

    /// Finds what cannot work.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.keys.is_empty() || self.trusted().len() != self.keys.len() {
            return Err("keys: at least one, each of 64 hexadecimal digits".into());
        }
        Id::new(&self.serial).map_err(|why| format!("serial: {why}"))?;
        if !self.file.is_absolute() {
            return Err("file is an absolute path".into());
        }
        Ok(())
    }
}
