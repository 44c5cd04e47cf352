//! `roster`: the member list of a group, signed by the group's own key.

use minicbor::{Decode, Encode};

use crate::wire::{Id, KeyBytes, Kind, Map, Object, PublicKey, Timestamp, WireError};

/// Maximum number of members of a group.
pub const MAX_MEMBERS: usize = 256;

/// The claims of `roster`. It is always the complete list.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Roster {
    /// The group.
    #[n(2)]
    pub sub: Id,
    /// The first second at which it has expired.
    #[n(4)]
    pub exp: Timestamp,
    /// Time of issue.
    #[n(6)]
    pub iat: Timestamp,
    /// The private claim.
    #[n(-65537)]
    pub body: RosterBody,
}

/// The private claim of `roster`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RosterBody {
    /// Format version: 1.
    #[n(0)]
    pub format: u64,
    /// Sequence number; strictly increases.
    #[n(1)]
    pub seq: u64,
    /// Members by key, with their accounts.
    #[n(2)]
    pub members: Map<KeyBytes, Id>,
}

impl Object for Roster {
    const KIND: Kind = Kind::Roster;

    fn format(&self) -> u64 {
        self.body.format
    }

    fn check(&self) -> Result<(), WireError> {
        if self.body.members.len() > MAX_MEMBERS {
            return Err(WireError::Malformed("more than 256 members"));
        }
        if self.body.seq == 0 {
            return Err(WireError::Malformed("the sequence number is 0"));
        }
        if self.exp <= self.iat {
            return Err(WireError::Malformed(
                "the roster does not expire after its time of issue",
            ));
        }
        for (key, _) in self.body.members.iter() {
            PublicKey::new(key)?;
        }
        Ok(())
    }
}
