//! Parsers of values on the command line. Their errors say what to write instead.

use doorward_protocol::wire::{Claim, Id, KeyBytes, Text, Timestamp, Value};

/// A public key: hexadecimal digits, or a file that contains them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PublicHex(pub(super) KeyBytes);

impl std::str::FromStr for PublicHex {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let hex = match KeyBytes::from_hex(text) {
            Some(key) => return Ok(Self(key)),
            None if text.ends_with(".key") => {
                return Err("this is a secret key; give the *.pub file beside it".to_owned());
            }
            None => std::fs::read_to_string(text).map_err(|error| {
                format!("neither 64 hexadecimal digits nor a readable file: {error}")
            })?,
        };
        KeyBytes::from_hex(hex.trim())
            .map(Self)
            .ok_or_else(|| "the file does not contain 64 hexadecimal digits".to_owned())
    }
}

/// A device, by its id or by the claim that `doorward provision` prints.
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

/// The id of a share or an invitation, or its first digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdPrefix(String);

impl IdPrefix {
    /// The lower-case hexadecimal digits.
    pub(crate) fn digits(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for IdPrefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for IdPrefix {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        match is_hex && (4..=32).contains(&text.len()) {
            true => Ok(Self(text.to_ascii_lowercase())),
            false => Err("an id is 32 hexadecimal digits, or the first of them, at least 4"),
        }
    }
}

/// A point in time: a date (midnight UTC), or a date and time with offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeArg(pub(crate) Timestamp);

impl std::str::FromStr for TimeArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let midnight = format!("{text}T00:00:00Z");
        let parsed = text
            .parse::<jiff::Timestamp>()
            .or_else(|_| midnight.parse::<jiff::Timestamp>());
        match parsed {
            Ok(time) => u64::try_from(time.as_second())
                .map(|seconds| Self(Timestamp(seconds)))
                .map_err(|_| "a time before 1970".to_owned()),
            Err(_) if text.parse::<DurationArg>().is_ok() => {
                Err("this is a duration; there is another option for it, such as --for".to_owned())
            }
            Err(_) => {
                Err("write a date like 2027-01-31, or a time like 2027-01-31T18:00:00Z".to_owned())
            }
        }
    }
}

/// A duration, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DurationArg(pub(crate) u64);

impl std::str::FromStr for DurationArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse::<jiff::Span>()
            .and_then(|span| span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()))
            .ok()
            .and_then(|span| u64::try_from(span.as_secs()).ok())
            .filter(|&seconds| seconds > 0)
            .map(Self)
            .ok_or_else(|| match text.parse::<jiff::Timestamp>() {
                Ok(_) => {
                    "this is a time; there is another option for it, such as --until".to_owned()
                }
                Err(_) => "write a duration like 4h or 30d".to_owned(),
            })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_durations_are_told_apart() {
        let time = |text: &str| text.parse::<TimeArg>();
        assert_eq!(time("2027-01-31"), time("2027-01-31T00:00:00Z"));
        assert!(time("30d").unwrap_err().contains("--for"));
        assert_eq!(
            "30d".parse::<DurationArg>(),
            Ok(DurationArg(30 * 24 * 3600))
        );
        let error = "2027-01-31T00:00:00Z".parse::<DurationArg>().unwrap_err();
        assert!(error.contains("--until"));
        assert!("-4h".parse::<DurationArg>().is_err());
    }

    #[test]
    fn an_id_may_be_shortened_to_four_digits() {
        assert_eq!("0AbC".parse::<IdPrefix>().unwrap().digits(), "0abc");
        for wrong in ["0ab", "0abx", "é0ab", &"0".repeat(33)] {
            assert!(wrong.parse::<IdPrefix>().is_err(), "{wrong}");
        }
    }
}
