//! The demo's issuer, which signs what an issuer signs.

use doorward_protocol::wire::{
    Id, Issuers, Map, Object, Role, RoleKeys, SecretKey, Timestamp, sign,
};
use doorward_terminal::CliError;
use doorward_transport::random;

use crate::broken;

/// The demo's issuer: a key for each role, held in memory only.
pub(super) struct DemoIssuer {
    pub(super) id: Id,
    keys: Vec<(Role, SecretKey)>,
}

impl DemoIssuer {
    pub(super) fn new(id: Id) -> Result<Self, CliError> {
        let mut keys = Vec::new();
        for role in Role::ALL {
            keys.push((role, new_key()?));
        }
        Ok(Self { id, keys })
    }

    /// The signed list of keys that the device pins.
    pub(super) fn issuers(&self, now: Timestamp) -> Result<Vec<u8>, CliError> {
        let roles = self.keys.iter().map(|(role, key)| {
            let keys = vec![key.public()];
            (*role, RoleKeys { threshold: 1, keys })
        });
        let issuers = Issuers::new(self.id.clone(), now, 1, Map::new(roles));
        self.sign(Role::Root, &issuers)
    }

    pub(super) fn sign<T: Object>(&self, role: Role, claims: &T) -> Result<Vec<u8>, CliError> {
        let key = self.keys.iter().find(|(of, _)| *of == role);
        let (_, key) = key.ok_or_else(|| broken("signing", "the role has no key"))?;
        claims.check().map_err(|error| broken("signing", error))?;
        Ok(sign(claims, key))
    }
}

fn new_key() -> Result<SecretKey, CliError> {
    let seed = random().map_err(|error| broken("no random bytes", error))?;
    Ok(SecretKey::from_seed(&seed))
}
