//! Encrypts a secret with a passphrase: PBKDF2 (RFC 8018) with HMAC-SHA-256, then ChaCha20-Poly1305
//! (RFC 8439). The file consists of a header line, the salt, the nonce and the ciphertext.

use std::num::NonZeroU32;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::pbkdf2;

use doorward_transport::random;

/// The header line, which is also authenticated.
const HEADER: &[u8] = b"doorkey sealed v1, PBKDF2-HMAC-SHA256 600000, ChaCha20-Poly1305\n";
/// PBKDF2 iterations: about a quarter of a second on a laptop.
const ITERATIONS: u32 = 600_000;
const SALT_LEN: usize = 16;

fn derive_key(passphrase: &[u8], salt: &[u8]) -> Option<LessSafeKey> {
    let mut bytes = [0; 32];
    let iterations = NonZeroU32::new(ITERATIONS)?;
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        iterations,
        salt,
        passphrase,
        &mut bytes,
    );
    let key = UnboundKey::new(&CHACHA20_POLY1305, &bytes).ok()?;
    Some(LessSafeKey::new(key))
}

/// Encrypts a secret.
pub(crate) fn encrypt(secret: &[u8], passphrase: &[u8]) -> std::io::Result<Vec<u8>> {
    if passphrase.len() < 8 {
        return Err(std::io::Error::other(
            "the passphrase must have at least 8 characters",
        ));
    }
    let (salt, nonce) = (random::<SALT_LEN>()?, random::<NONCE_LEN>()?);
    let failed = || std::io::Error::other("encryption failed");
    let key = derive_key(passphrase, &salt).ok_or_else(failed)?;
    let mut ciphertext = secret.to_vec();
    let aad = Aad::from(HEADER);
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut ciphertext)
        .map_err(|_| failed())?;
    Ok([HEADER, &salt, &nonce, &ciphertext].concat())
}

/// Decrypts a secret. `None` if the file has another format, was changed, or the passphrase is
/// wrong.
pub(crate) fn decrypt(bytes: &[u8], passphrase: &[u8]) -> Option<Vec<u8>> {
    let rest = bytes.strip_prefix(HEADER)?;
    let (salt, rest) = rest.split_at_checked(SALT_LEN)?;
    let (nonce, ciphertext) = rest.split_at_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut ciphertext = ciphertext.to_vec();
    let key = derive_key(passphrase, salt)?;
    let secret = key
        .open_in_place(nonce, Aad::from(HEADER), &mut ciphertext)
        .ok()?;
    Some(secret.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_passphrase_opens_it_and_no_bit_may_change() {
        let encrypted = encrypt(b"secret", b"correct horse").unwrap();
        assert_eq!(
            decrypt(&encrypted, b"correct horse").as_deref(),
            Some(&b"secret"[..])
        );
        assert_eq!(decrypt(&encrypted, b"correct house"), None);
        for at in [
            0,
            HEADER.len(),
            HEADER.len() + SALT_LEN,
            encrypted.len() - 1,
        ] {
            let mut changed = encrypted.clone();
            changed[at] ^= 1;
            assert_eq!(decrypt(&changed, b"correct horse"), None, "{at}");
        }
        assert_eq!(
            decrypt(&encrypted[..HEADER.len() + 3], b"correct horse"),
            None
        );
        assert!(encrypt(b"secret", b"short").is_err());
    }
}
