//! How often anybody may ask: one bucket for each address, and one for each account that
//! somebody tries to sign in as.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

/// Most askers that are remembered; when there are more, those who have been quiet longest go.
const ASKERS: usize = 10_000;

/// Buckets that fill up again with time.
#[derive(Debug)]
pub struct RateLimiter {
    per_minute: u32,
    buckets: Mutex<HashMap<String, (Duration, f64)>>,
}

impl RateLimiter {
    /// So many requests a minute for each asker, and as many at once.
    #[must_use]
    pub fn new(per_minute: u32) -> Self {
        Self {
            per_minute: per_minute.max(1),
            buckets: Mutex::new(HashMap::new()),
        }
    }

    /// Takes `cost` requests out of an asker's bucket at a moment. Whether they were there.
    pub fn try_admit(&self, asker: &str, cost: u32, now: Duration) -> bool {
        let full = f64::from(self.per_minute);
        let mut buckets = match self.buckets.lock() {
            Ok(buckets) => buckets,
            Err(poisoned) => poisoned.into_inner(),
        };
        if buckets.len() >= ASKERS && !buckets.contains_key(asker) {
            // Full again after a minute: as if they had never asked.
            buckets.retain(|_, (last, _)| now.saturating_sub(*last) < Duration::from_secs(60));
            if buckets.len() >= ASKERS {
                return false;
            }
        }
        let (last, left) = buckets.entry(asker.to_owned()).or_insert((now, full));
        let filled = now.saturating_sub(*last).as_secs_f64() * full / 60.0;
        *left = (*left + filled).min(full);
        *last = now;
        let cost = f64::from(cost).min(full);
        let enough = *left >= cost;
        if enough {
            *left -= cost;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_empties_fills_up_with_time_and_is_nobody_elses() {
        let limits = RateLimiter::new(60);
        let at = Duration::from_secs;
        assert!((0..60).all(|_| limits.try_admit("a", 1, at(0))));
        assert!(!limits.try_admit("a", 1, at(0)));
        assert!(limits.try_admit("b", 1, at(0)));
        assert!(limits.try_admit("a", 1, at(1)));
        assert!(!limits.try_admit("a", 1, at(1)));
        assert!(
            limits.try_admit("a", 500, at(600)),
            "more than a bucket holds is a whole one"
        );
        assert!(!limits.try_admit("a", 1, at(600)));
    }

    #[test]
    fn very_many_askers_take_no_more_room() {
        let limits = RateLimiter::new(60);
        for asker in 0..ASKERS {
            assert!(limits.try_admit(&asker.to_string(), 1, Duration::ZERO));
        }
        assert!(!limits.try_admit("one more", 1, Duration::from_secs(1)));
        assert!(limits.try_admit("one more", 1, Duration::from_secs(61)));
    }
}
