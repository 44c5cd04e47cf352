//! `revocations`: the complete revocation list of one device or site.

use minicbor::{Decode, Encode};

use crate::wire::{Audience, Bytes, Id, KeyBytes, Kind, Map, Object, Share, Timestamp, WireError};

/// Maximum number of entries of a list, over its three tables.
pub const MAX_REVOCATIONS: usize = 1024;

/// The claims of `revocations`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Revocations {
    /// The platform.
    #[n(1)]
    pub iss: Id,
    /// The device or site whose shares it revokes.
    #[n(3)]
    pub aud: Audience,
    /// Time of issue, from which leases are counted.
    #[n(6)]
    pub iat: Timestamp,
    /// The private claim.
    #[n(-65537)]
    pub body: RevocationsBody,
}

/// The private claim of `revocations`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RevocationsBody {
    /// Format version: 1.
    #[n(0)]
    pub format: u64,
    /// Sequence number; strictly increases.
    #[n(1)]
    pub seq: u64,
    /// Time at which the next list is due.
    #[n(2)]
    pub next: Timestamp,
    /// Revoked shares and their expiry, after which the entry can be removed.
    #[n(3)]
    pub shares: Map<Bytes<16>, Timestamp>,
    /// Keys whose shares are revoked if issued before the time.
    #[n(4)]
    pub holders: Map<KeyBytes, Timestamp>,
    /// Accounts whose shares are revoked if issued before the time.
    #[n(5)]
    pub subjects: Map<Id, Timestamp>,
    /// Every share issued before this time is revoked; raised when the list overflows.
    #[n(6)]
    pub before: Timestamp,
}

impl Object for Revocations {
    const KIND: Kind = Kind::Revocations;

    fn format(&self) -> u64 {
        self.body.format
    }

    fn check(&self) -> Result<(), WireError> {
        let b = &self.body;
        if b.shares.len() + b.holders.len() + b.subjects.len() > MAX_REVOCATIONS {
            return Err(WireError::Malformed("more than 1,024 revocations"));
        }
        if b.seq == 0 {
            return Err(WireError::Malformed("the sequence number is 0"));
        }
        Ok(())
    }
}

impl Revocations {
    /// Returns whether this list revokes `share`.
    #[must_use]
    pub fn ends(&self, share: &Share) -> bool {
        let issued_before = |time: Option<&Timestamp>| time.is_some_and(|t| share.iat < *t);
        self.body.shares.find(&share.cti).is_some()
            || issued_before(self.body.holders.find(&share.cnf.0))
            || issued_before(self.body.subjects.get(&share.sub))
            || issued_before(
                share
                    .body
                    .group
                    .as_ref()
                    .and_then(|g| self.body.subjects.get(g)),
            )
            || issued_before(Some(&self.body.before))
    }
}
