//! Pairing texts, which people transfer as text or QR code: the issuer that a device is to trust,
//! and the claim with which an owner registers a device.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use data_encoding::BASE64URL_NOPAD;

use crate::wire::{Id, KeyBytes};

/// The prefixes of the two texts.
const ISSUERS: &str = "doorward:issuers?";
const CLAIM: &str = "doorward:claim?";

/// Maximum length of a pairing text, in bytes.
pub const MAX_PAIRING_TEXT: usize = 8192;

/// Encodes an issuer's `issuers.cwt`: base64url without padding (RFC 4648 section 5).
#[must_use]
pub fn encode_issuers(file: &[u8]) -> String {
    format!("{ISSUERS}{}", BASE64URL_NOPAD.encode(file))
}

/// Decodes the output of [`encode_issuers`] to the bytes of `issuers.cwt`; `None` for any other
/// text. Line breaks and blanks, as terminals and e-mail insert them, are ignored.
#[must_use]
pub fn decode_issuers(text: &str) -> Option<Vec<u8>> {
    if text.len() > MAX_PAIRING_TEXT {
        return None;
    }
    let text: String = text.split_whitespace().collect();
    BASE64URL_NOPAD
        .decode(text.strip_prefix(ISSUERS)?.as_bytes())
        .ok()
}

/// Formats a SHA-256 in groups of four digits, for comparison by people.
#[must_use]
pub fn format_fingerprint(hex: &str) -> String {
    let mut grouped = String::with_capacity(hex.len() + hex.len() / 4);
    for (at, digit) in hex.chars().enumerate() {
        if at > 0 && at % 4 == 0 {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}

/// Number of characters of a claim secret: 80 random bits.
const SECRET_LENGTH: usize = 16;
/// Digits and letters that are not easily confused.
pub const UNAMBIGUOUS_ALPHABET: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";

/// The claim that a new device prints once: the account that presents it to the platform becomes
/// the owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The device.
    pub device: Id,
    /// Its public key.
    pub key: KeyBytes,
    /// The one-time secret, such as `4K7M-…`.
    pub secret: String,
}

impl Claim {
    /// Creates a secret from random bytes, in groups of four characters.
    #[must_use]
    pub fn secret(random: &[u8; SECRET_LENGTH]) -> String {
        let mut secret = String::with_capacity(SECRET_LENGTH + 3);
        for (at, byte) in random.iter().enumerate() {
            if at > 0 && at % 4 == 0 {
                secret.push('-');
            }
            let character = UNAMBIGUOUS_ALPHABET.get(usize::from(byte % 32));
            secret.push(character.map_or('2', |character| char::from(*character)));
        }
        secret
    }
}

impl core::fmt::Display for Claim {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self {
            device,
            key,
            secret,
        } = self;
        write!(
            f,
            "{CLAIM}device={device}&key={}&secret={secret}",
            key.hex()
        )
    }
}

impl core::str::FromStr for Claim {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const INVALID: &str = "not a claim as printed by `doorward provision`";
        if text.len() > MAX_PAIRING_TEXT {
            return Err(INVALID);
        }
        let fields = text.trim().strip_prefix(CLAIM).ok_or(INVALID)?;
        let mut found = [None; 3];
        for field in fields.split('&') {
            let (name, value) = field.split_once('=').ok_or(INVALID)?;
            let place = ["device", "key", "secret"]
                .iter()
                .position(|it| *it == name)
                .and_then(|at| found.get_mut(at))
                .filter(|place| place.is_none())
                .ok_or(INVALID)?;
            *place = Some(value);
        }
        let [Some(device), Some(key), Some(secret)] = found else {
            return Err(INVALID);
        };
        let is_allowed = |byte: u8| byte == b'-' || byte.is_ascii_alphanumeric();
        if secret.len() > 64 || !secret.bytes().all(is_allowed) {
            return Err(INVALID);
        }
        Ok(Self {
            device: Id::new(device)?,
            key: KeyBytes::from_hex(key).ok_or(INVALID)?,
            secret: secret.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Bytes;
    use std::prelude::v1::*;

    fn claim() -> Claim {
        Claim {
            device: Id::new("ups-7").unwrap(),
            key: Bytes([7; 32]),
            secret: Claim::secret(&[0, 31, 32, 255, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
        }
    }

    #[test]
    fn a_claim_comes_back_from_its_text() {
        let claim = claim();
        assert_eq!(claim.secret, "2Z2Z-3456-789A-BCDE");
        let text = claim.to_string();
        assert_eq!(text.parse(), Ok(claim.clone()));
        assert_eq!(format!(" {text}\n").parse(), Ok(claim));
    }

    #[test]
    fn what_is_no_claim_is_refused() {
        let text = claim().to_string();
        for wrong in [
            "",
            "doorward:claim?",
            "doorward:issuers?AAAA",
            &text.replace("key=07", "key="),
            &text.replace("&secret", "&device=x&secret"),
            &text.replace("device=ups-7&", ""),
            &text.replace("device=ups-7", "device=ups 7"),
            &format!("{text}&more=1"),
            &format!("{text}{}", "A".repeat(MAX_PAIRING_TEXT)),
            &text.replace("2Z2Z", "2Z/Z"),
        ] {
            assert!(wrong.parse::<Claim>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn issuers_come_back_from_their_text_however_it_was_broken() {
        let bytes: Vec<u8> = (0..=255).collect();
        let text = encode_issuers(&bytes);
        assert_eq!(decode_issuers(&text), Some(bytes.clone()));
        let broken = text.replace("AQ", "\n  AQ");
        assert_eq!(decode_issuers(&broken), Some(bytes));
        assert_eq!(decode_issuers("issuers.cwt"), None);
        assert_eq!(decode_issuers(&format!("{text}=")), None);
        assert_eq!(decode_issuers(&" ".repeat(MAX_PAIRING_TEXT + 1)), None);
    }

    #[test]
    fn a_fingerprint_is_read_in_groups() {
        assert_eq!(format_fingerprint("0123456789"), "0123 4567 89");
    }
}
