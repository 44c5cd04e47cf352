//! The issuer's keys, one file for each role, and the signed list of them that devices pin.

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
        // Of a list that two keys have signed the first signature is enough here.
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

    /// The lists of keys from the second version on, oldest first, each with its signatures: what
    /// a device that was away needs, one after the other. The newest of them in as many envelopes
    /// as there may be.
    ///
    /// # Errors
    /// If one of them cannot be read.
    pub fn chain(&self, envelopes: usize) -> Result<Vec<Vec<u8>>, IssuerError> {
        let newest = self.issuers.body.version;
        let (mut chain, mut count) = (Vec::new(), 0);
        for version in (2..=newest).rev() {
            let bytes = match version == newest {
                true => self.issuers()?,
                false => files::read(&self.version(version), LIMIT)?,
            };
            count += doorward_protocol::wire::items(&bytes)?.len();
            if count > envelopes {
                break;
            }
            chain.insert(0, bytes);
        }
        Ok(chain)
    }

    fn version(&self, version: u32) -> PathBuf {
        self.directory.join(format!("issuers-{version}.cwt"))
    }

    /// Locks the root key behind a passphrase.
    ///
    /// # Errors
    /// If it is locked already, or a file cannot be used.
    pub fn seal(&self, passphrase: &[u8]) -> Result<PathBuf, IssuerError> {
        let open = key_file(&self.directory, Role::Root);
        let key = files::read_secret(&open, LIMIT)?;
        let sealed = open.with_extension("sealed");
        let bytes = encrypted_key::seal(&key, passphrase).doing("seal", &open)?;
        files::replace(&sealed, &bytes, 0o600)?;
        // Only what can be opened again may replace it.
        let back = encrypted_key::open(&files::read(&sealed, LIMIT)?, passphrase);
        if back.as_deref() != Some(&key[..]) {
            return Err(files::invalid("it does not open again")).doing("seal", &open)?;
        }
        std::fs::remove_file(&open).doing("remove", &open)?;
        Ok(sealed)
    }

    fn root(&self, passphrase: Option<&[u8]>) -> Result<SecretKey, IssuerError> {
        let open = key_file(&self.directory, Role::Root);
        let sealed = open.with_extension("sealed");
        let text = match (open.exists(), passphrase) {
            (true, _) => files::read_secret(&open, LIMIT)?,
            (false, None) => {
                return Err(IssuerError::Rule(
                    "The root key is sealed or not here. Bring keys/root.sealed and give \
                     --passphrase-file."
                        .into(),
                ));
            }
            (false, Some(passphrase)) => {
                let bytes = files::read(&sealed, LIMIT)?;
                encrypted_key::open(&bytes, passphrase).ok_or_else(|| {
                    IssuerError::Rule("That is not the passphrase of the root key.".into())
                })?
            }
        };
        Ok(SecretKey::from_text(&text)
            .ok_or_else(|| files::invalid("it does not hold a key"))
            .doing("use", &open)?)
    }

    /// Gives roles new keys: the next version of the list, signed by the root keys of this one
    /// and of the next. The keys of before are gone when this returns.
    ///
    /// # Errors
    /// If the root key cannot be used, or a file cannot be written.
    pub fn rotate(
        &mut self,
        roles: &[Role],
        passphrase: Option<&[u8]>,
        now: Timestamp,
    ) -> Result<(), IssuerError> {
        let root = self.root(passphrase)?;
        let mut changes = Vec::new();
        let mut signers = vec![root];
        for role in roles {
            let (key, keys) = self.fresh_key()?;
            let text = key.to_text();
            let waiting = self.waiting_key(*role);
            match (role, passphrase) {
                // What was sealed is never on the disk in plain.
                (Role::Root, Some(passphrase)) => {
                    let sealed =
                        encrypted_key::seal(text.as_bytes(), passphrase).doing("seal", &waiting)?;
                    files::replace(&self.waiting_sealed(), &sealed, 0o600)?;
                }
                _ => files::replace(&waiting, text.as_bytes(), 0o600)?,
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

    /// A new key, as the only one of its role.
    pub(crate) fn fresh_key(&self) -> Result<(SecretKey, RoleKeys), IssuerError> {
        let seed = random().doing("make a key for", &self.directory)?;
        let key = SecretKey::from_seed(&seed);
        let keys = RoleKeys {
            threshold: 1,
            keys: vec![key.public()],
        };
        Ok((key, keys))
    }

    /// The list of keys as it is.
    pub(crate) fn list(&self) -> &Issuers {
        &self.issuers
    }

    /// Puts the next list in place of this one, which is kept for devices that were away.
    pub(crate) fn replace(&mut self, next: Issuers, bytes: &[u8]) -> Result<(), IssuerError> {
        let before = self.version(self.issuers.body.version);
        files::replace(&before, &self.issuers()?, 0o644)?;
        files::replace(&self.issuers_file(), bytes, 0o644)?;
        self.issuers = next;
        Ok(())
    }

    pub(crate) fn key_file(&self, role: Role) -> PathBuf {
        key_file(&self.directory, role)
    }

    /// Where a key waits until a draft that names it is adopted.
    pub(crate) fn waiting_key(&self, role: Role) -> PathBuf {
        self.key_file(role).with_extension("next")
    }

    /// The same for a root key behind a passphrase.
    pub(crate) fn waiting_sealed(&self) -> PathBuf {
        self.key_file(Role::Root).with_extension("sealed-next")
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
