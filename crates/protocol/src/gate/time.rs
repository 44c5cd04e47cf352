//! What time it is, as far as that can be trusted.

use crate::wire::{Bytes, Timestamp};

/// A system clock further ahead of the floor than this is not believed: 20 years, in seconds.
const MAX_AHEAD: u64 = 20 * 365 * 86400;

/// How far a signed time may lie behind the estimate and still confirm it, in seconds.
const CONFIRMATION_TOLERANCE: u64 = 300;

/// The clocks of the machine at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockReading {
    /// System clock; anyone may have set it.
    pub system: Timestamp,
    /// Seconds since the kernel's boot; only ever rises.
    pub uptime: u64,
    /// The kernel's boot id.
    pub boot: Bytes<16>,
}

/// The device's view of the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Best estimate; never below the floor, never going back within one boot.
    pub estimate: Timestamp,
    /// What is certain without any clock but the kernel's counter: the floor, and what has
    /// passed since it was raised.
    pub lower_bound: Timestamp,
    /// 0 none, 1 floor only, 2 unsigned clock, 3 a clock confirmed by signed time this boot.
    pub quality: u8,
    /// Seconds since boot.
    pub uptime: u64,
    /// Boot id.
    pub boot: Bytes<16>,
}

/// Combines clocks and signed times into an estimate. An unsigned clock may make things
/// expire but never live longer, and it never moves the floor.
#[derive(Debug, Clone)]
pub struct TrustedClock {
    floor: Timestamp,
    built: Timestamp,
    /// The uptime at which the floor was last raised.
    floor_at: u64,
    /// The highest estimate so far, and the uptime at which it was made.
    anchor: (Timestamp, u64),
    confirmed: bool,
}

impl TrustedClock {
    /// Starts with the stored floor and the time at which this program was built.
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

    /// The time now. Remembers the estimate, so that a clock set back later changes nothing
    /// until the next boot.
    pub fn now(&mut self, reading: &ClockReading) -> Now {
        let believed = self.believes(reading.system);
        let mut estimate = self.elapsed(reading).max(self.lower_bound(reading));
        if believed {
            estimate = estimate.max(reading.system);
        }
        self.anchor = (estimate, reading.uptime);
        Now {
            estimate,
            lower_bound: self.lower_bound(reading),
            quality: match (believed, self.confirmed) {
                (true, true) => 3,
                (true, false) => 2,
                (false, _) => 1,
            },
            uptime: reading.uptime,
            boot: reading.boot,
        }
    }

    /// Takes the time of a statement whose signature held, and the floor as it is with it. A
    /// floor lower than before comes only with new issuers, who take back the word of a lost
    /// key; what had been built on it goes as well.
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

    /// The time before which it cannot be.
    #[must_use]
    pub fn floor(&self) -> Timestamp {
        self.floor
    }

    fn elapsed(&self, reading: &ClockReading) -> Timestamp {
        self.anchor
            .0
            .plus(reading.uptime.saturating_sub(self.anchor.1))
    }

    fn believes(&self, system: Timestamp) -> bool {
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
        let mut keeper = TrustedClock::new(Timestamp(0), BUILT, &reading(1_800_000_000, 10));
        assert_eq!(
            keeper.now(&reading(1_800_000_000, 10)).estimate,
            Timestamp(1_800_000_000)
        );
        let back = keeper.now(&reading(1_750_000_000, 15));
        assert_eq!(back.estimate, Timestamp(1_800_000_005));
    }

    #[test]
    fn a_clock_in_1970_or_absurdly_ahead_is_not_believed() {
        for clock in [0, 9_000_000_000] {
            let mut keeper = TrustedClock::new(Timestamp(0), BUILT, &reading(clock, 3));
            let now = keeper.now(&reading(clock, 13));
            assert_eq!((now.estimate, now.quality), (BUILT.plus(10), 1));
        }
    }

    #[test]
    fn an_unsigned_clock_never_moves_the_floor() {
        let mut keeper = TrustedClock::new(BUILT, BUILT, &reading(1_800_000_000, 0));
        keeper.now(&reading(1_800_000_000, 0));
        assert_eq!(keeper.floor(), BUILT);
        let signed = Timestamp(1_799_999_990);
        keeper.on_signed_time(signed, signed, &reading(1_800_000_000, 1));
        assert_eq!(keeper.floor(), signed);
        assert_eq!(keeper.now(&reading(1_800_000_001, 1)).quality, 3);
    }

    #[test]
    fn an_old_signed_time_confirms_nothing() {
        let mut keeper = TrustedClock::new(BUILT, BUILT, &reading(1_800_000_000, 0));
        let old = Timestamp(1_790_000_000);
        keeper.on_signed_time(old, old, &reading(1_800_000_000, 1));
        assert_eq!(keeper.now(&reading(1_800_000_001, 1)).quality, 2);
    }

    #[test]
    fn a_signed_time_that_proves_nothing_new_leaves_the_estimate_alone() {
        let mut keeper = TrustedClock::new(BUILT, BUILT, &reading(1_800_000_000, 0));
        keeper.now(&reading(1_800_000_000, 0));
        keeper.on_signed_time(Timestamp(5), BUILT, &reading(0, 10));
        let now = keeper.now(&reading(0, 20));
        assert_eq!(now.estimate, Timestamp(1_800_000_020));
    }

    #[test]
    fn what_is_certain_grows_with_the_uptime_and_not_with_the_clock() {
        let mut keeper = TrustedClock::new(BUILT, Timestamp(0), &reading(0, 50));
        keeper.now(&reading(1_800_000_000, 60));
        assert_eq!(keeper.lower_bound(&reading(0, 150)), BUILT.plus(100));
        keeper.on_signed_time(BUILT.plus(500), BUILT.plus(500), &reading(0, 200));
        assert_eq!(keeper.lower_bound(&reading(0, 201)), BUILT.plus(501));
    }

    #[test]
    fn a_floor_taken_back_takes_the_estimate_with_it_but_never_below_the_build() {
        let (mut keeper, clock) = (
            TrustedClock::new(BUILT, BUILT, &reading(0, 0)),
            BUILT.plus(90),
        );
        let far = Timestamp(4_000_000_000);
        keeper.on_signed_time(far, far, &reading(0, 10));
        assert_eq!(keeper.now(&reading(0, 20)).estimate, far.plus(10));
        keeper.on_signed_time(BUILT.plus(50), BUILT.plus(50), &reading(0, 30));
        assert_eq!(keeper.now(&reading(clock.0, 40)).estimate, clock);
        keeper.on_signed_time(Timestamp(5), Timestamp(5), &reading(0, 50));
        assert_eq!(keeper.floor(), BUILT);
    }
}
