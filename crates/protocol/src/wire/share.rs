//! `share`: the signed form of "the owner lets this person do these things until then".

use minicbor::{Decode, Encode};

use crate::wire::{
    ArgLimit, Audience, Bytes, Confirmation, Id, Kind, Limits, Map, Object, Operation, PublicKey,
    Text, Timestamp, WireError,
};

/// Operations that belong to the owner: these, and everything that begins with an entry
/// ending in a dot. A share that holds one is malformed.
pub const OWNER_ONLY: [&str; 7] = [
    "device.delete",
    "device.register",
    "share.",
    "key.",
    "clock.",
    "net.",
    "factory.",
];

/// What every holder may do with the own shares, on any live share: see them, and end them.
pub const SELF_SERVICE_OPERATIONS: [&str; 2] = ["share.mine", "share.relinquish"];

/// Whether only the owner may ever ask for this operation.
#[must_use]
pub fn is_owner_only(operation: &str) -> bool {
    !SELF_SERVICE_OPERATIONS.contains(&operation)
        && OWNER_ONLY
            .iter()
            .any(|owned| match owned.strip_suffix('.') {
                Some(_) => operation.starts_with(owned),
                None => operation == *owned,
            })
}

/// What is granted under an operation's name. Without limits: the operation with any
/// arguments that the device itself allows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Permission {
    /// Arguments that must be there, and what they may be.
    #[n(0)]
    pub args: Option<Map<Text, ArgLimit>>,
}

/// The claims of `share`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Share {
    /// The platform.
    #[n(1)]
    pub iss: Id,
    /// The recipient's account.
    #[n(2)]
    pub sub: Id,
    /// The device or site that is shared.
    #[n(3)]
    pub aud: Audience,
    /// The first second at which it has ended.
    #[n(4)]
    pub exp: Timestamp,
    /// The first second at which it counts.
    #[n(5)]
    pub nbf: Timestamp,
    /// When it was made.
    #[n(6)]
    pub iat: Timestamp,
    /// The share's id.
    #[n(7)]
    pub cti: Bytes<16>,
    /// The recipient's key.
    #[n(8)]
    pub cnf: Confirmation,
    /// The rest.
    #[n(-65537)]
    pub body: ShareBody,
}

/// The private claim of `share`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ShareBody {
    /// 1.
    #[n(0)]
    pub format: u64,
    /// 1 at first; an extension is the same share with a higher version and a later end.
    #[n(1)]
    pub version: u32,
    /// What the recipient may ask for.
    #[n(2)]
    pub permissions: Map<Operation, Permission>,
    /// The account that shared it.
    #[n(3)]
    pub by: Id,
    /// For people.
    #[n(4)]
    pub description: Option<Text>,
    /// Seconds; shortens the registration's leases for this share.
    #[n(5)]
    pub lease: Option<u64>,
    /// The region that the device must be registered in.
    #[n(6)]
    pub region: Id,
    /// If the recipient is a group: its id. Then `cnf` is the group's key, and its members
    /// may use the share.
    #[n(7)]
    pub group: Option<Id>,
    /// Limits for all operations of this share together.
    #[n(8)]
    pub limits: Option<Limits>,
}

impl Object for Share {
    const KIND: Kind = Kind::Share;

    fn format(&self) -> u64 {
        self.body.format
    }

    fn check(&self) -> Result<(), WireError> {
        if self.exp <= self.nbf {
            return Err(WireError::Malformed("a share that ends before it begins"));
        }
        if self.body.version == 0 {
            return Err(WireError::Malformed("a share of version 0"));
        }
        let permissions = &self.body.permissions;
        if permissions.is_empty() || permissions.len() > 32 {
            return Err(WireError::Malformed("a share grants 1 to 32 operations"));
        }
        if permissions
            .iter()
            .any(|(name, _)| is_owner_only(name.as_str()))
        {
            return Err(WireError::Malformed("a share of an owner-only operation"));
        }
        if let Some(limits) = &self.body.limits {
            limits.check()?;
        }
        for (_, permission) in permissions.iter() {
            if permission
                .args
                .as_ref()
                .is_some_and(|args| args.is_empty() || args.len() > 16)
            {
                return Err(WireError::Malformed("limits on 1 to 16 arguments"));
            }
        }
        PublicKey::new(&self.cnf.0)?;
        Ok(())
    }
}

impl Share {
    /// Whether `newer` is this share with a later end and nothing else changed but the
    /// version and the time of signing.
    #[must_use]
    pub fn is_extended_by(&self, newer: &Self) -> bool {
        let mut expected = self.clone();
        expected.exp = newer.exp;
        expected.iat = newer.iat;
        expected.body.version = newer.body.version;
        newer.body.version > self.body.version
            && newer.exp >= self.exp
            && newer.iat >= self.iat
            && *newer == expected
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::prelude::v1::*;

    #[test]
    fn the_owners_operations_are_recognised_by_name_and_family() {
        for owned in [
            "device.delete",
            "share.create",
            "key.rotate",
            "clock.set",
            "share.minee",
        ] {
            assert!(is_owner_only(owned), "{owned}");
        }
        for shared in [
            "device.reboot",
            "device.deleted",
            "status.read",
            "shared.x",
            "share.mine",
        ] {
            assert!(!is_owner_only(shared), "{shared}");
        }
    }
}
