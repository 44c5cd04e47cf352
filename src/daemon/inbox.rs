//! What the links bring, one message of each in turn, so that a flood on one of them does not
//! hold up the others.

use std::task::{Context, Poll};

use tokio::sync::mpsc;

use crate::core::LinkId;
use crate::link::LinkEvent;

/// Messages of a link to a broker that wait for the core.
pub(super) const WAITING: usize = 32;

#[derive(Default)]
pub(super) struct Inbox {
    queues: Vec<mpsc::Receiver<LinkEvent>>,
    /// Whose turn it is.
    turn: usize,
}

impl Inbox {
    /// A place for one more link; while so many messages wait, it does not read on. They are
    /// numbered from 0 in this order.
    pub(super) fn add(&mut self, waiting: usize) -> mpsc::Sender<LinkEvent> {
        let (sender, queue) = mpsc::channel(waiting);
        self.queues.push(queue);
        sender
    }

    /// The next message.
    pub(super) async fn next(&mut self) -> (LinkId, LinkEvent) {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    /// The next message, if there is one already.
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
