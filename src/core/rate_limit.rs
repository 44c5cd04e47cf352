//! Rate limiter, applied before any signature is checked. Messages that fail verification are
//! charged to their link and never to the key that they name, since anyone can name a key. So are
//! repeated commands, since anyone can replay them. Messages of a link that has used up its quota
//! are dropped until it is refilled; other links are not affected.

use std::collections::BTreeMap;

use crate::core::io::LinkId;
use doorward_protocol::gate::Code;
use doorward_protocol::token_bucket::{Quota, TokenBucket};

/// Codes of forgeries and of copies of earlier commands.
const FAILURES: [Code; 7] = [
    Code::BadSignature,
    Code::Replay,
    Code::Late,
    Code::Early,
    Code::Epoch,
    Code::NoTime,
    Code::TtlTooLong,
];

/// Failures of a link to a broker, for all its senders. A verification takes about two milliseconds
/// on a small device.
const BROKER_QUOTA: Quota = Quota::per_second(128, 32);
/// Quota of one client of the listener.
const CLIENT_QUOTA: Quota = Quota::per_second(16, 2);
/// Messages received while throttled were dropped; retained statements are requested again after
/// this many seconds.
const REFRESH_AFTER: u64 = 30;

pub(super) struct RateLimiter {
    /// The first link that is a client of the listener; so are all links after it.
    clients: LinkId,
    links: BTreeMap<LinkId, TokenBucket>,
    /// Uptime at which the statements are to be requested again.
    refresh_at: Option<u64>,
}

impl RateLimiter {
    pub(super) fn new(clients: LinkId) -> Self {
        Self {
            clients,
            links: BTreeMap::new(),
            refresh_at: None,
        }
    }

    /// Whether the link has quota left for a message. If not, schedules a request for the retained
    /// statements.
    pub(super) fn try_admit(&mut self, link: LinkId, uptime: u64) -> bool {
        let quota = self.quota(link);
        let admitted = self.bucket(link, uptime).refill(quota, uptime) > 0;
        // A client of the listener receives a rejection and sends again by itself.
        if !admitted && !self.is_client(link) && self.refresh_at.is_none() {
            self.refresh_at = Some(uptime + REFRESH_AFTER);
        }
        admitted
    }

    /// Whether this link is a client of the listener.
    pub(super) fn is_client(&self, link: LinkId) -> bool {
        link >= self.clients
    }

    /// Charges a link for the refusals of a message: a broker, which has many senders, only for
    /// forgeries and copies; a client of the listener for every refusal.
    pub(super) fn charge(&mut self, link: LinkId, refused: &[Code], uptime: u64) {
        let is_client = self.is_client(link);
        let charged = |code: &&Code| is_client || FAILURES.contains(code);
        let cost = refused.iter().filter(charged).count() as u64;
        let quota = self.quota(link);
        let bucket = self.bucket(link, uptime);
        bucket.refill(quota, uptime);
        bucket.charge(quota, cost);
    }

    /// Uptime at which the statements are to be requested again, if any.
    pub(super) fn due(&self) -> Option<u64> {
        self.refresh_at
    }

    /// Whether they are to be requested now; clears the request.
    pub(super) fn take_due_refresh(&mut self, uptime: u64) -> bool {
        self.refresh_at.take_if(|at| *at <= uptime).is_some()
    }

    fn quota(&self, link: LinkId) -> &'static Quota {
        match self.is_client(link) {
            false => &BROKER_QUOTA,
            true => &CLIENT_QUOTA,
        }
    }

    fn bucket(&mut self, link: LinkId, uptime: u64) -> &mut TokenBucket {
        let full = TokenBucket::full(self.quota(link), uptime);
        self.links.entry(link).or_insert(full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOUD: LinkId = LinkId(0);
    const LOCAL: LinkId = LinkId(1);
    const CLIENT: LinkId = LinkId(2);
    const BURST: u64 = BROKER_QUOTA.burst;
    const PER_SECOND: u64 = BROKER_QUOTA.tokens;

    fn charge(limiter: &mut RateLimiter, link: LinkId, failures: u64, uptime: u64) {
        let refused = vec![Code::BadSignature; failures as usize];
        limiter.charge(link, &refused, uptime);
    }

    #[test]
    fn a_link_is_not_heard_when_it_has_brought_too_many_failures_and_the_other_is() {
        let mut limiter = RateLimiter::new(CLIENT);
        charge(&mut limiter, LOCAL, BURST - 1, 10);
        assert!(limiter.try_admit(LOCAL, 10));
        charge(&mut limiter, LOCAL, 400, 10);
        assert!(!limiter.try_admit(LOCAL, 10));
        assert!(limiter.try_admit(CLOUD, 10));
        assert!(limiter.try_admit(LOCAL, 11));
        charge(&mut limiter, LOCAL, PER_SECOND, 11);
        assert!(!limiter.try_admit(LOCAL, 11));
        charge(&mut limiter, LOCAL, 0, 1000);
        charge(&mut limiter, LOCAL, BURST, 1000);
        assert!(
            !limiter.try_admit(LOCAL, 1000),
            "the bucket never exceeds its capacity"
        );
    }

    #[test]
    fn a_client_of_the_listener_may_fail_less_than_a_link() {
        let mut limiter = RateLimiter::new(CLIENT);
        charge(&mut limiter, CLIENT, CLIENT_QUOTA.burst, 10);
        assert!(!limiter.try_admit(CLIENT, 10));
        assert_eq!(
            limiter.due(),
            None,
            "no request to the brokers for a client of the listener"
        );
        assert!(
            limiter.try_admit(LinkId(3), 10),
            "each client has its own quota"
        );
        assert!(limiter.try_admit(CLIENT, 11));
        charge(&mut limiter, CLIENT, CLIENT_QUOTA.tokens, 11);
        assert!(!limiter.try_admit(CLIENT, 11));
    }

    #[test]
    fn what_was_not_heard_is_asked_for_again_once() {
        let mut limiter = RateLimiter::new(CLIENT);
        assert_eq!(limiter.due(), None);
        charge(&mut limiter, LOCAL, BURST, 10);
        assert!(!limiter.try_admit(LOCAL, 10));
        charge(&mut limiter, LOCAL, BURST, 12);
        assert!(!limiter.try_admit(LOCAL, 12));
        assert_eq!(limiter.due(), Some(10 + REFRESH_AFTER));
        assert!(!limiter.take_due_refresh(10 + REFRESH_AFTER - 1));
        assert!(limiter.take_due_refresh(10 + REFRESH_AFTER));
        assert!(!limiter.take_due_refresh(10 + REFRESH_AFTER));
    }
}
