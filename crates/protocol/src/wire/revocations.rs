//! `revocations`: the whole list of what no longer counts, for one device or site.

use minicbor::{Decode, Encode};

use crate::wire::{Audience, Bytes, Id, KeyBytes, Kind, Map, Object, Share, Timestamp, WireError};

/// Most entries of one list, over its three tables.
pub const MAX_REVOCATIONS: usize = 1024;

/// The claims of `revocations`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Revocations {
    /// The platform.
    #[n(1)]
    pub iss: Id,
    /// The device or site whose shares it ends.
    #[n(3)]
    pub aud: Audience,
    /// When it was made: the proof of freshness that leases run from.
    #[n(6)]
    pub iat: Timestamp,
    /// The rest.
    #[n(-65537)]
    pub body: RevocationsBody,
}

/// The private claim of `revocations`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RevocationsBody {
    /// 1.
    #[n(0)]
    pub format: u64,
    /// Strictly rises.
    #[n(1)]
    pub seq: u64,
    /// When the issuer means to sign the next list.
    #[n(2)]
    pub next: Timestamp,
    /// Ended shares, with the end they had: later the entry may go.
    #[n(3)]
    pub shares: Map<Bytes<16>, Timestamp>,
    /// Keys whose shares made before the time are ended.
    #[n(4)]
    pub holders: Map<KeyBytes, Timestamp>,
    /// Accounts whose shares made before the time are ended.
    #[n(5)]
    pub subjects: Map<Id, Timestamp>,
    /// Every share made before this time is ended: what an overflow raises.
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
            return Err(WireError::Malformed("a sequence number of 0"));
        }
        Ok(())
    }
}

impl Revocations {
    /// Whether this list ends `share`.
    #[must_use]
    pub fn ends(&self, share: &Share) -> bool {
        let made_before = |time: Option<&Timestamp>| time.is_some_and(|t| share.iat < *t);
        self.body.shares.find(&share.cti).is_some()
            || made_before(self.body.holders.find(&share.cnf.0))
            || made_before(self.body.subjects.get(&share.sub))
            || made_before(
                share
                    .body
                    .group
                    .as_ref()
                    .and_then(|g| self.body.subjects.get(g)),
            )
            || made_before(Some(&self.body.before))
    }
}
