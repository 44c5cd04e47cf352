//! Data types of requests and answers that several routes share.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};

use crate::domain::{Email, InviteCode, Refusal, RuleCode, ShareRecord};
use crate::service::ShareListing;
use doorward_protocol::wire::{Audience, Bytes, Id, Operation, Text, Timestamp};

/// Maximum number of hexadecimal digits in a [`Hex`] value.
const MAX_HEX_DIGITS: usize = 60_000;

/// Declares a type that is a string in JSON: its OpenAPI pattern and example, parser and formatter.
macro_rules! string_type {
    ($(#[$doc:meta])* $name:ident($inner:ty), $pattern:literal, $example:literal, |$text:ident| $parse:expr, |$value:ident| $format:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, ToSchema)]
        #[schema(value_type = String, pattern = $pattern, example = $example)]
        pub(crate) struct $name(pub(super) $inner);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let $text = String::deserialize(deserializer)?;
                $parse.map(Self).map_err(serde::de::Error::custom)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let $value = &self.0;
                serializer.collect_str(&$format)
            }
        }
    };
}

string_type!(
    /// The name of an account, a device, a group or another object.
    Name(Id), "^[A-Za-z0-9._:@-]{1,64}$", "anna",
    |text| Id::new(&text), |id| id
);
string_type!(
    /// A device id, or `site:` and a site id.
    Target(Audience), "^(site:)?[A-Za-z0-9._@-]{1,59}$", "ups-7",
    |text| text.parse::<Audience>(), |audience| audience
);
string_type!(
    /// 16 bytes in hexadecimal digits.
    ShareId(Bytes<16>), "^[0-9a-f]{32}$", "00112233445566778899aabbccddeeff",
    |text| Bytes::from_hex(&text).ok_or("32 hexadecimal digits are expected"), |id| id.hex()
);
string_type!(
    /// An Ed25519 public key, or 32 other bytes, in hexadecimal digits.
    Key(Bytes<32>), "^[0-9a-f]{64}$",
    "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
    |text| Bytes::from_hex(&text).ok_or("64 hexadecimal digits are expected"), |key| key.hex()
);
string_type!(
    /// An Ed25519 signature in hexadecimal digits.
    Signature(Bytes<64>), "^[0-9a-f]{128}$",
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    |text| Bytes::from_hex(&text).ok_or("128 hexadecimal digits are expected"), |bytes| bytes.hex()
);
string_type!(
    /// Descriptive text of at most 200 characters, without control characters.
    ShortText(String), "^[^\\x00-\\x1f\\x7f-\\x9f]{0,200}$", "Fix LoRa antenna, ticket 812",
    |text| match text.chars().count() <= 200 && !text.chars().any(char::is_control) {
        true => Ok(text),
        false => Err("at most 200 characters, without control characters"),
    },
    |text| text
);

impl ShortText {
    /// Returns the text, or a refusal if it is too long for a statement.
    pub(crate) fn text(&self) -> Result<Text, Refusal> {
        Text::new(&self.0).map_err(|rule| RuleCode::Invalid.because(rule))
    }
}

/// A whole number, at least 1: a number of seconds or of uses. JSON does not distinguish integers
/// from decimal fractions, so `60.0` is accepted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seconds(pub(super) u32);

/// The largest accepted value: ten years in seconds.
const MAX_SECONDS: u32 = 315_360_000;

impl utoipa::PartialSchema for Seconds {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(1))
            .maximum(Some(MAX_SECONDS))
            .into()
    }
}

impl ToSchema for Seconds {}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = serde_json::Number::deserialize(deserializer)?;
        let value = number.as_f64().filter(|value| value.fract() == 0.0);
        match value.filter(|value| (1.0..=f64::from(MAX_SECONDS)).contains(value)) {
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

string_type!(
    /// Bytes in hexadecimal digits.
    Hex(Vec<u8>), "^([0-9a-f][0-9a-f]){1,30000}$", "d83d",
    |text| match text.len() {
        0..=MAX_HEX_DIGITS => data_encoding::HEXLOWER.decode(text.as_bytes()).map_err(|e| e.to_string()),
        _ => Err("too many hexadecimal digits".to_owned()),
    },
    |bytes| data_encoding::HEXLOWER.encode(bytes)
);

string_type!(
    /// A complete e-mail address.
    Address(Email), "^[A-Za-z0-9][A-Za-z0-9+_-]{0,30}@[a-z0-9]{1,20}[.][a-z]{2,5}$", "anna@example.org",
    |text| Email::new(&text).map_err(|refusal| refusal.why), |email| email
);

string_type!(
    /// The code of an invitation.
    InvitationCode(InviteCode), "^[A-Za-z0-9]{5}-?[A-Za-z0-9]{5}$", "2345Z-2Z9AB",
    |text| match text.replacen('-', "", 1) {
        characters if characters.len() == 10
            && characters.bytes().all(|b| b.is_ascii_alphanumeric())
            && [None, Some(5)].contains(&text.find('-')) => Ok(InviteCode::from_input(&characters)),
        _ => Err("a code consists of ten letters and digits"),
    },
    |code| code.formatted()
);

string_type!(
    /// A preset (full, partner, view) or an operation.
    Permission(String), "^[a-z0-9._:-]{1,64}$", "view",
    |text| Operation::new(&text).map(|operation| operation.to_string()), |text| text
);

/// A share and its status.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Share {
    /// The share's id.
    id: ShareId,
    /// The device or site that is shared.
    target: Target,
    /// The recipient: an account, a group, or the address or name that was invited.
    with: String,
    /// The account that shares.
    by: Name,
    /// The operations that the share grants.
    operations: Vec<String>,
    /// The purpose of the share.
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// When the share was created, in seconds since 1970.
    made: u64,
    /// When the share ends, in seconds since 1970.
    ends: u64,
    /// pending, active, active_on_device, suspended_by_plan, expired, denied, lapsed,
    /// cancel_requested, cancelled, relinquished or refused_by_device.
    status: &'static str,
    /// When the share was last used, in seconds since 1970, as far as the platform knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    used: Option<u64>,
    /// How many devices have confirmed the share, or its end once it has ended.
    confirmed: usize,
    /// How many devices the share is for.
    devices: usize,
}

impl From<&ShareListing> for Share {
    fn from(listing: &ShareListing) -> Self {
        let ShareListing {
            share,
            status,
            reports,
        } = listing;
        let confirmed = reports.iter().filter(|(_, report)| match share.ended {
            Some(_) => report.ended,
            None => report.version >= share.version && report.refused.is_none(),
        });
        Self {
            status: status.name(),
            confirmed: confirmed.count(),
            devices: reports.len(),
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
    /// How many entries to skip. A page has at most 500.
    #[serde(default)]
    #[param(required = false, value_type = u64, maximum = 4_294_967_295_u32)]
    pub(crate) from: u32,
}

/// Returns the time `seconds` after `now`.
pub(crate) fn end_after(seconds: Seconds, now: Timestamp) -> Timestamp {
    now.plus(u64::from(seconds.0))
}
