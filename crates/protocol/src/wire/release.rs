//! `release`: a firmware release that may be installed. A share alone does not allow installation.

use minicbor::{Decode, Encode};

use crate::wire::{Hash, Id, Kind, Object, Text, Timestamp, WireError};

/// The claims of `release`, signed by a threshold of firmware keys.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Release {
    /// The platform.
    #[n(1)]
    pub iss: Id,
    /// Time of issue.
    #[n(6)]
    pub iat: Timestamp,
    /// The private claim.
    #[n(-65537)]
    pub body: ReleaseBody,
}

/// The private claim of `release`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ReleaseBody {
    /// Format version: 1.
    #[n(0)]
    pub format: u64,
    /// The vendor.
    #[n(1)]
    pub vendor: Id,
    /// The device model, as in the registration.
    #[n(2)]
    pub model: Text,
    /// The version; a higher number is newer.
    #[n(3)]
    pub version: u32,
    /// Length of the image in bytes.
    #[n(4)]
    pub size: u64,
    /// SHA-256 of the image.
    #[n(5)]
    pub sha256: Hash,
    /// The lowest version that it can be installed over.
    #[n(6)]
    pub minimum: u32,
}

impl Object for Release {
    const KIND: Kind = Kind::Release;

    fn format(&self) -> u64 {
        self.body.format
    }

    fn check(&self) -> Result<(), WireError> {
        if self.body.version == 0 || self.body.minimum >= self.body.version {
            return Err(WireError::Malformed(
                "the minimum version is not below the version",
            ));
        }
        Ok(())
    }
}
