//! The device's identity: its id, its key, the issuers that it trusts, and its registration.

use std::io;
use std::path::{Path, PathBuf};

use doorward_protocol::wire::{
    Audience, Envelope, Id, Issuers, KeyBytes, Registration, Role, SecretKey,
};
use doorward_transport::files;
use doorward_transport::files::{Doing, FileError};

/// Files of the identity directory, and the size limit for reading them.
pub(super) const ID: &str = "device.id";
pub(super) const KEY: &str = "device.key";
pub(super) const PUBLIC: &str = "device.pub";
pub(super) const ISSUERS: &str = "issuers.cwt";
pub(super) const PINNED: &str = "issuers.sha256";
pub(super) const CLAIM: &str = "claim.secret";
pub(super) const REGISTRATION: &str = "registration.cwt";
pub(super) const LIMIT: u64 = 65536;

/// The name of the device's sealed key among the credentials of the systemd unit.
pub const CREDENTIAL: &str = "doorward.key";

/// The provisioned identity, and the registration if one has arrived.
#[derive(Debug)]
pub struct Identity {
    /// The device's id.
    pub device: Id,
    /// The device's key.
    pub key: SecretKey,
    /// The keys of the issuer: version 1, or a later one installed by rotation.
    pub issuers: Issuers,
    /// The registration as received.
    pub registration: Option<Vec<u8>>,
}

impl Identity {
    /// Creates the identity in a state directory that has none. `claim` is the one-time secret with
    /// which the device is registered to its owner.
    ///
    /// # Errors
    /// If there is an identity already, or the files cannot be written.
    pub fn create(
        directory: &Path,
        device: &Id,
        key: &SecretKey,
        issuers: &[u8],
        claim: &str,
    ) -> Result<(), FileError> {
        let identity = directory.join("identity");
        issuers_in(issuers).doing("use the issuers in", Path::new("the given file"))?;
        if identity.join(ID).exists() {
            return Err(FileError {
                doing: format!("provision {}", directory.display()),
                source: io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "the directory holds an identity already; a device is provisioned once",
                ),
            });
        }
        files::create_private_directory(&identity)?;
        let write = |name: &str, bytes: &[u8]| files::replace(&identity.join(name), bytes, 0o600);
        write(KEY, key.to_text().as_bytes())?;
        write(PUBLIC, key.public().hex().as_bytes())?;
        write(ISSUERS, issuers)?;
        write(
            PINNED,
            doorward_protocol::wire::hash(issuers).hex().as_bytes(),
        )?;
        write(CLAIM, claim.as_bytes())?;
        // The id comes last: it marks the identity as complete.
        write(ID, device.as_str().as_bytes())?;
        files::sync_parent(&identity).doing("sync", directory)
    }

    /// Reads the identity of a provisioned device.
    ///
    /// # Errors
    /// If it is missing or damaged; the device cannot run without it.
    pub fn load(directory: &Path) -> Result<Self, FileError> {
        let identity = directory.join("identity");
        let device = read_id(&identity)?;
        let file = key_file(&identity);
        let key = SecretKey::from_text(&files::read(&file, LIMIT)?)
            .ok_or_else(|| files::invalid("the file does not hold 64 hexadecimal digits"))
            .doing("use", &file)?;
        let issuers = issuers_in(&files::read(&identity.join(ISSUERS), LIMIT)?)
            .doing("use", &identity.join(ISSUERS))?;
        // The file is empty after the owner has deleted the device.
        let registration = files::read_if_there(&identity.join(REGISTRATION), LIMIT)?
            .filter(|bytes| !bytes.is_empty());
        let identity = Self {
            device,
            key,
            issuers,
            registration,
        };
        identity.agrees_with_registration(directory)?;
        Ok(identity)
    }

    /// Checks the identity against the registration. A registration signed for another device or
    /// key shows that one of the other files was changed.
    fn agrees_with_registration(&self, directory: &Path) -> Result<(), FileError> {
        let Some((device, key)) = self.registered_as() else {
            return Ok(());
        };
        let mismatch = if device != Audience::Device(self.device.clone()) {
            Some((ID, "the registration is for another device"))
        } else if key != self.key.public() {
            Some((KEY, "the registration is for another key"))
        } else {
            None
        };
        match mismatch {
            None => Ok(()),
            Some((file, why)) => {
                Err(files::invalid(why)).doing("use", &directory.join("identity").join(file))
            }
        }
    }

    fn registered_as(&self) -> Option<(Audience, KeyBytes)> {
        let bundle = doorward_protocol::wire::Bundle::parse(self.registration.as_ref()?).ok()?;
        let envelopes: Vec<_> = bundle
            .statements
            .into_iter()
            .collect::<Result<_, _>>()
            .ok()?;
        self.issuers.verify(Role::Registry, &envelopes).ok()?;
        let registration: Registration = envelopes.first()?.claims().ok()?;
        Some((registration.aud, registration.body.device))
    }

    /// Replaces the claim secret of a device that has lost its owner.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn replace_claim(directory: &Path, claim: &str) -> Result<(), FileError> {
        files::replace(
            &directory.join("identity").join(CLAIM),
            claim.as_bytes(),
            0o600,
        )
    }

    pub(super) fn replace_issuers(directory: &Path, bytes: &[u8]) -> Result<(), FileError> {
        files::replace(&directory.join("identity").join(ISSUERS), bytes, 0o600)
    }

    pub(super) fn replace_registration(directory: &Path, bytes: &[u8]) -> Result<(), FileError> {
        let identity = directory.join("identity");
        files::replace(&identity.join(REGISTRATION), bytes, 0o600)?;
        // A registered device needs no claim secret any more.
        files::remove(&identity.join(CLAIM))
    }
}

/// The file of the device's key: in the state directory, or unsealed by systemd for the daemon
/// (systemd.exec(5), CREDENTIALS).
fn key_file(identity: &Path) -> PathBuf {
    let file = identity.join(KEY);
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    match credentials.map(|directory| directory.join(CREDENTIAL)) {
        Some(unsealed) if !file.exists() && unsealed.exists() => unsealed,
        _ => file,
    }
}

pub(super) fn read_id(identity: &Path) -> Result<Id, FileError> {
    let file = identity.join(ID);
    let id = files::read(&file, LIMIT)?;
    std::str::from_utf8(&id)
        .map_err(|_| "the file is not UTF-8 text")
        .and_then(|text| Id::new(text.trim()))
        .map_err(files::invalid)
        .doing("use", &file)
}

/// Parses `issuers.cwt`: a CBOR sequence of envelopes with the same payload, signed by
/// a threshold of its own root keys.
///
/// # Errors
/// If it is malformed or not signed by enough root keys.
pub fn issuers_in(bytes: &[u8]) -> io::Result<Issuers> {
    let bundle = doorward_protocol::wire::Bundle::parse(bytes).map_err(files::invalid)?;
    let envelopes: Vec<Envelope<'_>> = bundle
        .statements
        .into_iter()
        .collect::<Result<_, _>>()
        .map_err(files::invalid)?;
    let first = envelopes
        .first()
        .ok_or(doorward_protocol::wire::WireError::WrongType)
        .map_err(files::invalid)?;
    let issuers: Issuers = first.claims().map_err(files::invalid)?;
    issuers
        .verify(Role::Root, &envelopes)
        .map_err(files::invalid)?;
    Ok(issuers)
}
