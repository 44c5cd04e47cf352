//! `licence`: the features that a manufacturer has licensed for one machine. It is an argument of
//! `licence.apply`.

use alloc::vec::Vec;

use minicbor::{Decode, Encode};

use crate::wire::{Id, Kind, Object, Text, Timestamp, WireError};

/// Maximum number of features of a licence.
pub const MAX_FEATURES: usize = 16;

/// The claims of `licence`, signed by the manufacturer's key in the device's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Licence {
    /// The manufacturer.
    #[n(1)]
    pub iss: Id,
    /// The serial number of the machine.
    #[n(2)]
    pub sub: Id,
    /// The first second at which it has expired; `None` if it does not expire.
    #[n(4)]
    pub exp: Option<Timestamp>,
    /// Time of issue.
    #[n(6)]
    pub iat: Timestamp,
    /// The private claim.
    #[n(-65537)]
    pub body: LicenceBody,
}

/// The private claim of `licence`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LicenceBody {
    /// Format version: 1.
    #[n(0)]
    pub format: u64,
    /// Its number; a device accepts only a higher one.
    #[n(1)]
    pub number: u32,
    /// The licensed features, as named by the manufacturer.
    #[n(2)]
    pub features: Vec<Text>,
}

impl Object for Licence {
    const KIND: Kind = Kind::Licence;

    fn format(&self) -> u64 {
        self.body.format
    }

    fn check(&self) -> Result<(), WireError> {
        if self.body.number == 0 || self.body.features.len() > MAX_FEATURES {
            return Err(WireError::Malformed(
                "the licence number is 0, or there are more than 16 features",
            ));
        }
        if self.exp.is_some_and(|exp| exp <= self.iat) {
            return Err(WireError::Malformed(
                "the licence does not expire after its time of issue",
            ));
        }
        Ok(())
    }
}
