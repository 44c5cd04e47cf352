//! What provisioning has left in a state directory, without the device's key: for those who set a
//! device up, look after it, or give it away.

use std::fs;
use std::path::{Path, PathBuf};

use crate::store::identity;
use crate::store::identity::{CLAIM, ISSUERS, LIMIT, PINNED, PUBLIC, REGISTRATION};
use doorward_protocol::wire::{Bytes, Hash, Id, Issuers, KeyBytes, Registration};
use doorward_transport::files;
use doorward_transport::files::{Doing, FileError};

/// A device as it was provisioned.
#[derive(Debug, Clone)]
pub struct Pinned {
    /// Its id.
    pub device: Id,
    /// Its public key.
    pub key: KeyBytes,
    /// The issuer's keys that it trusts now.
    pub issuers: Issuers,
    /// SHA-256 of the file of issuers that it was provisioned with.
    pub fingerprint: Hash,
    /// Whose it is, if it has been told. What is written here is checked by the daemon only.
    pub owner: Option<Id>,
    /// The secret by which it gets its owner, until it has one.
    pub claim: Option<String>,
}

impl Pinned {
    /// Reads what provisioning has left; `None` if the device was not provisioned.
    ///
    /// # Errors
    /// If something of it is missing or broken.
    pub fn read(state: &Path) -> Result<Option<Self>, FileError> {
        let identity = state.join("identity");
        if !identity.join(identity::ID).exists() {
            return Ok(None);
        }
        let device = identity::read_id(&identity)?;
        let issuers = files::read(&identity.join(ISSUERS), LIMIT)?;
        let fingerprint = match read_hex(&identity.join(PINNED))? {
            Some(hash) => hash,
            // Devices that were provisioned by version 0.1 have no such file.
            None => doorward_protocol::wire::hash(&issuers),
        };
        let issuers = identity::issuers_in(&issuers).doing("use", &identity.join(ISSUERS))?;
        let key = match read_hex(&identity.join(PUBLIC))? {
            Some(key) => key,
            None => crate::store::Identity::load(state)?.key.public(),
        };
        let owner = files::read_if_there(&identity.join(REGISTRATION), LIMIT)?
            .and_then(|bytes| owner_in(&bytes));
        let claim = files::read_if_there(&identity.join(CLAIM), LIMIT)?
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .filter(|_| owner.is_none());
        Ok(Some(Self {
            device,
            key,
            issuers,
            fingerprint,
            owner,
            claim,
        }))
    }

    /// Takes the device's key out of the state directory, after it was sealed elsewhere.
    ///
    /// # Errors
    /// If the file cannot be removed.
    pub fn drop_key(state: &Path) -> Result<(), FileError> {
        let file = Self::key_file(state);
        fs::remove_file(&file)
            .and_then(|()| files::sync_parent(&file))
            .doing("remove", &file)
    }

    /// Where the device's key is, unless it is sealed.
    #[must_use]
    pub fn key_file(state: &Path) -> PathBuf {
        state.join("identity").join(identity::KEY)
    }
}

/// Forgets who this device is, whose it was, and all that it knew. The id goes first: a device
/// without it does nothing, wherever this ends. The lock stays, and whoever calls holds it.
///
/// # Errors
/// If something cannot be removed; what is left goes when this is called again.
pub(super) fn forget(state: &Path) -> Result<(), FileError> {
    let id = state.join("identity").join(identity::ID);
    files::remove(&id)?;
    if id.parent().is_some_and(Path::exists) {
        files::sync_parent(&id).doing("sync", &id)?;
    }
    for entry in fs::read_dir(state).doing("read", state)? {
        let path = entry.doing("read", state)?.path();
        let removed = match path {
            _ if path.file_name().is_some_and(|name| name == "lock") => Ok(()),
            _ if path.is_dir() && !path.is_symlink() => fs::remove_dir_all(&path),
            _ => fs::remove_file(&path),
        };
        removed.doing("remove", &path)?;
    }
    files::sync_parent(&state.join("lock")).doing("sync", state)
}

fn owner_in(registration: &[u8]) -> Option<Id> {
    let bundle = doorward_protocol::wire::Bundle::parse(registration).ok()?;
    let first = bundle.statements.into_iter().next()?.ok()?;
    Some(first.claims::<Registration>().ok()?.sub)
}

fn read_hex(path: &Path) -> Result<Option<Bytes<32>>, FileError> {
    let Some(bytes) = files::read_if_there(path, LIMIT)? else {
        return Ok(None);
    };
    std::str::from_utf8(&bytes)
        .ok()
        .and_then(|text| Bytes::from_hex(text.trim()))
        .map(Some)
        .ok_or_else(|| files::invalid("it does not hold 64 hexadecimal digits"))
        .doing("use", path)
}
