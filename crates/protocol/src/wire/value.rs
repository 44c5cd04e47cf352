//! Arguments of commands and results of operations: small, flat, typed values.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

use minicbor::data::Type;
use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

use crate::wire::{Map, Text};

/// Maximum length of a text or byte string, in bytes.
const MAX_VALUE: usize = 1024;

/// One argument or result. There are no floats, and values do not nest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// Text of at most 1,024 bytes.
    Text(String),
    /// A byte string of at most 1,024 bytes.
    Bytes(Vec<u8>),
}

impl Map<Text, Value> {
    /// A table of results by name. An entry with an invalid name is omitted, and a value that is
    /// too long is truncated.
    pub fn named<N: AsRef<str>>(rows: impl IntoIterator<Item = (N, Value)>) -> Self {
        let rows = rows.into_iter();
        Self::new(rows.filter_map(|(name, value)| {
            let name = Text::new(name.as_ref()).ok()?;
            Some((name, value.truncated()))
        }))
    }
}

impl Value {
    fn truncated(mut self) -> Self {
        match &mut self {
            Self::Text(text) => {
                truncate(text, MAX_VALUE);
            }
            Self::Bytes(bytes) => bytes.truncate(MAX_VALUE),
            Self::Bool(_) | Self::Int(_) => {}
        }
        self
    }
}

/// Shortens a text to at most `max` bytes, at the end of a character.
pub fn truncate(text: &mut String, max: usize) {
    if let Some(end) = (0..=max.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end))
    {
        text.truncate(end);
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl core::fmt::Display for Value {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Bool(v) => write!(f, "{v}"),
            Self::Int(v) => write!(f, "{v}"),
            Self::Text(v) => write!(f, "{}", v.escape_debug()),
            Self::Bytes(v) => write!(f, "h'{}'", data_encoding::HEXLOWER.encode(v)),
        }
    }
}

impl serde::Serialize for Value {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bool(v) => s.serialize_bool(*v),
            Self::Int(v) => s.serialize_i64(*v),
            Self::Text(v) => s.serialize_str(v),
            Self::Bytes(v) => s.serialize_str(&data_encoding::HEXLOWER.encode(v)),
        }
    }
}

impl<C> Encode<C> for Value {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        match self {
            Self::Bool(v) => e.bool(*v)?,
            Self::Int(v) => e.i64(*v)?,
            Self::Text(v) => e.str(v)?,
            Self::Bytes(v) => e.bytes(v)?,
        }
        .ok()
    }
}

impl<'b, C> Decode<'b, C> for Value {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let value = match d.datatype()? {
            Type::Bool => Self::Bool(d.bool()?),
            Type::String => Self::Text(bounded(d.str()?)?.to_owned()),
            Type::Bytes => Self::Bytes(bounded(d.bytes()?)?.to_owned()),
            _ => Self::Int(d.i64()?),
        };
        Ok(value)
    }
}

fn bounded<T: AsRef<[u8]> + ?Sized>(value: &T) -> Result<&T, decode::Error> {
    if value.as_ref().len() <= MAX_VALUE {
        Ok(value)
    } else {
        Err(decode::Error::message("a value is longer than 1,024 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::prelude::v1::*;

    #[test]
    fn a_result_always_fits() {
        let rows = [
            ("long", Value::Text("\u{e9}".repeat(600))),
            ("bytes", Value::Bytes(vec![0; 2000])),
            ("control\u{7}", Value::Bool(true)),
            ("n", Value::Int(1)),
        ];
        let rows = Map::named(rows);
        assert_eq!(rows.get("long"), Some(&Value::Text("\u{e9}".repeat(512))));
        assert_eq!(rows.get("bytes"), Some(&Value::Bytes(vec![0; 1024])));
        assert_eq!(rows.len(), 3);
    }
    use crate::wire::{decode_exact, to_bytes};

    #[test]
    fn flat_typed_values_travel_and_nothing_else() {
        for value in [
            Value::Bool(true),
            Value::Int(-60),
            Value::Int(i64::MAX),
            Value::from("on"),
            Value::Bytes(vec![1, 2]),
        ] {
            assert_eq!(decode_exact(&to_bytes(&value)), Ok(value));
        }
        for (bytes, what) in [
            (&[0xf9, 0x3c, 0][..], "a float"),
            (&[0x80], "an array"),
            (&[0xa0], "a map"),
            (&[0xf6], "null"),
            (&[0x1b, 255, 255, 255, 255, 255, 255, 255, 255], "u64::MAX"),
            (&[0x61, 0xff], "text that is not UTF-8"),
        ] {
            assert!(decode_exact::<Value>(bytes).is_err(), "{what}");
        }
        assert!(decode_exact::<Value>(&to_bytes(&Value::Bytes(vec![0; 1025]))).is_err());
    }

    #[test]
    fn a_text_is_shortened_between_characters() {
        for (max, expected) in [
            (9, "aäö"),
            (5, "aäö"),
            (4, "aä"),
            (3, "aä"),
            (1, "a"),
            (0, ""),
        ] {
            let mut text = String::from("aäö");
            truncate(&mut text, max);
            assert_eq!(text, expected, "{max}");
        }
    }
}
