//! Ed25519 keys. The full key is the identity; there are no truncated key ids.

use alloc::format;
use alloc::string::String;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

use crate::wire::{Bytes, WireError};

/// The 32 bytes of an encoded public key; not checked.
pub type KeyBytes = Bytes<32>;

/// A public key, checked and decompressed once, when it is installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Checks a key: a point on the curve, canonically encoded, in the prime-order group. With
    /// low-order points, or points with a torsion component, one signature could be valid for
    /// several messages or keys.
    ///
    /// # Errors
    /// [`WireError::Malformed`] if a check fails.
    pub fn new(bytes: &KeyBytes) -> Result<Self, WireError> {
        let key = VerifyingKey::from_bytes(&bytes.0)
            .map_err(|_| WireError::Malformed("the key is not a point on the curve"))?;
        let point = key.to_edwards();
        if point.compress().0 != bytes.0 {
            return Err(WireError::Malformed("the key is not canonically encoded"));
        }
        if key.is_weak() || !point.is_torsion_free() {
            return Err(WireError::Malformed(
                "the key is outside the prime-order group",
            ));
        }
        Ok(Self(key))
    }

    /// Decompresses a key from decoded claims. [`PublicKey::new`] has checked it before, and this
    /// takes a tenth of the time.
    ///
    /// # Errors
    /// [`WireError::Malformed`] if it is not a point on the curve.
    pub(crate) fn checked_before(bytes: &KeyBytes) -> Result<Self, WireError> {
        VerifyingKey::from_bytes(&bytes.0)
            .map(Self)
            .map_err(|_| WireError::Malformed("the key is not a point on the curve"))
    }

    /// The encoded key.
    #[must_use]
    pub fn bytes(&self) -> KeyBytes {
        Bytes(self.0.to_bytes())
    }

    /// Verifies a signature strictly: RFC 8032 with canonical S and R, without the cofactor.
    ///
    /// # Errors
    /// [`WireError::BadSignature`].
    // Not inlined, so that benchmarks measure the code that runs here.
    #[inline(never)]
    pub fn verify(&self, message: &[u8], signature: &[u8; 64]) -> Result<(), WireError> {
        self.0
            .verify_strict(message, &Signature::from_bytes(signature))
            .map_err(|_| WireError::BadSignature)
    }
}

/// A secret key; erased from memory when dropped, never printed.
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// A key from its 32-byte seed (RFC 8032 section 5.1.5).
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The content of a key file: the seed in hexadecimal and a line feed.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{}\n", Bytes(self.0.to_bytes()))
    }

    /// Decodes the output of [`SecretKey::to_text`].
    #[must_use]
    pub fn from_text(bytes: &[u8]) -> Option<Self> {
        let text = core::str::from_utf8(bytes).ok()?.trim();
        Some(Self::from_seed(&Bytes::<32>::from_hex(text)?.0))
    }

    /// The public key.
    #[must_use]
    pub fn public(&self) -> KeyBytes {
        Bytes(self.0.verifying_key().to_bytes())
    }

    /// Signs text outside of an envelope, such as the response to a challenge. The text must begin
    /// with the name of its purpose. The signed bytes of an envelope begin with 0x84 (RFC 9052
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

/// The `cnf` claim (RFC 8747): the holder's key as a COSE_Key of type OKP (RFC 9053 section 7.2) on
/// Ed25519.
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
            return Err(decode::Error::message("cnf is not an Ed25519 COSE_Key"));
        }
        d.set_position(start + COSE_KEY.len());
        if d.i8()? != -2 {
            return Err(decode::Error::message("cnf is not an Ed25519 COSE_Key"));
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
