//! Changing the issuer's keys where no single person can: a draft travels, each custodian of the
//! root signs it, and with enough signatures it is adopted.
//!
//! The file of a draft is a CBOR sequence (RFC 8742): the claims of the next `issuers`, and behind
//! them the envelopes that hold them, one for each signature.

use crate::IssuerError;
use crate::keys::Keys;
use doorward_protocol::wire::{
    Envelope, Id, Issuers, Map, Object, Role, RoleKeys, SecretKey, Timestamp, decode_exact, items,
    sign, to_bytes,
};
use doorward_transport::files;
use doorward_transport::files::Doing;

/// The next keys, and who has signed them so far.
#[derive(Debug)]
pub struct Draft {
    /// The list as it will be.
    pub issuers: Issuers,
    /// The signatures: envelopes of the same claims.
    signed: Vec<Vec<u8>>,
}

impl Draft {
    /// Reads a draft.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, IssuerError> {
        let strange = || IssuerError::Rule("That file is no draft of an issuer's keys.".into());
        let mut parts = items(bytes)?.into_iter();
        let issuers: Issuers = decode_exact(parts.next().ok_or_else(strange)?)?;
        issuers.check()?;
        let mut draft = Self {
            issuers,
            signed: Vec::new(),
        };
        for part in parts {
            let same: Issuers = Envelope::parse(part)?.claims()?;
            if same != draft.issuers {
                return Err(strange());
            }
            draft.signed.push(part.to_vec());
        }
        Ok(draft)
    }

    /// The file of it.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        [to_bytes(&self.issuers), self.signed.concat()].concat()
    }

    /// Adds a signature; a second one of the same key changes nothing.
    ///
    /// # Errors
    /// If an earlier signature cannot be read.
    pub fn sign(&mut self, key: &SecretKey) -> Result<(), IssuerError> {
        for signed in &self.signed {
            if Envelope::parse(signed)?.signer == key.public() {
                return Ok(());
            }
        }
        self.signed.push(sign(&self.issuers, key));
        Ok(())
    }

    /// How many have signed.
    #[must_use]
    pub fn signatures(&self) -> usize {
        self.signed.len()
    }
}

impl Keys {
    /// A draft of the next keys: what is not named stays.
    ///
    /// # Errors
    /// If it would make no sense.
    pub fn draft(
        &self,
        changes: &[(Role, RoleKeys)],
        now: Timestamp,
    ) -> Result<Draft, IssuerError> {
        let before = self.list();
        let mut roles = Vec::new();
        for role in Role::ALL {
            let change = changes.iter().find(|(changed, _)| *changed == role);
            let keys = change.map(|(_, keys)| keys).or(before.role(role));
            let missing = || IssuerError::Rule("A role has no keys.".into());
            roles.push((role, keys.ok_or_else(missing)?.clone()));
        }
        let name: Id = before.iss.clone();
        let version = before.body.version + 1;
        let issuers = Issuers::new(name, now.max(before.iat), version, Map::new(roles));
        issuers.check()?;
        Ok(Draft {
            issuers,
            signed: Vec::new(),
        })
    }

    /// Makes a draft the issuer's keys, if enough root keys of now and of then have signed it.
    /// The roles whose keys it changes.
    ///
    /// # Errors
    /// If signatures are missing, or a file cannot be written.
    pub fn adopt(&mut self, draft: &Draft) -> Result<Vec<Role>, IssuerError> {
        let next = &draft.issuers;
        if next.iss != *self.name() || next.body.version != self.list().body.version + 1 {
            return Err(IssuerError::Rule(
                "This draft does not follow the keys that are here. Make a new one.".into(),
            ));
        }
        let mut envelopes = Vec::new();
        for signed in &draft.signed {
            envelopes.push(Envelope::parse(signed)?);
        }
        // Only what counts is kept: devices take so many envelopes at once and no more.
        let mut counting: Vec<Envelope<'_>> = Vec::new();
        for list in [self.list(), next] {
            if let Ok(verified) = list.verify(Role::Root, &envelopes) {
                let new = |e: &Envelope<'_>| counting.iter().all(|other| other.signer != e.signer);
                let more: Vec<_> = verified.into_iter().filter(new).collect();
                counting.extend(more);
            } else {
                let keys = list.role(Role::Root);
                let needed = keys.map_or(0, |keys| usize::from(keys.threshold));
                return Err(IssuerError::Rule(format!(
                    "Signatures are missing: {needed} of {} root keys of version {} have to sign. \
                     Have more of them run `doorkey issuer cosign`.",
                    keys.map_or(0, |keys| keys.keys.len()),
                    list.body.version
                )));
            }
        }
        let changed = Role::ALL.into_iter();
        let changed: Vec<Role> = changed
            .filter(|role| next.role(*role) != self.list().role(*role))
            .collect();
        let bytes: Vec<u8> = counting.iter().flat_map(Envelope::bytes).copied().collect();
        self.replace(next.clone(), &bytes)?;
        for role in &changed {
            // A new key that waits here, and that the list names, is that of its role from now on.
            let (waiting, file) = (self.waiting_key(*role), self.key_file(*role));
            if waiting.exists() {
                let key = SecretKey::from_text(&files::read_secret(&waiting, 4096)?);
                let named = next.role(*role).zip(key);
                if named.is_some_and(|(keys, key)| keys.keys.contains(&key.public())) {
                    std::fs::rename(&waiting, &file).doing("use", &waiting)?;
                }
            }
            let sealed = self.waiting_sealed();
            if *role == Role::Root && sealed.exists() {
                std::fs::rename(&sealed, file.with_extension("sealed")).doing("use", &sealed)?;
            }
        }
        Ok(changed)
    }

    /// Makes a key for a role, to be used when a draft that names it is adopted.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn new_key(&self, role: Role) -> Result<RoleKeys, IssuerError> {
        let file = self.waiting_key(role);
        let (key, keys) = self.fresh_key()?;
        files::replace(&file, key.to_text().as_bytes(), 0o600)?;
        Ok(keys)
    }
}
