//! Ed25519 keys. The key is the identity: there are no truncated ids.

use alloc::format;
use alloc::string::String;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

use crate::wire::{Bytes, WireError};

/// The 32 bytes of a public key as they travel; not yet checked.
pub type KeyBytes = Bytes<32>;

/// A public key that was checked and decompressed once, when it was installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Checks a key: a point on the curve, canonically encoded, in the prime-order group.
    /// Low-order points, and those with a torsion part, would let one signature pass for
    /// several messages or keys.
    ///
    /// # Errors
    /// [`WireError::Malformed`] for a key that must not be installed.
    pub fn new(bytes: &KeyBytes) -> Result<Self, WireError> {
        let key = VerifyingKey::from_bytes(&bytes.0)
            .map_err(|_| WireError::Malformed("a key that is no curve point"))?;
        let point = key.to_edwards();
        if point.compress().0 != bytes.0 {
            return Err(WireError::Malformed("a key that is not canonical"));
        }
        if key.is_weak() || !point.is_torsion_free() {
            return Err(WireError::Malformed("a key outside the prime-order group"));
        }
        Ok(Self(key))
    }

    /// A key out of claims that were read, so that [`PublicKey::new`] has passed it before: it is
    /// only decompressed, which takes a tenth of the time.
    ///
    /// # Errors
    /// [`WireError::Malformed`] for what is no curve point.
    pub(crate) fn checked_before(bytes: &KeyBytes) -> Result<Self, WireError> {
        VerifyingKey::from_bytes(&bytes.0)
            .map(Self)
            .map_err(|_| WireError::Malformed("a key that is no curve point"))
    }

    /// The key as it travels.
    #[must_use]
    pub fn bytes(&self) -> KeyBytes {
        Bytes(self.0.to_bytes())
    }

    /// Verifies strictly: RFC 8032 with canonical S and R, no cofactor.
    ///
    /// # Errors
    /// [`WireError::BadSignature`].
    // Kept out of line, so that what is measured in benches is what runs here.
    #[inline(never)]
    pub fn verify(&self, message: &[u8], signature: &[u8; 64]) -> Result<(), WireError> {
        self.0
            .verify_strict(message, &Signature::from_bytes(signature))
            .map_err(|_| WireError::BadSignature)
    }
}

/// A secret key; wiped from memory when dropped, never printed.
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// A key from its 32-byte seed (RFC 8032 section 5.1.5).
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The text of a key file: the seed in hexadecimal and a line end.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{}\n", Bytes(self.0.to_bytes()))
    }

    /// Reads what [`SecretKey::to_text`] wrote.
    #[must_use]
    pub fn from_text(bytes: &[u8]) -> Option<Self> {
        let text = core::str::from_utf8(bytes).ok()?.trim();
        Some(Self::from_seed(&Bytes::<32>::from_hex(text)?.0))
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> KeyBytes {
        Bytes(self.0.verifying_key().to_bytes())
    }

    /// Signs text that is no envelope, such as the answer to a challenge. It has to begin with a
    /// name of what it is for: the bytes that envelopes are signed over begin with 0x84 (RFC 9052
    /// section 4.4), which no text does.
    #[must_use]
    pub fn sign_text(&self, text: &str) -> Bytes<64> {
        Bytes(self.sign(text.as_bytes()))
    }

    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl core::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "SecretKey of {}", self.public())
    }
}

/// The `cnf` claim (RFC 8747): the key that the holder proves, as a COSE_Key of type OKP
/// (RFC 9053 section 7.2) on Ed25519.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Confirmation(pub KeyBytes);

/// COSE_Key `{1: 1, -1: 6, -2: x}` inside `{1: COSE_Key}`, up to the bytes of x.
const COSE_KEY: [u8; 7] = [0xa1, 0x01, 0xa3, 0x01, 0x01, 0x20, 0x06];

impl<C> Encode<C> for Confirmation {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.writer_mut()
            .write_all(&COSE_KEY)
            .map_err(encode::Error::write)?;
        e.i8(-2)?;
        self.0.encode(e, ctx)
    }
}

impl<'b, C> Decode<'b, C> for Confirmation {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, decode::Error> {
        let start = d.position();
        if !d
            .input()
            .get(start..)
            .is_some_and(|rest| rest.starts_with(&COSE_KEY))
        {
            return Err(decode::Error::message("cnf holds no Ed25519 COSE_Key"));
        }
        d.set_position(start + COSE_KEY.len());
        if d.i8()? != -2 {
            return Err(decode::Error::message("cnf holds no Ed25519 COSE_Key"));
        }
        KeyBytes::decode(d, ctx).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{decode_exact, to_bytes};
    use std::prelude::v1::*;

    #[test]
    fn keys_that_would_weaken_signatures_are_not_installed() {
        let mut low_order = [0; 32];
        low_order[0] = 1;
        let mut not_canonical = [0xff; 32];
        not_canonical[0] = 0xee;
        not_canonical[31] = 0x7f;
        for bad in [[0; 32], low_order, not_canonical, [0xff; 32]] {
            assert!(PublicKey::new(&Bytes(bad)).is_err(), "{bad:02x?}");
        }
    }

    #[test]
    fn a_signature_holds_for_its_message_and_key_only() {
        let secret = SecretKey::from_seed(&[7; 32]);
        let public = PublicKey::new(&secret.public()).unwrap();
        let signature = secret.sign(b"reboot");
        assert_eq!(public.verify(b"reboot", &signature), Ok(()));
        assert_eq!(
            public.verify(b"reboots", &signature),
            Err(WireError::BadSignature)
        );
        let other = PublicKey::new(&SecretKey::from_seed(&[8; 32]).public()).unwrap();
        assert!(other.verify(b"reboot", &signature).is_err());
    }

    #[test]
    fn a_confirmation_is_a_cose_key() {
        let key = Confirmation(SecretKey::from_seed(&[7; 32]).public());
        let bytes = to_bytes(&key);
        assert_eq!(bytes[..10], [0xa1, 1, 0xa3, 1, 1, 0x20, 6, 0x21, 0x58, 32]);
        assert_eq!(decode_exact(&bytes), Ok(key));
        let mut x25519 = bytes;
        x25519[6] = 4;
        assert!(decode_exact::<Confirmation>(&x25519).is_err());
    }
}
