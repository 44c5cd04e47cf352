//! Values on the command line, read so that a mistake says what to write.

use doorward_protocol::wire::{Bytes, Claim, Id, KeyBytes, Text, Timestamp, Value};

/// A public key: hexadecimal digits, or a file that holds them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PublicHex(pub(super) KeyBytes);

impl std::str::FromStr for PublicHex {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let hex = match KeyBytes::from_hex(text) {
            Some(key) => return Ok(Self(key)),
            None if text.ends_with(".key") => {
                return Err("that is a secret key; give the *.pub file beside it".to_owned());
            }
            None => std::fs::read_to_string(text).map_err(|error| {
                format!("neither 64 hexadecimal digits nor a file that can be read: {error}")
            })?,
        };
        KeyBytes::from_hex(hex.trim())
            .map(Self)
            .ok_or_else(|| "the file does not hold 64 hexadecimal digits".to_owned())
    }
}

/// A device by its id, or by the claim that `doorward provision` prints.
#[derive(Debug, Clone)]
pub(crate) enum DeviceArg {
    Id(Id),
    Claim(Claim),
}

impl std::str::FromStr for DeviceArg {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim().strip_prefix("doorward:") {
            Some(_) => text.parse().map(Self::Claim),
            None => text.parse().map(Self::Id),
        }
    }
}

/// A share's id.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ShareId(pub(super) Bytes<16>);

impl std::str::FromStr for ShareId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Bytes::from_hex(text)
            .map(Self)
            .ok_or("a share's id is 32 hexadecimal digits")
    }
}

/// A time, or a length of time from now.
#[derive(Debug, Clone, Copy)]
pub(crate) enum TimeArg {
    At(Timestamp),
    In(u64),
}

impl std::str::FromStr for TimeArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(time) = text.parse::<jiff::Timestamp>() {
            return u64::try_from(time.as_second())
                .map(|seconds| Self::At(Timestamp(seconds)))
                .map_err(|_| "a time before 1970".to_owned());
        }
        text.parse::<jiff::Span>()
            .and_then(|span| span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()))
            .ok()
            .and_then(|span| u64::try_from(span.as_secs()).ok())
            .filter(|&seconds| seconds > 0)
            .map(Self::In)
            .ok_or_else(|| {
                "write a length like 4h or 30d, or a time like 2027-01-31T00:00:00Z".to_owned()
            })
    }
}

impl TimeArg {
    pub(crate) fn from(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(time) => time,
            Self::In(seconds) => now.plus(seconds),
        }
    }
}

/// One argument of a command.
#[derive(Debug, Clone)]
pub(crate) struct Argument(pub(super) Text, pub(super) Value);

impl std::str::FromStr for Argument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, value) = text.split_once('=').ok_or("an argument is NAME=VALUE")?;
        let value = match (value.parse(), value.parse(), value.strip_prefix('@')) {
            (Ok(number), ..) => Value::Int(number),
            (_, Ok(flag), _) => Value::Bool(flag),
            (.., Some(file)) => {
                let read = doorward_transport::files::read(std::path::Path::new(file), 1024);
                Value::Bytes(read.map_err(|error| error.to_string())?)
            }
            _ => Value::Text(value.to_owned()),
        };
        Ok(Self(Text::new(name)?, value))
    }
}
