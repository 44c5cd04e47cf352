//! A secret behind a passphrase: PBKDF2 (RFC 8018) with HMAC-SHA-256, then ChaCha20-Poly1305
//! (RFC 8439). The file is a line that says so, then salt, nonce and sealed bytes.

use std::num::NonZeroU32;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::pbkdf2;

use doorward_transport::random;

const HEAD: &[u8] = b"doorkey sealed v1, PBKDF2-HMAC-SHA256 600000, ChaCha20-Poly1305\n";
/// About a quarter of a second on a laptop.
const ROUNDS: u32 = 600_000;
const SALT: usize = 16;

fn key(passphrase: &[u8], salt: &[u8]) -> Option<LessSafeKey> {
    let mut bytes = [0; 32];
    let rounds = NonZeroU32::new(ROUNDS)?;
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        rounds,
        salt,
        passphrase,
        &mut bytes,
    );
    let key = UnboundKey::new(&CHACHA20_POLY1305, &bytes).ok()?;
    Some(LessSafeKey::new(key))
}

/// Seals a secret.
pub(crate) fn seal(secret: &[u8], passphrase: &[u8]) -> std::io::Result<Vec<u8>> {
    if passphrase.len() < 8 {
        return Err(std::io::Error::other(
            "a passphrase has at least 8 characters",
        ));
    }
    let (salt, nonce) = (random::<SALT>()?, random::<NONCE_LEN>()?);
    let failed = || std::io::Error::other("it cannot be sealed");
    let key = key(passphrase, &salt).ok_or_else(failed)?;
    let mut sealed = secret.to_vec();
    let head = Aad::from(HEAD);
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), head, &mut sealed)
        .map_err(|_| failed())?;
    Ok([HEAD, &salt, &nonce, &sealed].concat())
}

/// Opens what was sealed. `None`: it is something else, was changed, or the passphrase is wrong.
pub(crate) fn open(bytes: &[u8], passphrase: &[u8]) -> Option<Vec<u8>> {
    let rest = bytes.strip_prefix(HEAD)?;
    let (salt, rest) = rest.split_at_checked(SALT)?;
    let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut sealed = sealed.to_vec();
    let key = key(passphrase, salt)?;
    let secret = key
        .open_in_place(nonce, Aad::from(HEAD), &mut sealed)
        .ok()?;
    Some(secret.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_passphrase_opens_it_and_no_bit_may_change() {
        let sealed = seal(b"secret", b"correct horse").unwrap();
        assert_eq!(
            open(&sealed, b"correct horse").as_deref(),
            Some(&b"secret"[..])
        );
        assert_eq!(open(&sealed, b"correct house"), None);
        for at in [0, HEAD.len(), HEAD.len() + SALT, sealed.len() - 1] {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(open(&changed, b"correct horse"), None, "{at}");
        }
        assert_eq!(open(&sealed[..HEAD.len() + 3], b"correct horse"), None);
        assert!(seal(b"secret", b"short").is_err());
    }
}
