//! `issuers`: the keys of each role of one platform.

use alloc::vec::Vec;

use minicbor::{Decode, Encode};

use crate::wire::envelope::FORMAT;
use crate::wire::{Envelope, Id, KeyBytes, Kind, Map, Object, PublicKey, Timestamp, WireError};

/// The role of an issuer key: the kind of statement that it may sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum Role {
    /// `issuers`.
    #[n(0)]
    Root,
    /// `registration`.
    #[n(1)]
    Registry,
    /// `share`.
    #[n(2)]
    Shares,
    /// `revocations`.
    #[n(3)]
    Revocations,
    /// `release`.
    #[n(4)]
    Firmware,
}

impl Role {
    /// Every role, in the order of its number.
    pub const ALL: [Self; 5] = [
        Self::Root,
        Self::Registry,
        Self::Shares,
        Self::Revocations,
        Self::Firmware,
    ];

    /// The role whose keys sign this kind of statement.
    #[must_use]
    pub fn of(kind: Kind) -> Option<Self> {
        match kind {
            Kind::Issuers => Some(Self::Root),
            Kind::Registration => Some(Self::Registry),
            Kind::Share => Some(Self::Shares),
            Kind::Revocations => Some(Self::Revocations),
            Kind::Release => Some(Self::Firmware),
            Kind::Command
            | Kind::Receipt
            | Kind::State
            | Kind::Roster
            | Kind::Approval
            | Kind::Checkpoint
            | Kind::Licence
            | Kind::Notice => None,
        }
    }

    /// The name in files and messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Registry => "registry",
            Self::Shares => "shares",
            Self::Revocations => "revocations",
            Self::Firmware => "firmware",
        }
    }
}

/// The keys of one role and their threshold.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RoleKeys {
    /// Number of different keys that must sign.
    #[n(0)]
    pub threshold: u8,
    /// The keys.
    #[n(1)]
    pub keys: Vec<KeyBytes>,
}

/// The claims of `issuers`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Issuers {
    /// The platform that all other statements must name as `iss`.
    #[n(1)]
    pub iss: Id,
    /// Time of issue.
    #[n(6)]
    pub iat: Timestamp,
    /// The private claim.
    #[n(-65537)]
    pub body: IssuersBody,
}

/// The private claim of `issuers`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct IssuersBody {
    /// Format version: 1.
    #[n(0)]
    pub format: u64,
    /// 1 when pinned at provisioning; each later version is exactly one more.
    #[n(1)]
    pub version: u32,
    /// Keys by role; every role is present.
    #[n(2)]
    pub roles: Map<Role, RoleKeys>,
}

/// Maximum number of keys in one role.
const MAX_ROLE_KEYS: usize = 8;

impl Object for Issuers {
    const KIND: Kind = Kind::Issuers;

    fn format(&self) -> u64 {
        self.body.format
    }

    fn check(&self) -> Result<(), WireError> {
        for role in Role::ALL {
            let Some(RoleKeys { threshold, keys }) = self.body.roles.get(&role) else {
                return Err(WireError::Malformed("a role is missing"));
            };
            if keys.is_empty() || keys.len() > MAX_ROLE_KEYS {
                return Err(WireError::Malformed("a role has 1 to 8 keys"));
            }
            if *threshold == 0 || usize::from(*threshold) > keys.len() {
                return Err(WireError::Malformed("a threshold is out of range"));
            }
            for (at, key) in keys.iter().enumerate() {
                if keys.iter().skip(at + 1).any(|other| other == key) {
                    return Err(WireError::Malformed("a role has the same key twice"));
                }
                PublicKey::new(key)?;
            }
        }
        Ok(())
    }
}

impl Issuers {
    /// A new list of keys.
    #[must_use]
    pub fn new(iss: Id, iat: Timestamp, version: u32, roles: Map<Role, RoleKeys>) -> Self {
        Self {
            iss,
            iat,
            body: IssuersBody {
                format: FORMAT,
                version,
                roles,
            },
        }
    }

    /// The keys of a role.
    #[must_use]
    pub fn role(&self, role: Role) -> Option<&RoleKeys> {
        self.body.roles.get(&role)
    }

    /// Verifies a statement: returns the envelopes with a valid signature of a key of `role`, one
    /// for each key, if they reach the threshold. The payloads must be equal. The keys are not
    /// checked again, so this list must have been decoded or checked ([`Object::check`]).
    ///
    /// # Errors
    /// [`WireError::BadSignature`] if a signature is invalid or the threshold is not reached.
    pub fn verify<'e>(
        &self,
        role: Role,
        envelopes: &[Envelope<'e>],
    ) -> Result<Vec<Envelope<'e>>, WireError> {
        let Some(RoleKeys { threshold, keys }) = self.role(role) else {
            return Err(WireError::BadSignature);
        };
        let Some(first) = envelopes.first() else {
            return Err(WireError::BadSignature);
        };
        let mut signed = Vec::new();
        for key in keys {
            let signs = |e: &&Envelope<'_>| e.signer == *key && e.payload() == first.payload();
            if let Some(envelope) = envelopes.iter().find(signs) {
                envelope.verify(&PublicKey::checked_before(key)?)?;
                signed.push(*envelope);
            }
        }
        if signed.len() >= usize::from(*threshold) {
            Ok(signed)
        } else {
            Err(WireError::BadSignature)
        }
    }
}
