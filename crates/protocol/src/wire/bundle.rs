//! Bundles, the payload of messages: a CBOR sequence (RFC 8742) of statements, approvals, and at
//! most one command, last.

use alloc::vec::Vec;

use crate::wire::cbor::item_length;
use crate::wire::{Envelope, Kind, WireError};

/// Maximum size of a bundle, in bytes.
pub const MAX_BUNDLE: usize = 65536;
/// Maximum number of items in a bundle.
pub const MAX_ITEMS: usize = 8;

/// The envelopes of one payload. Their signatures are not verified.
#[derive(Debug, Default)]
pub struct Bundle<'a> {
    /// Statements in the order received; an invalid one does not affect the others.
    pub statements: Vec<Result<Envelope<'a>, WireError>>,
    /// Approvals of the command.
    pub approvals: Vec<Envelope<'a>>,
    /// The command, if the bundle ends with one.
    pub command: Option<Envelope<'a>>,
}

impl<'a> Bundle<'a> {
    /// Splits a payload. A statement that is invalid in itself is returned as its error; a
    /// malformed sequence, or an invalid last item, refuses the whole bundle.
    ///
    /// # Errors
    /// Any [`WireError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, WireError> {
        if bytes.len() > MAX_BUNDLE {
            return Err(WireError::TooLarge);
        }
        let mut bundle = Self::default();
        let mut rest = bytes;
        for _ in 0..MAX_ITEMS {
            let (item, after) = split_item(rest)?;
            match Envelope::parse(item) {
                Ok(e) if e.kind == Kind::Command && after.is_empty() => bundle.command = Some(e),
                Ok(e) if e.kind.is_statement() => bundle.statements.push(Ok(e)),
                Ok(e) if e.kind == Kind::Approval => bundle.approvals.push(e),
                // A command before the end, or an object that only a device signs.
                Ok(_) => return Err(WireError::WrongType),
                // The last item may be the command, so its error is that of the bundle.
                Err(error) if after.is_empty() => return Err(error),
                Err(error) => bundle.statements.push(Err(error)),
            }
            if after.is_empty() {
                return Ok(bundle);
            }
            rest = after;
        }
        Err(WireError::TooLarge)
    }
}

/// Splits a sequence of any length into its items, in order, without checking them.
///
/// # Errors
/// [`WireError::Malformed`] if it is not a sequence of CBOR items of definite length.
pub fn items(bytes: &[u8]) -> Result<Vec<&[u8]>, WireError> {
    let mut items = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (item, after) = split_item(rest)?;
        items.push(item);
        rest = after;
    }
    Ok(items)
}

fn split_item(bytes: &[u8]) -> Result<(&[u8], &[u8]), WireError> {
    let length = item_length(bytes).ok_or(WireError::Malformed(
        "not a sequence of CBOR items of definite length",
    ))?;
    Ok(bytes.split_at(length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::prelude::v1::*;

    #[test]
    fn nothing_is_no_bundle() {
        assert!(matches!(Bundle::parse(&[]), Err(WireError::Malformed(_))));
    }

    #[test]
    fn too_much_is_refused_before_it_is_read() {
        let huge = vec![0xd8; MAX_BUNDLE + 1];
        assert_eq!(Bundle::parse(&huge).err(), Some(WireError::TooLarge));
    }

    #[test]
    fn deep_nesting_is_refused_without_recursion() {
        let deep = vec![0x81; MAX_BUNDLE];
        assert!(Bundle::parse(&deep).is_err());
    }
}
