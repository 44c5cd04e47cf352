//! The current time, as far as it can be trusted.

use crate::wire::{Bytes, Timestamp};

/// A system clock further ahead of the floor than this is not trusted: 20 years, in seconds.
const MAX_AHEAD: u64 = 20 * 365 * 86400;

/// Maximum age of a signed time, against the estimate, that still confirms the clock, in seconds.
const CONFIRMATION_TOLERANCE: u64 = 300;

/// The clocks of the machine at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockReading {
    /// System clock; not trusted, since it may have been set to any value.
    pub system: Timestamp,
    /// Seconds since the kernel's boot; never decreases.
    pub uptime: u64,
    /// The kernel's boot id.
    pub boot: Bytes<16>,
}

/// The device's view of the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Best estimate; never below the floor, and never decreasing within one boot.
    pub estimate: Timestamp,
    /// Certain lower bound: the floor, and the time elapsed since it was raised, by the kernel's
    /// monotonic clock.
    pub lower_bound: Timestamp,
    /// 0 none, 1 floor only, 2 unsigned clock, 3 a clock confirmed by a signed time in this boot.
    pub quality: u8,
    /// Seconds since boot.
    pub uptime: u64,
    /// Boot id.
    pub boot: Bytes<16>,
}

/// Combines clocks and signed times into an estimate. An unsigned clock can only shorten the
/// validity of statements, and it never changes the floor.
#[derive(Debug, Clone)]
pub struct TrustedClock {
    floor: Timestamp,
    built: Timestamp,
    /// The uptime at which the floor was last raised.
    floor_at: u64,
    /// The highest estimate so far, and its uptime.
    anchor: (Timestamp, u64),
    confirmed: bool,
}

impl TrustedClock {
    /// A clock with the stored floor and the build time of this program.
    #[must_use]
    pub fn new(stored: Timestamp, built: Timestamp, reading: &ClockReading) -> Self {
        let floor = stored.max(built);
        Self {
            floor,
            built,
            floor_at: reading.uptime,
            anchor: (floor, reading.uptime),
            confirmed: false,
        }
    }

    /// Returns the current time. Stores the estimate, so that a clock that is set back later has
    /// no effect until the next reboot.
    pub fn now(&mut self, reading: &ClockReading) -> Now {
        let plausible = self.is_plausible(reading.system);
        let mut estimate = self.elapsed(reading).max(self.lower_bound(reading));
        if plausible {
            estimate = estimate.max(reading.system);
        }
        self.anchor = (estimate, reading.uptime);
        Now {
            estimate,
            lower_bound: self.lower_bound(reading),
            quality: match (plausible, self.confirmed) {
                (true, true) => 3,
                (true, false) => 2,
                (false, _) => 1,
            },
            uptime: reading.uptime,
            boot: reading.boot,
        }
    }

    /// Records the time of issue of a verified statement, and the floor that results from it. The
    /// floor decreases only with new issuers, which invalidates times signed with a compromised
    /// key, and estimates based on them.
    pub fn on_signed_time(&mut self, iat: Timestamp, floor: Timestamp, reading: &ClockReading) {
        let before = self.now(reading).estimate;
        if before.since(iat) <= CONFIRMATION_TOLERANCE {
            self.confirmed = true;
        }
        let floor = floor.max(self.built);
        if floor < self.floor {
            self.anchor = (floor, reading.uptime);
        }
        if floor != self.floor {
            self.floor = floor;
            self.floor_at = reading.uptime;
        }
    }

    fn lower_bound(&self, reading: &ClockReading) -> Timestamp {
        let passed = reading.uptime.saturating_sub(self.floor_at);
        self.floor.plus(passed)
    }

    /// The lower bound of the current time from signed times and the build.
    #[must_use]
    pub fn floor(&self) -> Timestamp {
        self.floor
    }

    fn elapsed(&self, reading: &ClockReading) -> Timestamp {
        self.anchor
            .0
            .plus(reading.uptime.saturating_sub(self.anchor.1))
    }

    fn is_plausible(&self, system: Timestamp) -> bool {
        system >= self.floor && system.since(self.floor) <= MAX_AHEAD
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::prelude::v1::*;

    const BUILT: Timestamp = Timestamp(1_700_000_000);

    fn reading(system: u64, uptime: u64) -> ClockReading {
        ClockReading {
            system: Timestamp(system),
            uptime,
            boot: Bytes([1; 16]),
        }
    }

    #[test]
    fn a_clock_set_back_does_not_move_the_estimate_back() {
        let mut clock = TrustedClock::new(Timestamp(0), BUILT, &reading(1_800_000_000, 10));
        assert_eq!(
            clock.now(&reading(1_800_000_000, 10)).estimate,
            Timestamp(1_800_000_000)
        );
        let back = clock.now(&reading(1_750_000_000, 15));
        assert_eq!(back.estimate, Timestamp(1_800_000_005));
    }

    #[test]
    fn a_clock_in_1970_or_absurdly_ahead_is_not_believed() {
        for system in [0, 9_000_000_000] {
            let mut clock = TrustedClock::new(Timestamp(0), BUILT, &reading(system, 3));
            let now = clock.now(&reading(system, 13));
            assert_eq!((now.estimate, now.quality), (BUILT.plus(10), 1));
        }
    }

    #[test]
    fn an_unsigned_clock_never_moves_the_floor() {
        let mut clock = TrustedClock::new(BUILT, BUILT, &reading(1_800_000_000, 0));
        clock.now(&reading(1_800_000_000, 0));
        assert_eq!(clock.floor(), BUILT);
        let signed = Timestamp(1_799_999_990);
        clock.on_signed_time(signed, signed, &reading(1_800_000_000, 1));
        assert_eq!(clock.floor(), signed);
        assert_eq!(clock.now(&reading(1_800_000_001, 1)).quality, 3);
    }

    #[test]
    fn an_old_signed_time_confirms_nothing() {
        let mut clock = TrustedClock::new(BUILT, BUILT, &reading(1_800_000_000, 0));
        let old = Timestamp(1_790_000_000);
        clock.on_signed_time(old, old, &reading(1_800_000_000, 1));
        assert_eq!(clock.now(&reading(1_800_000_001, 1)).quality, 2);
    }

    #[test]
    fn a_signed_time_that_proves_nothing_new_leaves_the_estimate_alone() {
        let mut clock = TrustedClock::new(BUILT, BUILT, &reading(1_800_000_000, 0));
        clock.now(&reading(1_800_000_000, 0));
        clock.on_signed_time(Timestamp(5), BUILT, &reading(0, 10));
        let now = clock.now(&reading(0, 20));
        assert_eq!(now.estimate, Timestamp(1_800_000_020));
    }

    #[test]
    fn what_is_certain_grows_with_the_uptime_and_not_with_the_clock() {
        let mut clock = TrustedClock::new(BUILT, Timestamp(0), &reading(0, 50));
        clock.now(&reading(1_800_000_000, 60));
        assert_eq!(clock.lower_bound(&reading(0, 150)), BUILT.plus(100));
        clock.on_signed_time(BUILT.plus(500), BUILT.plus(500), &reading(0, 200));
        assert_eq!(clock.lower_bound(&reading(0, 201)), BUILT.plus(501));
    }

    #[test]
    fn a_floor_taken_back_takes_the_estimate_with_it_but_never_below_the_build() {
        let (mut clock, system) = (
            TrustedClock::new(BUILT, BUILT, &reading(0, 0)),
            BUILT.plus(90),
        );
        let far = Timestamp(4_000_000_000);
        clock.on_signed_time(far, far, &reading(0, 10));
        assert_eq!(clock.now(&reading(0, 20)).estimate, far.plus(10));
        clock.on_signed_time(BUILT.plus(50), BUILT.plus(50), &reading(0, 30));
        assert_eq!(clock.now(&reading(system.0, 40)).estimate, system);
        clock.on_signed_time(Timestamp(5), Timestamp(5), &reading(0, 50));
        assert_eq!(clock.floor(), BUILT);
    }
}
