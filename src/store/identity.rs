//! Who this device is: its id, its key, whom it trusts, who owns it.

use std::io;
use std::path::Path;

use crate::files::{self, Doing, FileError};
use crate::wire::{Audience, Envelope, Id, Issuers, KeyBytes, Registration, Role, SecretKey};

/// Files of the identity directory, and the largest that is read.
const ID: &str = "device.id";
const KEY: &str = "device.key";
const ISSUERS: &str = "issuers.cwt";
const REGISTRATION: &str = "registration.cwt";
const LIMIT: u64 = 65536;

/// What provisioning pinned, and the registration if one has arrived.
#[derive(Debug)]
pub struct Identity {
    /// The device's id.
    pub device: Id,
    /// The device's key.
    pub key: SecretKey,
    /// The keys of the platform: version 1, or a later one that came by rotation.
    pub issuers: Issuers,
    /// The registration as received.
    pub registration: Option<Vec<u8>>,
}

impl Identity {
    /// Pins an identity in a state directory that has none.
    ///
    /// # Errors
    /// If there is one already, or the files cannot be written.
    pub fn create(
        directory: &Path,
        device: &Id,
        key: &SecretKey,
        issuers: &[u8],
    ) -> Result<(), FileError> {
        let identity = directory.join("identity");
        parse_issuers(issuers).doing("take the issuers from", Path::new("the given file"))?;
        if identity.join(ID).exists() {
            return Err(FileError {
                doing: format!("provision {}", directory.display()),
                source: io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "it holds an identity already; a device is provisioned once",
                ),
            });
        }
        files::create_private_directory(&identity)?;
        files::replace(&identity.join(KEY), key.to_text().as_bytes(), 0o600)?;
        files::replace(&identity.join(ISSUERS), issuers, 0o600)?;
        // The id comes last: with it the identity is complete.
        files::replace(&identity.join(ID), device.as_str().as_bytes(), 0o600)?;
        files::sync_parent(&identity).doing("sync", directory)
    }

    /// Reads the identity of a provisioned device.
    ///
    /// # Errors
    /// If it is missing or broken; the device cannot run without it.
    pub fn load(directory: &Path) -> Result<Self, FileError> {
        let identity = directory.join("identity");
        let id = files::read(&identity.join(ID), LIMIT)?;
        let device = std::str::from_utf8(&id)
            .map_err(|_| "not text")
            .and_then(|text| Id::new(text.trim()))
            .map_err(files::invalid)
            .doing("use", &identity.join(ID))?;
        let key = SecretKey::from_text(&files::read(&identity.join(KEY), LIMIT)?)
            .ok_or_else(|| files::invalid("it does not hold 64 hexadecimal digits"))
            .doing("use", &identity.join(KEY))?;
        let issuers = parse_issuers(&files::read(&identity.join(ISSUERS), LIMIT)?)
            .doing("use", &identity.join(ISSUERS))?;
        let registration = match files::read(&identity.join(REGISTRATION), LIMIT) {
            // An empty one is left where the owner has deleted the device.
            Ok(bytes) => Some(bytes).filter(|bytes| !bytes.is_empty()),
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let identity = Self {
            device,
            key,
            issuers,
            registration,
        };
        identity.agrees_with_registration(directory)?;
        Ok(identity)
    }

    /// A registration that the issuer has signed for another device or key shows that one of
    /// the other files was changed.
    fn agrees_with_registration(&self, directory: &Path) -> Result<(), FileError> {
        let Some((device, key)) = self.registered_as() else {
            return Ok(());
        };
        let wrong = if device != Audience::Device(self.device.clone()) {
            Some((ID, "the registration is for another device"))
        } else if key != self.key.public() {
            Some((KEY, "the registration is for another key"))
        } else {
            None
        };
        match wrong {
            None => Ok(()),
            Some((file, why)) => {
                Err(files::invalid(why)).doing("use", &directory.join("identity").join(file))
            }
        }
    }

    fn registered_as(&self) -> Option<(Audience, KeyBytes)> {
        let bundle = crate::wire::Bundle::parse(self.registration.as_ref()?).ok()?;
        let envelopes: Vec<_> = bundle
            .statements
            .into_iter()
            .collect::<Result<_, _>>()
            .ok()?;
        self.issuers.verify(Role::Registry, &envelopes).ok()?;
        let registration: Registration = envelopes.first()?.claims().ok()?;
        Some((registration.aud, registration.body.device))
    }

    pub(super) fn replace_issuers(directory: &Path, bytes: &[u8]) -> Result<(), FileError> {
        files::replace(&directory.join("identity").join(ISSUERS), bytes, 0o600)
    }

    pub(super) fn replace_registration(directory: &Path, bytes: &[u8]) -> Result<(), FileError> {
        files::replace(&directory.join("identity").join(REGISTRATION), bytes, 0o600)
    }
}

/// Reads `issuers`: a CBOR sequence of envelopes with the same payload, signed by
/// a threshold of its own root keys.
fn parse_issuers(bytes: &[u8]) -> io::Result<Issuers> {
    let bundle = crate::wire::Bundle::parse(bytes).map_err(files::invalid)?;
    let envelopes: Vec<Envelope<'_>> = bundle
        .statements
        .into_iter()
        .collect::<Result<_, _>>()
        .map_err(files::invalid)?;
    let first = envelopes
        .first()
        .ok_or(crate::wire::WireError::WrongType)
        .map_err(files::invalid)?;
    let issuers: Issuers = first.claims().map_err(files::invalid)?;
    issuers
        .verify(Role::Root, &envelopes)
        .map_err(files::invalid)?;
    Ok(issuers)
}
