//! Rate limiter: one token bucket per client address, and one per account for sign-in attempts.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use doorward_protocol::token_bucket::{Quota, TokenBucket};

/// Maximum number of buckets kept in memory. When all are in use, buckets that are full again
/// are removed; if none is, new clients are refused.
const MAX_BUCKETS: usize = 10_000;

/// Token buckets that refill over time.
#[derive(Debug)]
pub struct RateLimiter {
    /// In ticks of a millisecond.
    quota: Quota,
    buckets: Mutex<HashMap<String, TokenBucket>>,
}

impl RateLimiter {
    /// A limiter that allows `per_minute` requests a minute per client, and bursts of the same
    /// size.
    #[must_use]
    pub fn new(per_minute: u32) -> Self {
        Self {
            quota: Quota {
                burst: per_minute.max(1).into(),
                tokens: per_minute.max(1).into(),
                period: 60_000,
            },
            buckets: Mutex::new(HashMap::new()),
        }
    }

    /// Takes `cost` tokens from the bucket of `client`. Returns `false` if it holds fewer; then
    /// none are taken. `now` is the time since the limiter was started.
    pub fn try_admit(&self, client: &str, cost: u32, now: Duration) -> bool {
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let mut buckets = match self.buckets.lock() {
            Ok(buckets) => buckets,
            Err(poisoned) => poisoned.into_inner(),
        };
        if buckets.len() >= MAX_BUCKETS && !buckets.contains_key(client) {
            // A bucket is full again after a minute, so removing it changes nothing.
            buckets.retain(|_, bucket| !bucket.is_full_by(&self.quota, now));
            if buckets.len() >= MAX_BUCKETS {
                return false;
            }
        }
        let full = TokenBucket::full(&self.quota, now);
        let bucket = buckets.entry(client.to_owned()).or_insert(full);
        bucket.try_take(&self.quota, u64::from(cost).min(self.quota.burst), now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_a_bucket_that_empties_and_refills_with_time() {
        let limiter = RateLimiter::new(60);
        let at = Duration::from_secs;
        assert!((0..60).all(|_| limiter.try_admit("a", 1, at(0))));
        assert!(!limiter.try_admit("a", 1, at(0)));
        assert!(limiter.try_admit("b", 1, at(0)));
        assert!(limiter.try_admit("a", 1, at(1)));
        assert!(!limiter.try_admit("a", 1, at(1)));
        assert!(
            limiter.try_admit("a", 500, at(600)),
            "a cost above the capacity counts as the capacity"
        );
        assert!(!limiter.try_admit("a", 1, at(600)));
    }

    #[test]
    fn the_number_of_buckets_is_limited() {
        let limiter = RateLimiter::new(60);
        for client in 0..MAX_BUCKETS {
            assert!(limiter.try_admit(&client.to_string(), 1, Duration::ZERO));
        }
        assert!(!limiter.try_admit("one more", 1, Duration::from_secs(1)));
        assert!(limiter.try_admit("one more", 1, Duration::from_secs(61)));
    }
}
