//! A chunk of a result that is larger than a receipt.

use alloc::vec::Vec;

use minicbor::{Decode, Encode};

use crate::wire::cbor::decode_exact;
use crate::wire::{Hash, WireError};

/// Maximum size of a chunk, in bytes.
pub const MAX_CHUNK: usize = 32 * 1024;

/// A chunk of a result. It is not signed: the receipt contains the SHA-256 of the whole result.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Chunk {
    /// SHA-256 of the command.
    #[n(0)]
    pub result: Hash,
    /// Offset in the result, in bytes.
    #[n(1)]
    pub offset: u64,
    /// The bytes.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub bytes: Vec<u8>,
}

impl Chunk {
    /// Decodes a chunk.
    ///
    /// # Errors
    /// [`WireError::TooLarge`] and [`WireError::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        if bytes.len() > MAX_CHUNK + 64 {
            return Err(WireError::TooLarge);
        }
        decode_exact(bytes)
    }
}
