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
struct Allowance {
    burst: u64,
    rate: u64,
}

/// Of a link to a broker, with everybody behind it.
const OF_A_LINK: Allowance = Allowance {
    burst: 128,
    rate: 32,
};
/// Of one client of the listener.
const OF_A_CLIENT: Allowance = Allowance { burst: 16, rate: 2 };
/// What came meanwhile was not heard. Statements are asked for again after so many seconds.
const HEAR_AGAIN: u64 = 30;

struct Bucket {
    left: u64,
    /// Uptime, in seconds, at which it was filled.
    filled: u64,
}

pub(super) struct Floods {
    /// The links from this one on are clients of the listener.
    clients: LinkId,
    links: BTreeMap<LinkId, Bucket>,
    /// Uptime at which the statements are to be asked for again.
    hear_again: Option<u64>,
}

impl Floods {
    pub(super) fn new(clients: LinkId) -> Self {
        Self {
            clients,
            links: BTreeMap::new(),
            hear_again: None,
        }
    }

    /// Whether a link may be listened to.
    pub(super) fn admits(&mut self, link: LinkId, uptime: u64) -> bool {
        let admitted = self.bucket(link, uptime).left > 0;
        // A client of the listener is told that it was not heard, and sends again by itself.
        if !admitted && !self.is_client(link) && self.hear_again.is_none() {
            self.hear_again = Some(uptime + HEAR_AGAIN);
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
        self.hear_again
    }

    /// Whether they are to be asked for now.
    pub(super) fn over(&mut self, uptime: u64) -> bool {
        self.hear_again.take_if(|at| *at <= uptime).is_some()
    }

    fn bucket(&mut self, link: LinkId, uptime: u64) -> &mut Bucket {
        let Allowance { burst, rate } = match self.is_client(link) {
            false => OF_A_LINK,
            true => OF_A_CLIENT,
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
    const BURST: u64 = OF_A_LINK.burst;
    const PER_SECOND: u64 = OF_A_LINK.rate;

    fn charge(floods: &mut Floods, link: LinkId, failures: u64, uptime: u64) {
        let refused = vec![Code::BadSignature; failures as usize];
        floods.charge(link, &refused, uptime);
    }

    #[test]
    fn a_link_is_not_heard_when_it_has_brought_too_many_failures_and_the_other_is() {
        let mut floods = Floods::new(CLIENT);
        charge(&mut floods, LOCAL, BURST - 1, 10);
        assert!(floods.admits(LOCAL, 10));
        charge(&mut floods, LOCAL, 400, 10);
        assert!(!floods.admits(LOCAL, 10));
        assert!(floods.admits(CLOUD, 10));
        assert!(floods.admits(LOCAL, 11));
        charge(&mut floods, LOCAL, PER_SECOND, 11);
        assert!(!floods.admits(LOCAL, 11));
        charge(&mut floods, LOCAL, 0, 1000);
        charge(&mut floods, LOCAL, BURST, 1000);
        assert!(!floods.admits(LOCAL, 1000), "it fills up to its brim only");
    }

    #[test]
    fn a_client_of_the_listener_may_fail_less_than_a_link() {
        let mut floods = Floods::new(CLIENT);
        charge(&mut floods, CLIENT, OF_A_CLIENT.burst, 10);
        assert!(!floods.admits(CLIENT, 10));
        assert_eq!(
            floods.due(),
            None,
            "brokers are not asked for what it brought"
        );
        assert!(floods.admits(LinkId(3), 10), "each has its own");
        assert!(floods.admits(CLIENT, 11));
        charge(&mut floods, CLIENT, OF_A_CLIENT.rate, 11);
        assert!(!floods.admits(CLIENT, 11));
    }

    #[test]
    fn what_was_not_heard_is_asked_for_again_once() {
        let mut floods = Floods::new(CLIENT);
        assert_eq!(floods.due(), None);
        charge(&mut floods, LOCAL, BURST, 10);
        assert!(!floods.admits(LOCAL, 10));
        charge(&mut floods, LOCAL, BURST, 12);
        assert!(!floods.admits(LOCAL, 12));
        assert_eq!(floods.due(), Some(10 + HEAR_AGAIN));
        assert!(!floods.over(10 + HEAR_AGAIN - 1));
        assert!(floods.over(10 + HEAR_AGAIN));
        assert!(!floods.over(10 + HEAR_AGAIN));
    }
}
