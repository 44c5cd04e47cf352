//! Ids, operations, text and times. Each type checks its rule while it is decoded.

use alloc::boxed::Box;

use arrayvec::ArrayString;
use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

/// 9999-12-30T22:00:00Z, the last time whose year has four digits in every time zone. Later times
/// are refused, so that every time can be printed and sums of times do not overflow.
pub const MAX_TIMESTAMP: u64 = 253_402_207_200;

/// Seconds since 1970-01-01T00:00:00Z (RFC 8392 NumericDate, unsigned integers only).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// This time plus a number of seconds, at most [`MAX_TIMESTAMP`].
    #[must_use]
    pub fn plus(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(seconds).min(MAX_TIMESTAMP))
    }

    /// Seconds from `earlier` to this time; 0 if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl core::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match i64::try_from(self.0)
            .ok()
            .and_then(|s| jiff::Timestamp::from_second(s).ok())
        {
            Some(time) => write!(f, "{time}"),
            None => write!(f, "{} s", self.0),
        }
    }
}

impl<C> Encode<C> for Timestamp {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.u64(self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Timestamp {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        match d.u64()? {
            seconds if seconds <= MAX_TIMESTAMP => Ok(Self(seconds)),
            _ => Err(decode::Error::message("a time after the year 9999")),
        }
    }
}

/// Maximum length of a name, in bytes.
const MAX_NAME: usize = 64;

/// A name is stored inline, so that a command without arguments is decoded and decided without
/// allocation.
type Name = ArrayString<MAX_NAME>;

/// Declares a text type whose values satisfy a rule.
macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $held:ty, $rule:expr, $message:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name($held);

        impl $name {
            /// A value with this text.
            ///
            /// # Errors
            /// The rule, if the text violates it.
            pub fn new(text: &str) -> Result<Self, &'static str> {
                let rule: fn(&str) -> bool = $rule;
                if !rule(text) {
                    return Err($message);
                }
                text.try_into().map(Self).map_err(|_| $message)
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl core::str::FromStr for $name {
            type Err = &'static str;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::new(text)
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                self.as_str() == other
            }
        }

        impl<C> Encode<C> for $name {
            fn encode<W: encode::Write>(
                &self,
                e: &mut Encoder<W>,
                _: &mut C,
            ) -> Result<(), encode::Error<W::Error>> {
                e.str(&self.0)?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
                Self::new(d.str()?).map_err(decode::Error::message)
            }
        }
    };
}

fn is_id(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._:@-".contains(&b))
}

text_type!(
    /// The id of a device, site, account, issuer or group: `[A-Za-z0-9._:@-]{1,64}`, compared byte
    /// by byte.
    Id,
    Name,
    is_id,
    "an id is 1 to 64 of A-Z a-z 0-9 . _ : @ -"
);

text_type!(
    /// The name of an operation, which is also the name of its permission, like `device.reboot`
    /// or `power.outlet.cycle:2`.
    Operation,
    Name,
    |text| (1..=MAX_NAME).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._:-".contains(&b)),
    "an operation is 1 to 64 of a-z 0-9 . _ : -"
);

text_type!(
    /// Free text for people: at most 200 bytes, without control characters. Not trusted.
    Text,
    Box<str>,
    |text| text.len() <= 200 && !text.chars().any(char::is_control),
    "free text is at most 200 bytes, without control characters"
);

const SITE: &str = "site:";

/// The audience of a statement: one device, or every device of one site. There is no "all".
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Audience {
    /// One device, by its id.
    Device(Id),
    /// All devices whose registration names this site.
    Site(Id),
}

/// Checks that a name can be a device id: `site` and names that begin with `site:` would be taken for
/// a site in topics and audiences.
///
/// # Errors
/// The rule that it breaks.
pub fn check_device_id(id: &Id) -> Result<(), &'static str> {
    match id.as_str() == "site" || id.as_str().starts_with(SITE) {
        true => Err("a device id must not be `site`, nor begin with `site:`"),
        false => Ok(()),
    }
}

impl core::fmt::Display for Audience {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Device(id) => write!(f, "{id}"),
            Self::Site(id) => write!(f, "{SITE}{id}"),
        }
    }
}

impl core::str::FromStr for Audience {
    type Err = &'static str;

    /// Parses an audience by its prefix: a device id must not begin with `site:`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix(SITE) {
            Some(site) => Id::new(site).map(Self::Site),
            None => Id::new(text).map(Self::Device),
        }
    }
}

impl<C> Encode<C> for Audience {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        match self {
            Self::Device(id) => id.encode(e, ctx),
            Self::Site(id) => {
                let mut text = ArrayString::<{ SITE.len() + MAX_NAME }>::new();
                text.push_str(SITE);
                text.push_str(id.as_str());
                e.str(&text)?.ok()
            }
        }
    }
}

impl<'b, C> Decode<'b, C> for Audience {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        d.str()?.parse().map_err(decode::Error::message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{decode_exact, to_bytes};
    use std::prelude::v1::*;

    #[test]
    fn ids_are_short_and_plain() {
        for good in ["a", "ups-7.rack@site:2", &"x".repeat(64)] {
            assert!(Id::new(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "a/b", "a+", "#", "ü", "a\0", &"x".repeat(65)] {
            assert!(Id::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_audience_is_a_device_or_a_site_and_never_empty() {
        let site: Audience = "site:north".parse().unwrap();
        assert_eq!(site, Audience::Site(Id::new("north").unwrap()));
        assert_eq!(decode_exact::<Audience>(&to_bytes(&site)), Ok(site));
        assert!("".parse::<Audience>().is_err());
        assert!("site:".parse::<Audience>().is_err());
    }

    #[test]
    fn a_time_after_the_year_9999_is_refused() {
        assert!(decode_exact::<Timestamp>(&to_bytes(&(MAX_TIMESTAMP + 1))).is_err());
        let last = Timestamp(MAX_TIMESTAMP);
        assert_eq!(decode_exact(&to_bytes(&last)), Ok(last));
        assert_eq!(last.to_string(), "9999-12-30T22:00:00Z");
        assert_eq!(last.plus(5), last);
    }

    #[test]
    fn free_text_cannot_move_the_cursor() {
        assert!(Text::new("Fix LoRa antenna, ticket 812").is_ok());
        assert!(Text::new("a\x1b[2J").is_err());
        assert!(Text::new(&"x".repeat(201)).is_err());
    }

    #[test]
    fn a_device_cannot_be_named_like_a_site() {
        for (id, allowed) in [
            ("ups-7", true),
            ("sites", true),
            ("site", false),
            ("site:north", false),
        ] {
            assert_eq!(
                check_device_id(&Id::new(id).unwrap()).is_ok(),
                allowed,
                "{id}"
            );
        }
    }
}
