//! `share`: the permissions of one recipient on a device or site, with an expiry.

use minicbor::{Decode, Encode};

use crate::wire::{
    ArgLimit, Audience, Bytes, Confirmation, Id, Kind, Limits, Map, Object, Operation, PublicKey,
    Text, Timestamp, WireError,
};

/// Operations reserved to the owner. An entry that ends in a dot is a prefix. A share that contains
/// such an operation is malformed.
pub const OWNER_ONLY: [&str; 7] = [
    "device.delete",
    "device.register",
    "share.",
    "key.",
    "clock.",
    "net.",
    "factory.",
];

/// Operations of every holder of a valid share: list the own shares, and end one.
pub const SELF_SERVICE_OPERATIONS: [&str; 2] = ["share.mine", "share.relinquish"];

/// Returns whether this operation is reserved to the owner.
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

/// The permission for one operation. Without limits, it includes all arguments that the device
/// accepts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Permission {
    /// Limits of arguments; a limited argument must be given.
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
    /// The first second at which it has expired.
    #[n(4)]
    pub exp: Timestamp,
    /// The first second at which it is valid.
    #[n(5)]
    pub nbf: Timestamp,
    /// Time of issue.
    #[n(6)]
    pub iat: Timestamp,
    /// The share's id.
    #[n(7)]
    pub cti: Bytes<16>,
    /// The recipient's key.
    #[n(8)]
    pub cnf: Confirmation,
    /// The private claim.
    #[n(-65537)]
    pub body: ShareBody,
}

/// The private claim of `share`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ShareBody {
    /// Format version: 1.
    #[n(0)]
    pub format: u64,
    /// From 1; an extension is the same share with a higher version and a later expiry.
    #[n(1)]
    pub version: u32,
    /// The granted operations.
    #[n(2)]
    pub permissions: Map<Operation, Permission>,
    /// The account that shared it.
    #[n(3)]
    pub by: Id,
    /// Description for people.
    #[n(4)]
    pub description: Option<Text>,
    /// A shorter lease than the registration's, in seconds.
    #[n(5)]
    pub lease: Option<u64>,
    /// The region in which the device must be registered.
    #[n(6)]
    pub region: Id,
    /// The group's id, if the recipient is a group. `cnf` is then the group's key, and its members
    /// can use the share.
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
            return Err(WireError::Malformed("the share expires before it is valid"));
        }
        if self.body.version == 0 {
            return Err(WireError::Malformed("the version is 0"));
        }
        let permissions = &self.body.permissions;
        if permissions.is_empty() || permissions.len() > 32 {
            return Err(WireError::Malformed("a share grants 1 to 32 operations"));
        }
        if permissions
            .iter()
            .any(|(name, _)| is_owner_only(name.as_str()))
        {
            return Err(WireError::Malformed(
                "the share has an owner-only operation",
            ));
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
                return Err(WireError::Malformed(
                    "a permission limits 1 to 16 arguments",
                ));
            }
        }
        PublicKey::new(&self.cnf.0)?;
        Ok(())
    }
}

impl Share {
    /// Returns whether `newer` is this share with a later expiry, and no other change but the
    /// version and the time of issue.
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
