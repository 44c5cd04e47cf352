//! The outline of a share: what is needed to keep very many of them, read without the rest.

use minicbor::Decoder;
use minicbor::decode::Error;

use crate::wire::{Audience, Bytes, Confirmation, KeyBytes, Timestamp, WireError};

/// What a share says of itself. Believe it only as far as a share that was checked agrees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareHeader {
    /// The share's id.
    pub id: Bytes<16>,
    /// The key of its recipient.
    pub holder: KeyBytes,
    /// The device or site.
    pub audience: Audience,
    /// When it was made.
    pub made: Timestamp,
    /// The first second at which it has ended.
    pub end: Timestamp,
}

impl ShareHeader {
    /// Reads it from the payload of a share's envelope.
    ///
    /// # Errors
    /// [`WireError::Malformed`] if something of it is missing.
    pub fn read(payload: &[u8]) -> Result<Self, WireError> {
        read(&mut Decoder::new(payload))
            .ok()
            .flatten()
            .ok_or(WireError::Malformed("not a share"))
    }
}

fn read(d: &mut Decoder<'_>) -> Result<Option<ShareHeader>, Error> {
    let (mut audience, mut end, mut made, mut id, mut holder) = (None, None, None, None, None);
    for _ in 0..d.map()?.unwrap_or(0) {
        match d.i64()? {
            3 => audience = Some(d.decode()?),
            4 => end = Some(d.decode()?),
            6 => made = Some(d.decode()?),
            7 => id = Some(d.decode()?),
            8 => holder = Some(d.decode::<Confirmation>()?.0),
            _ => d.skip()?,
        }
        if let (Some(id), Some(holder)) = (id, holder)
            && let (Some(made), Some(end)) = (made, end)
            && let Some(audience) = audience.take()
        {
            // Keys of a map are in order, so that the longest part comes last and is not read.
            return Ok(Some(ShareHeader {
                id,
                holder,
                audience,
                made,
                end,
            }));
        }
    }
    Ok(None)
}
