//! `approval`: another person's approval of one command.

use minicbor::{Decode, Encode};

use crate::wire::{Audience, Hash, Kind, Object, Timestamp, WireError};

/// The claims of `approval`. The signer's key identifies the person.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Approval {
    /// The device of the command.
    #[n(3)]
    pub aud: Audience,
    /// The first second at which it has expired.
    #[n(4)]
    pub exp: Timestamp,
    /// Time of issue.
    #[n(6)]
    pub iat: Timestamp,
    /// The private claim.
    #[n(-65537)]
    pub body: ApprovalBody,
}

/// The private claim of `approval`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ApprovalBody {
    /// Format version: 1.
    #[n(0)]
    pub format: u64,
    /// SHA-256 of the command's envelope.
    #[n(1)]
    pub command: Hash,
}

impl Object for Approval {
    const KIND: Kind = Kind::Approval;

    fn format(&self) -> u64 {
        self.body.format
    }

    fn check(&self) -> Result<(), WireError> {
        if self.exp <= self.iat {
            return Err(WireError::Malformed(
                "the approval does not expire after its time of issue",
            ));
        }
        Ok(())
    }
}
