//! Flood control, before any signature is checked. What fails verification is charged to the
//! link that brought it and never to the key that it names, since anyone can name a key. So is
//! a command that comes again, since anyone can play it again. A link that has used up what it
//! was allowed is not listened to for a moment; the others are.

use std::collections::BTreeMap;

use crate::core::io::LinkId;
use doorward_protocol::gate::Code;

/// What forgeries and copies of earlier commands are refused with.
const FAILURES: [Code; 7] = [
    Code::BadSignature,
    Code::Replay,
    Code::Late,
    Code::Early,
    Code::Epoch,
    Code::NoTime,
    Code::TtlTooLong,
];

/// How many failures a link may bring at once, and in every second. A check takes a small device
/// some two milliseconds.
#[derive(Debug, Clone, Copy)]
struct Quota {
    burst: u64,
    rate: u64,
}

/// Of a link to a broker, with everybody behind it.
const BROKER_QUOTA: Quota = Quota {
    burst: 128,
    rate: 32,
};
/// Of one client of the listener.
const CLIENT_QUOTA: Quota = Quota { burst: 16, rate: 2 };
/// What came meanwhile was not heard. Statements are asked for again after so many seconds.
const REFRESH_AFTER: u64 = 30;

struct Bucket {
    left: u64,
    /// Uptime, in seconds, at which it was filled.
    filled: u64,
}

pub(super) struct RateLimiter {
    /// The links from this one on are clients of the listener.
    clients: LinkId,
    links: BTreeMap<LinkId, Bucket>,
    /// Uptime at which the statements are to be asked for again.
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

    /// Whether a link may be listened to.
    pub(super) fn try_admit(&mut self, link: LinkId, uptime: u64) -> bool {
        let admitted = self.bucket(link, uptime).left > 0;
        // A client of the listener is told that it was not heard, and sends again by itself.
        if !admitted && !self.is_client(link) && self.refresh_at.is_none() {
            self.refresh_at = Some(uptime + REFRESH_AFTER);
        }
        admitted
    }

    /// Whether this link is one client of the listener.
    pub(super) fn is_client(&self, link: LinkId) -> bool {
        link >= self.clients
    }

    /// Charges a link for what was refused of a message: behind a broker, with its many senders,
    /// only forgeries and copies; for a client of the listener, every refusal.
    pub(super) fn charge(&mut self, link: LinkId, refused: &[Code], uptime: u64) {
        let is_client = self.is_client(link);
        let charged = |code: &&Code| is_client || FAILURES.contains(code);
        let cost = refused.iter().filter(charged).count() as u64;
        let bucket = self.bucket(link, uptime);
        bucket.left = bucket.left.saturating_sub(cost);
    }

    /// When the statements are to be asked for again, if they are.
    pub(super) fn due(&self) -> Option<u64> {
        self.refresh_at
    }

    /// Whether they are to be asked for now.
    pub(super) fn take_due_refresh(&mut self, uptime: u64) -> bool {
        self.refresh_at.take_if(|at| *at <= uptime).is_some()
    }

    fn bucket(&mut self, link: LinkId, uptime: u64) -> &mut Bucket {
        let Quota { burst, rate } = match self.is_client(link) {
            false => BROKER_QUOTA,
            true => CLIENT_QUOTA,
        };
        let bucket = self.links.entry(link).or_insert(Bucket {
            left: burst,
            filled: uptime,
        });
        let seconds = uptime.saturating_sub(bucket.filled);
        bucket.filled = bucket.filled.max(uptime);
        bucket.left = (bucket.left + seconds.saturating_mul(rate)).min(burst);
        bucket
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOUD: LinkId = LinkId(0);
    const LOCAL: LinkId = LinkId(1);
    const CLIENT: LinkId = LinkId(2);
    const BURST: u64 = BROKER_QUOTA.burst;
    const PER_SECOND: u64 = BROKER_QUOTA.rate;

    fn charge(floods: &mut RateLimiter, link: LinkId, failures: u64, uptime: u64) {
        let refused = vec![Code::BadSignature; failures as usize];
        floods.charge(link, &refused, uptime);
    }

    #[test]
    fn a_link_is_not_heard_when_it_has_brought_too_many_failures_and_the_other_is() {
        let mut floods = RateLimiter::new(CLIENT);
        charge(&mut floods, LOCAL, BURST - 1, 10);
        assert!(floods.try_admit(LOCAL, 10));
        charge(&mut floods, LOCAL, 400, 10);
        assert!(!floods.try_admit(LOCAL, 10));
        assert!(floods.try_admit(CLOUD, 10));
        assert!(floods.try_admit(LOCAL, 11));
        charge(&mut floods, LOCAL, PER_SECOND, 11);
        assert!(!floods.try_admit(LOCAL, 11));
        charge(&mut floods, LOCAL, 0, 1000);
        charge(&mut floods, LOCAL, BURST, 1000);
        assert!(
            !floods.try_admit(LOCAL, 1000),
            "it fills up to its brim only"
        );
    }

    #[test]
    fn a_client_of_the_listener_may_fail_less_than_a_link() {
        let mut floods = RateLimiter::new(CLIENT);
        charge(&mut floods, CLIENT, CLIENT_QUOTA.burst, 10);
        assert!(!floods.try_admit(CLIENT, 10));
        assert_eq!(
            floods.due(),
            None,
            "brokers are not asked for what it brought"
        );
        assert!(floods.try_admit(LinkId(3), 10), "each has its own");
        assert!(floods.try_admit(CLIENT, 11));
        charge(&mut floods, CLIENT, CLIENT_QUOTA.rate, 11);
        assert!(!floods.try_admit(CLIENT, 11));
    }

    #[test]
    fn what_was_not_heard_is_asked_for_again_once() {
        let mut floods = RateLimiter::new(CLIENT);
        assert_eq!(floods.due(), None);
        charge(&mut floods, LOCAL, BURST, 10);
        assert!(!floods.try_admit(LOCAL, 10));
        charge(&mut floods, LOCAL, BURST, 12);
        assert!(!floods.try_admit(LOCAL, 12));
        assert_eq!(floods.due(), Some(10 + REFRESH_AFTER));
        assert!(!floods.take_due_refresh(10 + REFRESH_AFTER - 1));
        assert!(floods.take_due_refresh(10 + REFRESH_AFTER));
        assert!(!floods.take_due_refresh(10 + REFRESH_AFTER));
    }
}
