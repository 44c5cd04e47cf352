//! The issuer's keys, one file for each role, and the signed key list (issuer file) that devices
//! pin.

mod ceremony;
mod encrypted_key;

pub use ceremony::Draft;

use std::path::{Path, PathBuf};

use crate::IssuerError;
use doorward_protocol::wire::{
    Envelope, Id, Issuers, KeyBytes, Map, Object, PublicKey, Role, RoleKeys, SecretKey, Timestamp,
    sign,
};
use doorward_transport::files;
use doorward_transport::files::Doing;
use doorward_transport::random;

/// Maximum size of a key file or key list, in bytes.
const MAX_FILE: u64 = 1 << 16;
/// Name of the issuer file.
const ISSUER_FILE: &str = "issuers.cwt";

/// The keys of an issuer.
#[derive(Debug)]
pub struct Keys {
    directory: PathBuf,
    issuers: Issuers,
}

impl Keys {
    /// Creates an issuer with one key for each role.
    ///
    /// # Errors
    /// If the directory already contains an issuer, or cannot be written.
    pub fn create(directory: &Path, name: Id, now: Timestamp) -> Result<Self, IssuerError> {
        let path = directory.join(ISSUER_FILE);
        if path.exists() {
            return Err(IssuerError::Rule(format!(
                "{} already contains an issuer. Devices trust its keys, so it is not replaced. \
                 Choose another directory.",
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
    /// If the directory contains none, or its files are damaged.
    pub fn open(directory: &Path) -> Result<Self, IssuerError> {
        let path = directory.join(ISSUER_FILE);
        if !path.exists() {
            return Err(IssuerError::Rule(format!(
                "{} contains no issuer. Create one with `doorkey issuer init NAME`.",
                directory.display()
            )));
        }
        let bytes = files::read(&path, MAX_FILE)?;
        // A list signed by several keys is a sequence of envelopes with the same claims.
        let first = doorward_protocol::wire::items(&bytes)?
            .into_iter()
            .next()
            .unwrap_or_default();
        let issuers = Envelope::parse(first)?.claims()?;
        Ok(Self {
            directory: directory.to_owned(),
            issuers,
        })
    }

    /// The issuer file, which devices pin when they are provisioned.
    #[must_use]
    pub fn issuers_file(&self) -> PathBuf {
        self.directory.join(ISSUER_FILE)
    }

    /// Reads the signed key list.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn issuers(&self) -> Result<Vec<u8>, IssuerError> {
        Ok(files::read(&self.issuers_file(), MAX_FILE)?)
    }

    /// The signed key lists from version 2 on, oldest first: a device that was offline installs
    /// them one after the other. Contains the newest lists that together have at most `envelopes`
    /// envelopes.
    ///
    /// # Errors
    /// If one of them cannot be read.
    pub fn chain(&self, envelopes: usize) -> Result<Vec<Vec<u8>>, IssuerError> {
        let newest = self.issuers.body.version;
        let (mut chain, mut count) = (Vec::new(), 0);
        for version in (2..=newest).rev() {
            let bytes = match version == newest {
                true => self.issuers()?,
                false => files::read(&self.version_file(version), MAX_FILE)?,
            };
            count += doorward_protocol::wire::items(&bytes)?.len();
            if count > envelopes {
                break;
            }
            chain.insert(0, bytes);
        }
        Ok(chain)
    }

    /// The file of an earlier version of the key list.
    fn version_file(&self, version: u32) -> PathBuf {
        self.directory.join(format!("issuers-{version}.cwt"))
    }

    /// Encrypts the root key with a passphrase and deletes the clear text. Returns the new file.
    ///
    /// # Errors
    /// If it is encrypted already, or a file cannot be used.
    pub fn seal(&self, passphrase: &[u8]) -> Result<PathBuf, IssuerError> {
        let plain = key_file(&self.directory, Role::Root);
        let key = files::read_secret(&plain, MAX_FILE)?;
        let sealed = plain.with_extension("sealed");
        let bytes = encrypted_key::encrypt(&key, passphrase).doing("encrypt", &plain)?;
        files::replace(&sealed, &bytes, 0o600)?;
        // The clear text is deleted only after a successful decryption.
        let decrypted = encrypted_key::decrypt(&files::read(&sealed, MAX_FILE)?, passphrase);
        if decrypted.as_deref() != Some(&key[..]) {
            return Err(files::invalid("the new file cannot be decrypted"))
                .doing("encrypt", &plain)?;
        }
        std::fs::remove_file(&plain).doing("remove", &plain)?;
        Ok(sealed)
    }

    /// Reads the root key, and decrypts it if necessary.
    fn load_root_key(&self, passphrase: Option<&[u8]>) -> Result<SecretKey, IssuerError> {
        let plain = key_file(&self.directory, Role::Root);
        let sealed = plain.with_extension("sealed");
        let text = match (plain.exists(), passphrase) {
            (true, _) => files::read_secret(&plain, MAX_FILE)?,
            (false, None) => {
                return Err(IssuerError::Rule(
                    "The root key is encrypted or missing. Copy root.sealed into the directory `keys` \
                     of the issuer, and give --passphrase-file."
                        .into(),
                ));
            }
            (false, Some(passphrase)) => {
                let bytes = files::read(&sealed, MAX_FILE)?;
                encrypted_key::decrypt(&bytes, passphrase).ok_or_else(|| {
                    IssuerError::Rule("The passphrase of the root key is wrong.".into())
                })?
            }
        };
        Ok(SecretKey::from_text(&text)
            .ok_or_else(|| files::invalid("it does not contain a key"))
            .doing("use", &plain)?)
    }

    /// Replaces the keys of roles: writes the next version of the key list, signed by the root keys
    /// of this version and of the next. The previous keys are deleted.
    ///
    /// # Errors
    /// If the root key cannot be used, or a file cannot be written.
    pub fn rotate(
        &mut self,
        roles: &[Role],
        passphrase: Option<&[u8]>,
        now: Timestamp,
    ) -> Result<(), IssuerError> {
        let root = self.load_root_key(passphrase)?;
        let mut changes = Vec::new();
        let mut signers = vec![root];
        for role in roles {
            let (key, keys) = self.generate_key()?;
            let text = key.to_text();
            let pending = self.pending_key_file(*role);
            match (role, passphrase) {
                // An encrypted root key is never written to the disk in clear text.
                (Role::Root, Some(passphrase)) => {
                    let sealed = encrypted_key::encrypt(text.as_bytes(), passphrase)
                        .doing("encrypt", &pending)?;
                    files::replace(&self.pending_sealed_root_file(), &sealed, 0o600)?;
                }
                _ => files::replace(&pending, text.as_bytes(), 0o600)?,
            }
            changes.push((*role, keys));
            if *role == Role::Root {
                signers.push(key);
            }
        }
        let mut draft = self.draft(&changes, now)?;
        for key in &signers {
            draft.sign(key)?;
        }
        self.adopt(&draft)?;
        Ok(())
    }

    /// Generates a key, and the entry of a role that has only this key.
    pub(crate) fn generate_key(&self) -> Result<(SecretKey, RoleKeys), IssuerError> {
        let seed = random().doing("make a key for", &self.directory)?;
        let key = SecretKey::from_seed(&seed);
        let keys = RoleKeys {
            threshold: 1,
            keys: vec![key.public()],
        };
        Ok((key, keys))
    }

    /// The present key list.
    pub(crate) fn list(&self) -> &Issuers {
        &self.issuers
    }

    /// Replaces the key list by the next version. The present one is kept for devices that were
    /// offline.
    pub(crate) fn replace(&mut self, next: Issuers, bytes: &[u8]) -> Result<(), IssuerError> {
        let previous = self.version_file(self.issuers.body.version);
        files::replace(&previous, &self.issuers()?, 0o644)?;
        files::replace(&self.issuers_file(), bytes, 0o644)?;
        self.issuers = next;
        Ok(())
    }

    /// The file of a role's key.
    pub(crate) fn key_file(&self, role: Role) -> PathBuf {
        key_file(&self.directory, role)
    }

    /// The file of a role's next key, until a draft that contains it is adopted.
    pub(crate) fn pending_key_file(&self, role: Role) -> PathBuf {
        self.key_file(role).with_extension("next")
    }

    /// The file of the next root key if it is encrypted with a passphrase.
    pub(crate) fn pending_sealed_root_file(&self) -> PathBuf {
        self.key_file(Role::Root).with_extension("sealed-next")
    }

    /// The name of the platform.
    #[must_use]
    pub fn name(&self) -> &Id {
        &self.issuers.iss
    }

    /// The first public key of a role.
    #[must_use]
    pub fn public(&self, role: Role) -> Option<KeyBytes> {
        self.issuers.role(role)?.keys.first().copied()
    }

    /// The database file that is used unless another database is given.
    #[must_use]
    pub fn ledger_file(&self) -> PathBuf {
        self.directory.join("ledger.sqlite")
    }

    /// Signs a statement, after the checks that every device makes.
    ///
    /// # Errors
    /// If the key of the role is missing, or devices would refuse the statement.
    pub fn sign<T: Object>(&self, role: Role, claims: &T) -> Result<Vec<u8>, IssuerError> {
        let file = key_file(&self.directory, role);
        let key = SecretKey::from_text(&files::read_secret(&file, MAX_FILE)?)
            .ok_or_else(|| files::invalid("it does not contain a key"))
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
