//! The shapes of requests and answers.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};

use crate::domain::{Email, InviteCode, Refusal, RuleCode, ShareRecord};
use crate::service::ShareListing;
use doorward_protocol::wire::{Audience, Bytes, Id, Operation, Text, Timestamp};

/// Longest text in hexadecimal digits that any request may hold.
const LONGEST_HEX: usize = 60_000;

/// Declares a type that JSON holds, read by a type of ours.
macro_rules! textual {
    ($(#[$doc:meta])* $name:ident($inner:ty), $pattern:literal, $example:literal, |$text:ident| $read:expr, |$value:ident| $show:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, ToSchema)]
        #[schema(value_type = String, pattern = $pattern, example = $example)]
        pub(crate) struct $name(pub(super) $inner);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let $text = String::deserialize(deserializer)?;
                $read.map(Self).map_err(serde::de::Error::custom)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let $value = &self.0;
                serializer.collect_str(&$show)
            }
        }
    };
}

textual!(
    /// A name.
    Name(Id), "^[A-Za-z0-9._:@-]{1,64}$", "anna",
    |text| Id::new(&text), |id| id
);
textual!(
    /// A device's id, or `site:` and a site's.
    Target(Audience), "^(site:)?[A-Za-z0-9._@-]{1,59}$", "ups-7",
    |text| text.parse::<Audience>(), |audience| audience
);
textual!(
    /// 16 bytes in hexadecimal digits.
    ShareId(Bytes<16>), "^[0-9a-f]{32}$", "00112233445566778899aabbccddeeff",
    |text| Bytes::from_hex(&text).ok_or("32 hexadecimal digits are expected"), |id| id.hex()
);
textual!(
    /// An Ed25519 public key, or 32 other bytes, in hexadecimal digits.
    Key(Bytes<32>), "^[0-9a-f]{64}$",
    "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
    |text| Bytes::from_hex(&text).ok_or("64 hexadecimal digits are expected"), |key| key.hex()
);
textual!(
    /// An Ed25519 signature in hexadecimal digits.
    Signature(Bytes<64>), "^[0-9a-f]{128}$",
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    |text| Bytes::from_hex(&text).ok_or("128 hexadecimal digits are expected"), |bytes| bytes.hex()
);
textual!(
    /// Text for people: at most 200 bytes.
    Words(String), "^[^\\x00-\\x1f\\x7f-\\x9f]{0,200}$", "Fix LoRa antenna, ticket 812",
    |text| match text.chars().count() <= 200 && !text.chars().any(char::is_control) {
        true => Ok(text),
        false => Err("at most 200 characters, without control characters"),
    },
    |text| text
);

impl Words {
    /// The text, if it fits.
    pub(crate) fn text(&self) -> Result<Text, Refusal> {
        Text::new(&self.0).map_err(|rule| RuleCode::Invalid.because(rule))
    }
}

/// A whole number from 1 on. JSON knows no other numbers than decimal fractions, so `60.0` is one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seconds(pub(super) u32);

/// The largest of them: ten years in seconds.
const MOST: u32 = 315_360_000;

impl utoipa::PartialSchema for Seconds {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(1))
            .maximum(Some(MOST))
            .into()
    }
}

impl ToSchema for Seconds {}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = serde_json::Number::deserialize(deserializer)?;
        let value = number.as_f64().filter(|value| value.fract() == 0.0);
        match value.filter(|value| (1.0..=f64::from(MOST)).contains(value)) {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it is whole and in range"
            )]
            Some(value) => Ok(Self(value as u32)),
            None => Err(serde::de::Error::custom(
                "a whole number from 1 to 315360000 is expected",
            )),
        }
    }
}

textual!(
    /// Bytes in hexadecimal digits.
    Hex(Vec<u8>), "^([0-9a-f][0-9a-f]){1,30000}$", "d83d",
    |text| match text.len() {
        0..=LONGEST_HEX => data_encoding::HEXLOWER.decode(text.as_bytes()).map_err(|e| e.to_string()),
        _ => Err("too many hexadecimal digits".to_owned()),
    },
    |bytes| data_encoding::HEXLOWER.encode(bytes)
);

textual!(
    /// A whole e-mail address.
    Address(Email), "^[A-Za-z0-9][A-Za-z0-9+_-]{0,30}@[a-z0-9]{1,20}[.][a-z]{2,5}$", "anna@example.org",
    |text| Email::new(&text).map_err(|refusal| refusal.why), |email| email
);

textual!(
    /// The code of an invitation.
    GivenCode(InviteCode), "^[A-Za-z0-9]{5}-?[A-Za-z0-9]{5}$", "2345Z-2Z9AB",
    |text| match text.replacen('-', "", 1) {
        letters if letters.len() == 10
            && letters.bytes().all(|b| b.is_ascii_alphanumeric())
            && [None, Some(5)].contains(&text.find('-')) => Ok(InviteCode::typed(&letters)),
        _ => Err("a code is ten letters and digits"),
    },
    |code| code.shown()
);

textual!(
    /// A preset (full, partner, view) or an operation.
    Permission(String), "^[a-z0-9._:-]{1,64}$", "view",
    |text| Operation::new(&text).map(|operation| operation.to_string()), |text| text
);

/// A share and where it is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Share {
    /// Its id.
    id: ShareId,
    /// What is shared.
    target: Target,
    /// With whom: an account, a group, or the address that was invited.
    with: String,
    /// By whom.
    by: Name,
    /// What it grants.
    operations: Vec<String>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// When it was made, in seconds since 1970.
    made: u64,
    /// The first second at which it has ended.
    ends: u64,
    /// pending, active, active_on_device, suspended_by_plan, expired, denied, lapsed,
    /// cancel_requested, cancelled, relinquished or refused_by_device.
    status: &'static str,
    /// When it was last used, as far as is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    used: Option<u64>,
    /// How many devices have said that they have it, or that they obey its end.
    confirmed: usize,
    /// How many devices it is about.
    devices: usize,
}

impl From<&ShareListing> for Share {
    fn from(listed: &ShareListing) -> Self {
        let ShareListing {
            share,
            status,
            words,
        } = listed;
        let confirmed = words.iter().filter(|(_, word)| match share.ended {
            Some(_) => word.ended,
            None => word.version >= share.version && word.refused.is_none(),
        });
        Self {
            status: status.name(),
            confirmed: confirmed.count(),
            devices: words.len(),
            ..Self::from(share)
        }
    }
}

impl From<&ShareRecord> for Share {
    fn from(share: &ShareRecord) -> Self {
        let pending = share.recipient.key().is_none();
        Self {
            id: ShareId(share.id),
            target: Target(share.audience.clone()),
            with: share.recipient.name().to_owned(),
            by: Name(share.by.clone()),
            operations: share
                .permissions
                .iter()
                .map(|(name, _)| name.to_string())
                .collect(),
            description: share.description.as_ref().map(ToString::to_string),
            made: share.made.0,
            ends: share.end.0,
            status: if pending { "pending" } else { "active" },
            used: share.used.map(|at| at.0),
            confirmed: 0,
            devices: 0,
        }
    }
}

/// A page of a list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Page {
    /// How many to skip; a page has at most 500.
    #[serde(default)]
    #[param(required = false, value_type = u64, maximum = 4_294_967_295_u32)]
    pub(crate) from: u32,
}

/// When something ends that lasts so many seconds from now on.
pub(crate) fn end(seconds: Seconds, now: Timestamp) -> Timestamp {
    now.plus(u64::from(seconds.0))
}
