//! `notice`: a notification to one subscriber.

use minicbor::{Decode, Encode};

use crate::wire::{Bytes, Id, Kind, Map, Object, Text, Timestamp, Value};

/// The claims of `notice`, signed by the device's key.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Notice {
    /// The device.
    #[n(1)]
    pub iss: Id,
    /// Time of issue.
    #[n(6)]
    pub iat: Timestamp,
    /// The private claim.
    #[n(-65537)]
    pub body: NoticeBody,
}

/// The private claim of `notice`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct NoticeBody {
    /// Format version: 1.
    #[n(0)]
    pub format: u64,
    /// The share that entitles the subscriber; absent for the owner.
    #[n(1)]
    pub share: Option<Bytes<16>>,
    /// The changed values, by name.
    #[n(2)]
    pub values: Map<Text, Value>,
}

impl Object for Notice {
    const KIND: Kind = Kind::Notice;

    fn format(&self) -> u64 {
        self.body.format
    }
}
