//! The header of a share: the claims that are needed to store it, read without decoding the rest.

use minicbor::Decoder;
use minicbor::decode::Error;

use crate::wire::{Audience, Bytes, Confirmation, KeyBytes, Timestamp, WireError};

/// Some claims of a share whose signature is not verified. Do not rely on them before it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareHeader {
    /// The share's id.
    pub id: Bytes<16>,
    /// The recipient's key.
    pub holder: KeyBytes,
    /// The device or site.
    pub audience: Audience,
    /// Time of issue.
    pub issued_at: Timestamp,
    /// The first second at which it has expired.
    pub expires_at: Timestamp,
}

impl ShareHeader {
    /// Reads the header from the payload of a share's envelope.
    ///
    /// # Errors
    /// [`WireError::Malformed`] if a claim is missing.
    pub fn read(payload: &[u8]) -> Result<Self, WireError> {
        read(&mut Decoder::new(payload))
            .ok()
            .flatten()
            .ok_or(WireError::Malformed("not a share"))
    }
}

fn read(d: &mut Decoder<'_>) -> Result<Option<ShareHeader>, Error> {
    let (mut audience, mut expires_at, mut issued_at) = (None, None, None);
    let (mut id, mut holder) = (None, None);
    for _ in 0..d.map()?.unwrap_or(0) {
        match d.i64()? {
            3 => audience = Some(d.decode()?),
            4 => expires_at = Some(d.decode()?),
            6 => issued_at = Some(d.decode()?),
            7 => id = Some(d.decode()?),
            8 => holder = Some(d.decode::<Confirmation>()?.0),
            _ => d.skip()?,
        }
        if let (Some(id), Some(holder)) = (id, holder)
            && let (Some(issued_at), Some(expires_at)) = (issued_at, expires_at)
            && let Some(audience) = audience.take()
        {
            // Map keys are in order, so the longest part comes last and is not read.
            return Ok(Some(ShareHeader {
                id,
                holder,
                audience,
                issued_at,
                expires_at,
            }));
        }
    }
    Ok(None)
}
