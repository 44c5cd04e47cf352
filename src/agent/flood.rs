//! Flood control, before any signature is checked. What fails verification is charged to the
//! link that brought it and never to the key that it names, since anyone can name a key. So is
//! a command that comes again, since anyone can play it again. A link that has used up what it
//! was allowed is not listened to for a moment; the others are.

use std::collections::BTreeMap;

use super::core::Core;
use super::step::LinkId;
use crate::gate::Code;

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

/// So many failures a link may bring at once ...
const BURST: u64 = 128;
/// ... and so many in every second. A check takes a small device some two milliseconds.
const PER_SECOND: u64 = 32;
/// What came meanwhile was not heard. Statements are asked for again after so many seconds.
const HEAR_AGAIN: u64 = 30;

struct Bucket {
    left: u64,
    /// Uptime, in seconds, at which it was filled.
    filled: u64,
}

#[derive(Default)]
pub(super) struct Floods {
    links: BTreeMap<LinkId, Bucket>,
    /// Uptime at which the statements are to be asked for again.
    hear_again: Option<u64>,
}

impl Floods {
    /// Whether a link may be listened to.
    pub(super) fn admits(&mut self, link: LinkId, uptime: u64) -> bool {
        let admitted = self.bucket(link, uptime).left > 0;
        if !admitted && self.hear_again.is_none() {
            self.hear_again = Some(uptime + HEAR_AGAIN);
        }
        admitted
    }

    /// Charges a link with so many failures.
    pub(super) fn charge(&mut self, link: LinkId, failures: u64, uptime: u64) {
        let bucket = self.bucket(link, uptime);
        bucket.left = bucket.left.saturating_sub(failures);
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
        let bucket = self.links.entry(link).or_insert(Bucket {
            left: BURST,
            filled: uptime,
        });
        let seconds = uptime.saturating_sub(bucket.filled);
        bucket.filled = bucket.filled.max(uptime);
        bucket.left = (bucket.left + seconds.saturating_mul(PER_SECOND)).min(BURST);
        bucket
    }
}

impl Core {
    /// How many forgeries and copies came so far.
    pub(super) fn failures(&self) -> u64 {
        let counted = FAILURES.iter().filter_map(|code| self.refused.get(code));
        counted.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOUD: LinkId = LinkId(0);
    const LOCAL: LinkId = LinkId(1);

    #[test]
    fn a_link_is_not_heard_when_it_has_brought_too_many_failures_and_the_other_is() {
        let mut floods = Floods::default();
        floods.charge(LOCAL, BURST - 1, 10);
        assert!(floods.admits(LOCAL, 10));
        floods.charge(LOCAL, 400, 10);
        assert!(!floods.admits(LOCAL, 10));
        assert!(floods.admits(CLOUD, 10));
        assert!(floods.admits(LOCAL, 11));
        floods.charge(LOCAL, PER_SECOND, 11);
        assert!(!floods.admits(LOCAL, 11));
        floods.charge(LOCAL, 0, 1000);
        floods.charge(LOCAL, BURST, 1000);
        assert!(!floods.admits(LOCAL, 1000), "it fills up to its brim only");
    }

    #[test]
    fn what_was_not_heard_is_asked_for_again_once() {
        let mut floods = Floods::default();
        assert_eq!(floods.due(), None);
        floods.charge(LOCAL, BURST, 10);
        assert!(!floods.admits(LOCAL, 10));
        floods.charge(LOCAL, BURST, 12);
        assert!(!floods.admits(LOCAL, 12));
        assert_eq!(floods.due(), Some(10 + HEAR_AGAIN));
        assert!(!floods.over(10 + HEAR_AGAIN - 1));
        assert!(floods.over(10 + HEAR_AGAIN));
        assert!(!floods.over(10 + HEAR_AGAIN));
    }
}
