//! `licence`: what a maker lets one machine do. It travels as an argument of `licence.apply`.

use alloc::vec::Vec;

use minicbor::{Decode, Encode};

use crate::wire::{Id, Kind, Object, Text, Timestamp, WireError};

/// Most features of one licence.
pub const MAX_FEATURES: usize = 16;

/// The claims of `licence`, signed by the maker's key in the device's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Licence {
    /// Who made the machine.
    #[n(1)]
    pub iss: Id,
    /// The serial number of the machine.
    #[n(2)]
    pub sub: Id,
    /// The first second at which it no longer counts; none: it has no end.
    #[n(4)]
    pub exp: Option<Timestamp>,
    /// When it was made.
    #[n(6)]
    pub iat: Timestamp,
    /// The rest.
    #[n(-65537)]
    pub body: LicenceBody,
}

/// The private claim of `licence`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LicenceBody {
    /// 1.
    #[n(0)]
    pub format: u64,
    /// Its number; a machine goes up only.
    #[n(1)]
    pub number: u32,
    /// What it allows, in the maker's words.
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
                "a licence without a number, or with more than 16 features",
            ));
        }
        if self.exp.is_some_and(|exp| exp <= self.iat) {
            return Err(WireError::Malformed("a licence that ends before it begins"));
        }
        Ok(())
    }
}
