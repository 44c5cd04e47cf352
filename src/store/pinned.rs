//! The provisioned data in a state directory, without the device's secret key: for setup,
//! maintenance and factory reset.

use std::fs;
use std::path::{Path, PathBuf};

use crate::store::identity;
use crate::store::identity::{CLAIM, ISSUERS, LIMIT, PINNED, PUBLIC, REGISTRATION};
use doorward_protocol::wire::{Bytes, Hash, Id, Issuers, KeyBytes, Registration};
use doorward_transport::files;
use doorward_transport::files::{Doing, FileError};

/// The provisioned data of a device.
#[derive(Debug, Clone)]
pub struct Pinned {
    /// Its id.
    pub device: Id,
    /// Its public key.
    pub key: KeyBytes,
    /// The issuer keys that it trusts at present.
    pub issuers: Issuers,
    /// SHA-256 of the issuer file with which it was provisioned.
    pub fingerprint: Hash,
    /// Its owner, if it has a registration, which only the daemon verifies.
    pub owner: Option<Id>,
    /// The secret with which it is registered to an owner, until it has one.
    pub claim: Option<String>,
}

impl Pinned {
    /// Reads the provisioned data; `None` if the device was not provisioned.
    ///
    /// # Errors
    /// If a file is missing or damaged.
    pub fn read(state: &Path) -> Result<Option<Self>, FileError> {
        let identity = state.join("identity");
        if !identity.join(identity::ID).exists() {
            return Ok(None);
        }
        let device = identity::read_id(&identity)?;
        let issuers = files::read(&identity.join(ISSUERS), LIMIT)?;
        let fingerprint = match read_hex(&identity.join(PINNED))? {
            Some(hash) => hash,
            // Devices provisioned by version 0.1 do not have this file.
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

    /// Deletes the device's key from the state directory, after it was sealed elsewhere.
    ///
    /// # Errors
    /// If the file cannot be removed.
    pub fn drop_key(state: &Path) -> Result<(), FileError> {
        let file = Self::key_file(state);
        fs::remove_file(&file)
            .and_then(|()| files::sync_parent(&file))
            .doing("remove", &file)
    }

    /// The file of the device's key, unless it is sealed.
    #[must_use]
    pub fn key_file(state: &Path) -> PathBuf {
        state.join("identity").join(identity::KEY)
    }
}

/// Deletes the content of the state directory: identity, registration, statements and log. The id
/// is deleted first, since a device without it does nothing if this is interrupted. The lock file
/// stays; the caller holds it.
///
/// # Errors
/// If a file cannot be removed; another call removes the rest.
pub(super) fn wipe(state: &Path) -> Result<(), FileError> {
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
        .ok_or_else(|| files::invalid("the file does not hold 64 hexadecimal digits"))
        .doing("use", path)
}
