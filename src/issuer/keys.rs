//! The issuer's keys, one file for each role, and the signed list of them that devices pin.

use std::path::{Path, PathBuf};

use super::random;
use super::terms::IssuerError;
use crate::files::{self, Doing};
use crate::wire::{
    Envelope, Id, Issuers, KeyBytes, Map, Object, PublicKey, Role, RoleKeys, SecretKey, Timestamp,
    sign,
};

const LIMIT: u64 = 1 << 16;
const ISSUERS: &str = "issuers.cwt";

/// The keys of an issuer.
#[derive(Debug)]
pub struct Keys {
    directory: PathBuf,
    issuers: Issuers,
}

impl Keys {
    /// Makes an issuer with one key for each role.
    ///
    /// # Errors
    /// If the directory holds an issuer already, or cannot be written.
    pub fn create(directory: &Path, name: Id, now: Timestamp) -> Result<Self, IssuerError> {
        let path = directory.join(ISSUERS);
        if path.exists() {
            return Err(IssuerError::Rule(format!(
                "{} holds an issuer already; its keys are what devices trust, so it is never \
                 replaced. Choose another directory.",
                directory.display()
            )));
        }
        files::create_private_directory(&directory.join("keys"))?;
        let mut roles = Vec::new();
        let mut root = None;
        for role in Role::ALL {
            let key = SecretKey::from_seed(&random().doing("make a key for", directory)?);
            let file = key_file(directory, role);
            files::replace(&file, key.to_text().as_bytes(), 0o600)?;
            let keys = vec![key.public()];
            roles.push((role, RoleKeys { threshold: 1, keys }));
            if role == Role::Root {
                root = Some(key);
            }
        }
        let issuers = Issuers::new(name, now, 1, Map::new(roles));
        issuers.check()?;
        if let Some(root) = root {
            files::replace(&path, &sign(&issuers, &root), 0o644)?;
        }
        Ok(Self {
            directory: directory.to_owned(),
            issuers,
        })
    }

    /// Opens the keys of an issuer.
    ///
    /// # Errors
    /// If there is none, or it is broken.
    pub fn open(directory: &Path) -> Result<Self, IssuerError> {
        let path = directory.join(ISSUERS);
        if !path.exists() {
            return Err(IssuerError::Rule(format!(
                "{} holds no issuer. Make one with `doorkey issuer init NAME`.",
                directory.display()
            )));
        }
        let bytes = files::read(&path, LIMIT)?;
        let issuers = Envelope::parse(&bytes)?.claims()?;
        Ok(Self {
            directory: directory.to_owned(),
            issuers,
        })
    }

    /// The file that devices pin when they are provisioned.
    #[must_use]
    pub fn issuers_file(&self) -> PathBuf {
        self.directory.join(ISSUERS)
    }

    /// The signed list of keys.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn issuers(&self) -> Result<Vec<u8>, IssuerError> {
        Ok(files::read(&self.issuers_file(), LIMIT)?)
    }

    /// The name of the platform.
    #[must_use]
    pub fn name(&self) -> &Id {
        &self.issuers.iss
    }

    /// The first key of a role.
    #[must_use]
    pub fn public(&self, role: Role) -> Option<KeyBytes> {
        self.issuers.role(role)?.keys.first().copied()
    }

    /// The file of the ledger, unless another was named.
    #[must_use]
    pub fn ledger_file(&self) -> PathBuf {
        self.directory.join("ledger.sqlite")
    }

    /// Signs, after checking what every device will check.
    ///
    /// # Errors
    /// If the key of the role is not here, or no device would take it.
    pub fn sign<T: Object>(&self, role: Role, claims: &T) -> Result<Vec<u8>, IssuerError> {
        let file = key_file(&self.directory, role);
        let key = SecretKey::from_text(&files::read_secret(&file, LIMIT)?)
            .ok_or_else(|| files::invalid("it does not hold a key"))
            .doing("use", &file)?;
        claims.check()?;
        let bytes = sign(claims, &key);
        let envelope = Envelope::parse(&bytes)?;
        envelope.claims::<T>()?;
        envelope.verify(&PublicKey::new(&key.public())?)?;
        Ok(bytes)
    }
}

fn key_file(directory: &Path, role: Role) -> PathBuf {
    directory
        .join("keys")
        .join(role.name())
        .with_extension("key")
}
