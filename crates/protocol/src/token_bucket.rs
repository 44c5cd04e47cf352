//! A token bucket: the rate limiter of links, of connections and of HTTP clients. Time is an
//! argument, in ticks of any length.

/// The capacity of a bucket, and how fast it fills up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Tokens that a full bucket holds.
    pub burst: u64,
    /// Tokens that are added in every period.
    pub tokens: u64,
    /// Length of the period, in ticks; not 0.
    pub period: u64,
}

impl Quota {
    /// A quota whose ticks are seconds: `rate` tokens in every second.
    #[must_use]
    pub const fn per_second(burst: u64, rate: u64) -> Self {
        Self {
            burst,
            tokens: rate,
            period: 1,
        }
    }

    /// Ticks after which an empty bucket is full again.
    #[must_use]
    pub const fn refill_time(&self) -> u64 {
        self.burst.saturating_mul(self.period).div_ceil(self.tokens)
    }
}

/// One bucket. It needs its [`Quota`] at every call, so that many buckets share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenBucket {
    /// Tokens times the quota's period: nothing is lost by rounding.
    credit: u64,
    /// Tick of the last refill.
    filled: u64,
}

impl TokenBucket {
    /// A full bucket.
    #[must_use]
    pub const fn full(quota: &Quota, now: u64) -> Self {
        Self {
            credit: quota.burst.saturating_mul(quota.period),
            filled: now,
        }
    }

    /// Adds the tokens of the time since the last refill, and returns how many the bucket holds. A
    /// clock that goes back adds none.
    pub fn refill(&mut self, quota: &Quota, now: u64) -> u64 {
        let elapsed = now.saturating_sub(self.filled);
        self.filled = self.filled.max(now);
        let credit = elapsed.saturating_mul(quota.tokens);
        let capacity = quota.burst.saturating_mul(quota.period);
        self.credit = self.credit.saturating_add(credit).min(capacity);
        self.credit / quota.period
    }

    /// Takes tokens, or all that are left.
    pub fn charge(&mut self, quota: &Quota, tokens: u64) {
        let credit = tokens.saturating_mul(quota.period);
        self.credit = self.credit.saturating_sub(credit);
    }

    /// Refills the bucket and takes `tokens` if it holds that many. Returns whether it did.
    pub fn try_take(&mut self, quota: &Quota, tokens: u64, now: u64) -> bool {
        let admitted = self.refill(quota, now) >= tokens;
        if admitted {
            self.charge(quota, tokens);
        }
        admitted
    }

    /// Returns whether the bucket is certainly full at a time, so that it can be deleted.
    #[must_use]
    pub fn is_full_by(&self, quota: &Quota, now: u64) -> bool {
        now >= self.filled.saturating_add(quota.refill_time())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_empties_and_fills_up_to_its_capacity() {
        let quota = Quota::per_second(3, 2);
        let mut bucket = TokenBucket::full(&quota, 10);
        assert!((0..3).all(|_| bucket.try_take(&quota, 1, 10)));
        assert!(!bucket.try_take(&quota, 1, 10));
        assert!(!bucket.try_take(&quota, 3, 11));
        assert!(bucket.try_take(&quota, 2, 11));
        assert_eq!(bucket.refill(&quota, 1000), 3);
        bucket.charge(&quota, 500);
        assert_eq!(bucket.refill(&quota, 1000), 0);
        assert_eq!(bucket.refill(&quota, 5), 0, "a clock that goes back");
        assert!(!bucket.is_full_by(&quota, 1001));
        assert!(bucket.is_full_by(&quota, 1002));
    }

    #[test]
    fn parts_of_a_token_add_up() {
        let quota = Quota {
            burst: 60,
            tokens: 60,
            period: 60_000,
        };
        let mut bucket = TokenBucket::full(&quota, 0);
        bucket.charge(&quota, 60);
        for tick in 1..1000 {
            assert_eq!(bucket.refill(&quota, tick), 0, "{tick}");
        }
        assert_eq!(bucket.refill(&quota, 1000), 1);
    }

    #[test]
    fn no_value_overflows() {
        let quota = Quota {
            burst: u64::MAX,
            tokens: u64::MAX,
            period: u64::MAX,
        };
        let mut bucket = TokenBucket::full(&quota, 0);
        bucket.charge(&quota, u64::MAX);
        bucket.refill(&quota, u64::MAX);
        assert!(bucket.is_full_by(&quota, u64::MAX));
    }
}
