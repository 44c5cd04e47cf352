//! Messages of all links, taken from one link after the other, so that a flood on one link does
//! not delay the others.

use std::task::{Context, Poll};

use tokio::sync::mpsc;

use crate::core::LinkId;
use crate::link::LinkEvent;

/// Messages of a link to a broker that can wait for the core.
pub(super) const WAITING: usize = 32;

#[derive(Default)]
pub(super) struct Inbox {
    queues: Vec<mpsc::Receiver<LinkEvent>>,
    /// The link to serve next.
    turn: usize,
}

impl Inbox {
    /// Adds a link; while `waiting` messages of it are queued, it stops reading. Links are numbered
    /// from 0 in the order of these calls.
    pub(super) fn add(&mut self, waiting: usize) -> mpsc::Sender<LinkEvent> {
        let (sender, queue) = mpsc::channel(waiting);
        self.queues.push(queue);
        sender
    }

    /// Waits for the next message.
    pub(super) async fn next(&mut self) -> (LinkId, LinkEvent) {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    /// Returns the next message, if one is queued.
    pub(super) fn try_next(&mut self) -> Option<(LinkId, LinkEvent)> {
        let mut context = Context::from_waker(std::task::Waker::noop());
        match self.poll(&mut context) {
            Poll::Ready(next) => Some(next),
            Poll::Pending => None,
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<(LinkId, LinkEvent)> {
        let count = self.queues.len();
        for offset in 0..count {
            let at = (self.turn + offset) % count;
            if let Some(queue) = self.queues.get_mut(at)
                && let Poll::Ready(Some(event)) = queue.poll_recv(context)
            {
                self.turn = at + 1;
                return Poll::Ready((LinkId(at), event));
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_served_in_turn_and_a_closed_one_is_passed_over() {
        let mut inbox = Inbox::default();
        assert!(inbox.try_next().is_none());
        let senders: Vec<_> = (0..3).map(|_| inbox.add(WAITING)).collect();
        for _ in 0..20 {
            senders[0].try_send(LinkEvent::Up).unwrap();
        }
        senders[1].try_send(LinkEvent::Up).unwrap();
        senders[2].try_send(LinkEvent::Up).unwrap();
        let served: Vec<usize> = (0..5).map(|_| inbox.try_next().unwrap().0.0).collect();
        assert_eq!(served, [0, 1, 2, 0, 0]);
        drop(senders);
        let rest = std::iter::from_fn(|| inbox.try_next()).count();
        assert_eq!(rest, 17);
    }
}
