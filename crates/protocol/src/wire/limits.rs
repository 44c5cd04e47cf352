//! Limits of a share: number of uses, rate, weekly windows, origin, and approvals.

use alloc::vec::Vec;

use minicbor::{Decode, Encode};

use crate::wire::{Text, Value, WireError};

/// Limits of one argument. All limits that are present apply.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct ArgLimit {
    /// The accepted values.
    #[n(0)]
    pub one_of: Option<Vec<Value>>,
    /// The minimum of an integer.
    #[n(1)]
    pub min: Option<i64>,
    /// The maximum of an integer.
    #[n(2)]
    pub max: Option<i64>,
}

impl ArgLimit {
    /// Returns whether a value satisfies the limits.
    #[must_use]
    pub fn allows(&self, value: &Value) -> bool {
        let is_listed = self.one_of.as_ref().is_none_or(|list| list.contains(value));
        let is_in_range = match (value, self.min, self.max) {
            (_, None, None) => true,
            (Value::Int(n), min, max) => {
                min.is_none_or(|min| *n >= min) && max.is_none_or(|max| *n <= max)
            }
            _ => false,
        };
        is_listed && is_in_range
    }
}

/// Limits for all operations of a share together.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Limits {
    /// Maximum number of commands.
    #[n(0)]
    pub uses: Option<u32>,
    /// Rate limit of each operation.
    #[n(1)]
    pub rate: Option<Rate>,
    /// Weekly windows in which the share is valid.
    #[n(2)]
    pub windows: Option<Windows>,
    /// The required origin of commands.
    #[n(3)]
    pub origin: Option<Way>,
    /// Number of other people who must approve a command.
    #[n(4)]
    pub approvals: Option<u8>,
}

/// A rate limit: at most `count` commands in `seconds`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Rate {
    /// Number of commands.
    #[n(0)]
    pub count: u32,
    /// Length of the period, in seconds.
    #[n(1)]
    pub seconds: u64,
}

/// The required origin of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Way {
    /// Only the site's own network.
    #[n(0)]
    Local,
    /// Only the cloud's broker.
    #[n(1)]
    Cloud,
}

/// Weekly windows in local time.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Windows {
    /// The time zone as a POSIX TZ string with its daylight-saving rule, such as
    /// `CET-1CEST,M3.5.0,M10.5.0/3`. It requires no time zone database on the device.
    #[n(0)]
    pub zone: Text,
    /// The windows; at least one must be open.
    #[n(1)]
    pub open: Vec<Window>,
}

/// One weekly window. A window across midnight is encoded as two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Window {
    /// Bit 0 is Monday, bit 6 Sunday.
    #[n(0)]
    pub days: u8,
    /// First minute of the day, 0 to 1439.
    #[n(1)]
    pub from: u16,
    /// The minute at which it closes, 1 to 1440.
    #[n(2)]
    pub until: u16,
}

impl Limits {
    pub(super) fn check(&self) -> Result<(), WireError> {
        if self.uses == Some(0) {
            return Err(WireError::Malformed("the number of uses is 0"));
        }
        if let Some(Rate { count, seconds }) = self.rate
            && !((1..=100).contains(&count) && (1..=31 * 86400).contains(&seconds))
        {
            return Err(WireError::Malformed("the rate limit is out of range"));
        }
        if self.approvals.is_some_and(|n| !(1..=3).contains(&n)) {
            return Err(WireError::Malformed("the number of approvals is 1 to 3"));
        }
        let Some(windows) = &self.windows else {
            return Ok(());
        };
        if windows.zone().is_none() {
            return Err(WireError::Malformed(
                "the time zone is not a POSIX TZ string",
            ));
        }
        let valid = |w: &Window| (1..128).contains(&w.days) && w.from < w.until && w.until <= 1440;
        if windows.open.is_empty() || windows.open.len() > 16 || !windows.open.iter().all(valid) {
            return Err(WireError::Malformed("a weekly window is out of range"));
        }
        Ok(())
    }
}

impl Windows {
    fn zone(&self) -> Option<jiff::tz::TimeZone> {
        jiff::tz::TimeZone::posix(self.zone.as_str()).ok()
    }

    /// Returns whether a window is open at a time.
    #[must_use]
    pub fn is_open(&self, time: crate::wire::Timestamp) -> bool {
        let Some(zone) = self.zone() else {
            return false;
        };
        let Some(utc) = i64::try_from(time.0)
            .ok()
            .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        else {
            return false;
        };
        let local = zone.to_datetime(utc);
        let day = local.weekday().to_monday_zero_offset();
        let minute = i32::from(local.hour()) * 60 + i32::from(local.minute());
        self.open.iter().any(|window| {
            window.days >> day & 1 == 1
                && (i32::from(window.from)..i32::from(window.until)).contains(&minute)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Timestamp;
    use std::prelude::v1::*;

    /// Monday to Friday, 8 to 17, in Berlin.
    fn office() -> Windows {
        Windows {
            zone: Text::new("CET-1CEST,M3.5.0,M10.5.0/3").unwrap(),
            open: vec![Window {
                days: 0b001_1111,
                from: 8 * 60,
                until: 17 * 60,
            }],
        }
    }

    fn at(text: &str) -> Timestamp {
        let time: jiff::Timestamp = text.parse().unwrap();
        Timestamp(u64::try_from(time.as_second()).unwrap())
    }

    #[test]
    fn windows_follow_daylight_saving() {
        for (time, open) in [
            ("2026-11-20T06:59:59Z", false),
            ("2026-11-20T07:00:00Z", true),
            ("2026-11-20T15:59:59Z", true),
            ("2026-11-20T16:00:00Z", false),
            // Saturday.
            ("2026-11-21T09:00:00Z", false),
            // In summer the same hours are an hour earlier in UTC.
            ("2026-07-20T06:00:00Z", true),
            ("2026-07-20T15:00:00Z", false),
        ] {
            assert_eq!(office().is_open(at(time)), open, "{time}");
        }
    }

    #[test]
    fn limits_out_of_range_are_refused() {
        let windows = |change: fn(&mut Windows)| {
            let mut windows = office();
            change(&mut windows);
            Limits {
                windows: Some(windows),
                ..Limits::default()
            }
        };
        assert_eq!(windows(|_| {}).check(), Ok(()));
        for bad in [
            windows(|w| w.zone = Text::new("Europe/Berlin").unwrap()),
            windows(|w| w.open.clear()),
            windows(|w| w.open = vec![w.open[0]; 17]),
            windows(|w| w.open[0].days = 0),
            windows(|w| w.open[0].days = 128),
            windows(|w| w.open[0].until = 1441),
            windows(|w| w.open[0].from = 17 * 60),
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
        let rate = |count, seconds| Limits {
            rate: Some(Rate { count, seconds }),
            ..Limits::default()
        };
        assert_eq!(rate(100, 31 * 86400).check(), Ok(()));
        for bad in [
            rate(0, 1),
            rate(101, 1),
            rate(1, 0),
            rate(1, 31 * 86400 + 1),
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
        for (uses, approvals, good) in [
            (Some(1), Some(3), true),
            (Some(0), None, false),
            (None, Some(0), false),
            (None, Some(4), false),
        ] {
            let limits = Limits {
                uses,
                approvals,
                ..Limits::default()
            };
            assert_eq!(limits.check().is_ok(), good, "{limits:?}");
        }
    }

    #[test]
    fn an_argument_keeps_every_limit_that_is_there() {
        let limit = ArgLimit {
            one_of: Some(vec![Value::Int(5), Value::Int(50), Value::from("all")]),
            min: Some(0),
            max: Some(10),
        };
        assert!(limit.allows(&Value::Int(5)));
        assert!(!limit.allows(&Value::Int(50)), "listed, but too large");
        assert!(!limit.allows(&Value::Int(6)), "in range, but not listed");
        assert!(!limit.allows(&Value::from("all")), "not an integer");
        let range = ArgLimit {
            min: Some(1),
            max: Some(2),
            one_of: None,
        };
        let allowed: Vec<i64> = (0..4).filter(|n| range.allows(&Value::Int(*n))).collect();
        assert_eq!(allowed, [1, 2]);
    }
}
