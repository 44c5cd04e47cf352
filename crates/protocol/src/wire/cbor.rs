//! Deterministic CBOR: a decoded value, encoded again, must be equal to the received bytes.

use alloc::string::String;
use alloc::vec::Vec;

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

use crate::wire::WireError;

/// Decodes one deterministically encoded value (RFC 8949 section 4.2.1) that fills `bytes`. It
/// refuses duplicate, unsorted or unknown map keys, integers that are longer than necessary,
/// indefinite lengths and trailing bytes.
///
/// # Errors
/// [`WireError::Malformed`].
pub fn decode_exact<'b, T>(bytes: &'b [u8]) -> Result<T, WireError>
where
    T: Decode<'b, ()> + Encode<()>,
{
    let value: T = minicbor::decode(bytes)
        .map_err(|_| WireError::Malformed("not CBOR of the expected shape"))?;
    let mut rest = Matching(bytes);
    match encode_into(&value, &mut rest) {
        Ok(()) if rest.0.is_empty() => Ok(value),
        _ => Err(WireError::Malformed("not deterministically encoded")),
    }
}

/// Returns the length of the first item in `bytes`, if it is well-formed CBOR of definite lengths.
/// Neither recurses nor allocates, and stops at a count that exceeds the number of bytes.
pub(super) fn item_length(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    let mut items: u64 = 1;
    while items > 0 {
        let (&head, after) = rest.split_first()?;
        rest = after;
        items -= 1;
        let (kind, short) = (head >> 5, head & 31);
        let size = match short {
            0..=23 => 0,
            24..=27 => 1_usize << (short - 24),
            // Reserved, an indefinite length, or a break.
            _ => return None,
        };
        let (number, after) = rest.split_at_checked(size)?;
        rest = after;
        let value = match size {
            0 => u64::from(short),
            _ => number
                .iter()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        };
        match kind {
            2 | 3 => rest = rest.get(usize::try_from(value).ok()?..)?,
            4 => items = items.checked_add(value)?,
            5 => items = items.checked_add(value.checked_mul(2)?)?,
            6 => items += 1,
            // Simple values below 32 have no second byte (RFC 8949 section 3.3).
            7 if short == 24 && value < 32 => return None,
            _ => {}
        }
        if items > rest.len() as u64 {
            return None;
        }
    }
    Some(bytes.len() - rest.len())
}

/// The initial size of the output buffer, in bytes: most objects are shorter.
const INITIAL_CAPACITY: usize = 512;

/// Encodes a value.
#[must_use]
pub fn to_bytes<T: Encode<()>>(value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(INITIAL_CAPACITY);
    // Writing to a Vec cannot fail, and our Encode implementations only forward to it.
    let written = minicbor::encode(value, &mut out);
    debug_assert!(written.is_ok());
    out
}

fn encode_into<T: Encode<()>>(
    value: &T,
    out: &mut Matching<'_>,
) -> Result<(), encode::Error<Differs>> {
    value.encode(&mut Encoder::new(out), &mut ())
}

/// A writer that compares its input with expected bytes, without allocation.
struct Matching<'a>(&'a [u8]);

#[derive(Debug)]
struct Differs;

impl core::fmt::Display for Differs {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("encodes differently")
    }
}

impl core::error::Error for Differs {}

impl encode::Write for Matching<'_> {
    type Error = Differs;

    fn write_all(&mut self, buf: &[u8]) -> Result<(), Differs> {
        self.0 = self.0.strip_prefix(buf).ok_or(Differs)?;
        Ok(())
    }
}

/// A byte string of exactly `N` bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bytes<const N: usize>(pub [u8; N]);

impl<const N: usize> Bytes<N> {
    /// Lower-case hexadecimal, as used in topics, files and output.
    #[must_use]
    pub fn hex(&self) -> String {
        data_encoding::HEXLOWER.encode(&self.0)
    }

    /// Decodes hexadecimal of either case; `None` if it is not exactly `N` bytes.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let bytes = data_encoding::HEXLOWER_PERMISSIVE
            .decode(text.as_bytes())
            .ok()?;
        Some(Self(bytes.try_into().ok()?))
    }
}

impl<const N: usize> Default for Bytes<N> {
    fn default() -> Self {
        Self([0; N])
    }
}

impl<const N: usize> core::fmt::Debug for Bytes<N> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.hex())
    }
}

impl<const N: usize> core::fmt::Display for Bytes<N> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.hex())
    }
}

impl<C, const N: usize> Encode<C> for Bytes<N> {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C, const N: usize> Decode<'b, C> for Bytes<N> {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let found = d.bytes()?;
        found
            .try_into()
            .map(Self)
            .map_err(|_| decode::Error::message("byte string of wrong length"))
    }
}

/// A CBOR map in deterministic order. Decoding refuses a map whose encoded keys are not strictly
/// ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map<K, V>(Vec<(K, V)>);

impl<K, V> Default for Map<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Encode<()>, V> Map<K, V> {
    /// Sorts entries; of two with the same key the later one is used.
    #[must_use]
    pub fn new(entries: impl IntoIterator<Item = (K, V)>) -> Self {
        let sorted: alloc::collections::BTreeMap<Vec<u8>, (K, V)> = entries
            .into_iter()
            .map(|(k, v)| (to_bytes(&k), (k, v)))
            .collect();
        Self(sorted.into_values().collect())
    }
}

impl<K, V> Map<K, V> {
    /// The entries in order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter().map(|(k, v)| (k, v))
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K: PartialEq, V> Map<K, V> {
    /// The value under `key`.
    #[must_use]
    pub fn get<Q: ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: PartialEq<Q>,
    {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v)
    }
}

impl<const N: usize, V> Map<Bytes<N>, V> {
    /// Finds a key by binary search. Only keys of one length are in the order of their bytes: in
    /// deterministic CBOR, shorter text comes first.
    pub fn find(&self, key: &Bytes<N>) -> Option<&V> {
        let at = self.0.binary_search_by(|(known, _)| known.cmp(key)).ok()?;
        self.0.get(at).map(|(_, v)| v)
    }
}

impl<K: Encode<()> + Encode<C>, V: Encode<C>, C> Encode<C> for Map<K, V> {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.map(self.0.len() as u64)?;
        for (k, v) in &self.0 {
            k.encode(e, ctx)?;
            v.encode(e, ctx)?;
        }
        Ok(())
    }
}

impl<'b, K: Decode<'b, C>, V: Decode<'b, C>, C> Decode<'b, C> for Map<K, V> {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, decode::Error> {
        let Some(count) = d.map()? else {
            return Err(decode::Error::message("indefinite length"));
        };
        let mut entries = Vec::new();
        let mut last: &[u8] = &[];
        for _ in 0..count {
            let start = d.position();
            let key = K::decode(d, ctx)?;
            let raw = d.input().get(start..d.position()).unwrap_or_default();
            // Bytewise order of the encoded keys, RFC 8949 section 4.2.1. No key has an empty
            // encoding, so the first one is always accepted.
            if raw <= last {
                return Err(decode::Error::message("map keys out of order"));
            }
            last = raw;
            entries.push((key, V::decode(d, ctx)?));
        }
        Ok(Self(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::prelude::v1::*;

    #[test]
    fn a_map_is_written_in_the_order_of_its_encoded_keys() {
        let map = Map::new([(300_u64, 1_u8), (2, 2), (24, 3)]);
        assert_eq!(to_bytes(&map), [0xa3, 2, 2, 0x18, 24, 3, 0x19, 1, 44, 1]);
        assert_eq!(decode_exact::<Map<u64, u8>>(&to_bytes(&map)), Ok(map));
    }

    #[test]
    fn among_byte_strings_every_key_is_found_and_no_other() {
        let keys = |step: usize| {
            (0..300_usize)
                .step_by(step)
                .map(|n| Bytes([(n >> 8) as u8, n as u8]))
        };
        let map = Map::new(keys(3).map(|key| (key, key)));
        for key in keys(1) {
            assert_eq!(map.find(&key), map.get(&key), "{key}");
        }
        assert_eq!(map.find(&Bytes([255, 255])), None);
        assert_eq!(Map::<Bytes<2>, u8>::default().find(&Bytes([0, 0])), None);
    }

    #[test]
    fn what_is_not_deterministic_is_refused() {
        for (bytes, why) in [
            (&[0xa2, 2, 0, 1, 0][..], "unsorted keys"),
            (&[0xa2, 1, 0, 1, 0], "duplicate keys"),
            (&[0xa1, 0x18, 1, 0], "an integer longer than needed"),
            (&[0xbf, 1, 0, 0xff], "an indefinite length"),
            (&[0xa1, 1, 0, 0], "trailing bytes"),
            (&[0xb8, 1, 1, 0], "a length longer than needed"),
            (&[0xc1, 0xa1, 1, 0], "a tag"),
            (&[0xa1, 1], "a truncated map"),
            (
                &[0xbb, 255, 255, 255, 255, 255, 255, 255, 255],
                "a huge count",
            ),
        ] {
            assert!(decode_exact::<Map<u64, u8>>(bytes).is_err(), "{why}");
        }
    }

    #[test]
    fn the_first_item_ends_where_it_ends_and_nothing_broken_is_one() {
        for (bytes, length) in [
            (&[0x00, 0xff][..], Some(1)),
            (&[0x82, 0x01, 0x41, 0x07, 0x00], Some(4)),
            (&[0xa1, 0x61, 0x61, 0x80, 0xff], Some(4)),
            (&[0xd8, 0x3d, 0xf5], Some(3)),
            (&[0xfb, 0, 0, 0, 0, 0, 0, 0, 0], Some(9)),
            (&[], None),
            (&[0xff], None),
            (&[0x81, 0xff], None),
            (&[0x9f, 0xff], None),
            (&[0x5f, 0x41, 0, 0xff], None),
            (&[0x1c], None),
            (&[0xf8, 0x18], None),
            (&[0xf8, 0x20], Some(2)),
            (&[0x41], None),
            (&[0xa1, 0x01], None),
            (&[0xc0], None),
            (&[0x9b, 255, 255, 255, 255, 255, 255, 255, 255], None),
            (&[0xbb, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0], None),
            (&[0x5b, 255, 255, 255, 255, 255, 255, 255, 255, 0], None),
        ] {
            assert_eq!(item_length(bytes), length, "{bytes:02x?}");
        }
    }

    #[test]
    fn a_byte_string_has_its_length_and_survives_hex() {
        assert!(decode_exact::<Bytes<2>>(&[0x41, 7]).is_err());
        let two = decode_exact::<Bytes<2>>(&[0x42, 7, 255]);
        assert_eq!(two, Ok(Bytes([7, 255])));
        assert_eq!(Bytes::from_hex("07fF"), Some(Bytes([7, 255])));
        assert_eq!(Bytes::<2>::from_hex("07f"), None);
    }
}
