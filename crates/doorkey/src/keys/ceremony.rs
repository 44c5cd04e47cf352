//! Key ceremony: changing the issuer's keys with several custodians. A draft of the next keys is
//! passed around, each custodian of a root key signs it, and with enough signatures it is adopted.
//!
//! A draft file is a CBOR sequence (RFC 8742): the claims of the next `issuers`, followed by one
//! envelope with these claims for each signature.

use crate::IssuerError;
use crate::keys::Keys;
use doorward_protocol::wire::{
    Envelope, Id, Issuers, Map, Object, Role, RoleKeys, SecretKey, Timestamp, decode_exact, items,
    sign, to_bytes,
};
use doorward_transport::files;
use doorward_transport::files::Doing;

/// The next key list, with the signatures so far.
#[derive(Debug)]
pub struct Draft {
    /// The next key list.
    pub issuers: Issuers,
    /// The signatures: envelopes with the same claims.
    signed: Vec<Vec<u8>>,
}

impl Draft {
    /// Parses a draft file.
    ///
    /// # Errors
    /// If it is not a draft.
    pub fn parse(bytes: &[u8]) -> Result<Self, IssuerError> {
        let invalid = || IssuerError::Rule("The file is not a draft of an issuer's keys.".into());
        let mut parts = items(bytes)?.into_iter();
        let issuers: Issuers = decode_exact(parts.next().ok_or_else(invalid)?)?;
        issuers.check()?;
        let mut draft = Self {
            issuers,
            signed: Vec::new(),
        };
        for part in parts {
            let claims: Issuers = Envelope::parse(part)?.claims()?;
            if claims != draft.issuers {
                return Err(invalid());
            }
            draft.signed.push(part.to_vec());
        }
        Ok(draft)
    }

    /// The content of the draft file.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        [to_bytes(&self.issuers), self.signed.concat()].concat()
    }

    /// Adds a signature, unless this key has signed already.
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

    /// The number of signatures.
    #[must_use]
    pub fn signatures(&self) -> usize {
        self.signed.len()
    }
}

impl Keys {
    /// Makes a draft of the next keys: `changes`, and the present keys of all other roles.
    ///
    /// # Errors
    /// If the resulting key list would be invalid.
    pub fn draft(
        &self,
        changes: &[(Role, RoleKeys)],
        now: Timestamp,
    ) -> Result<Draft, IssuerError> {
        let present = self.list();
        let mut roles = Vec::new();
        for role in Role::ALL {
            let change = changes.iter().find(|(changed, _)| *changed == role);
            let keys = change.map(|(_, keys)| keys).or(present.role(role));
            let missing = || IssuerError::Rule("A role has no keys.".into());
            roles.push((role, keys.ok_or_else(missing)?.clone()));
        }
        let name: Id = present.iss.clone();
        let version = present.body.version + 1;
        let issuers = Issuers::new(name, now.max(present.iat), version, Map::new(roles));
        issuers.check()?;
        Ok(Draft {
            issuers,
            signed: Vec::new(),
        })
    }

    /// Adopts a draft as the issuer's keys, if enough root keys of the present and of the next list
    /// have signed it. Returns the roles whose keys it changes.
    ///
    /// # Errors
    /// If signatures are missing, or a file cannot be written.
    pub fn adopt(&mut self, draft: &Draft) -> Result<Vec<Role>, IssuerError> {
        let next = &draft.issuers;
        if next.iss != *self.name() || next.body.version != self.list().body.version + 1 {
            return Err(IssuerError::Rule(
                "The draft is not the successor of the present keys. Make a new draft.".into(),
            ));
        }
        let mut envelopes = Vec::new();
        for signed in &draft.signed {
            envelopes.push(Envelope::parse(signed)?);
        }
        // Keeps only the signatures that count: devices limit the number of envelopes.
        let mut required: Vec<Envelope<'_>> = Vec::new();
        for list in [self.list(), next] {
            if let Ok(verified) = list.verify(Role::Root, &envelopes) {
                let new = |e: &Envelope<'_>| required.iter().all(|other| other.signer != e.signer);
                let more: Vec<_> = verified.into_iter().filter(new).collect();
                required.extend(more);
            } else {
                let keys = list.role(Role::Root);
                let needed = keys.map_or(0, |keys| usize::from(keys.threshold));
                return Err(IssuerError::Rule(format!(
                    "Signatures are missing: {needed} of {} root keys of version {} must sign. \
                     Ask more custodians to run `doorkey issuer cosign`.",
                    keys.map_or(0, |keys| keys.keys.len()),
                    list.body.version
                )));
            }
        }
        let changed = Role::ALL.into_iter();
        let changed: Vec<Role> = changed
            .filter(|role| next.role(*role) != self.list().role(*role))
            .collect();
        let bytes: Vec<u8> = required.iter().flat_map(Envelope::bytes).copied().collect();
        self.replace(next.clone(), &bytes)?;
        for role in &changed {
            // A pending key that the adopted list contains becomes the key of its role.
            let (pending, file) = (self.pending_key_file(*role), self.key_file(*role));
            if pending.exists() {
                let key = SecretKey::from_text(&files::read_secret(&pending, 4096)?);
                let entry = next.role(*role).zip(key);
                if entry.is_some_and(|(keys, key)| keys.keys.contains(&key.public())) {
                    std::fs::rename(&pending, &file).doing("use", &pending)?;
                }
            }
            let sealed = self.pending_sealed_root_file();
            if *role == Role::Root && sealed.exists() {
                std::fs::rename(&sealed, file.with_extension("sealed")).doing("use", &sealed)?;
            }
        }
        Ok(changed)
    }

    /// Generates a key for a role, which becomes active when a draft that contains it is adopted.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn new_key(&self, role: Role) -> Result<RoleKeys, IssuerError> {
        let file = self.pending_key_file(role);
        let (key, keys) = self.generate_key()?;
        files::replace(&file, key.to_text().as_bytes(), 0o600)?;
        Ok(keys)
    }
}
