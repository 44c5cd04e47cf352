//! What goes on beside the loop: the thread that writes.

use tokio::sync::mpsc;

use super::runtime::Event;
use crate::store::{Batch, Store};

/// What is to be made durable, and the size that the log has then.
pub(super) type Queue = std::sync::mpsc::Sender<(Batch, u64)>;

/// The thread that writes. Batches that wait together become durable together.
pub(super) fn committer(mut store: Store, events: mpsc::Sender<Event>) -> Queue {
    let (sender, queue) = std::sync::mpsc::channel::<(Batch, u64)>();
    std::thread::spawn(move || {
        while let Ok((mut batch, mut size)) = queue.recv() {
            while let Ok((later, grown)) = queue.try_recv() {
                batch.extend(later);
                size = grown;
            }
            let result = store.commit(&batch).map(|()| size);
            if events.blocking_send(Event::Durable(result)).is_err() {
                return;
            }
        }
    });
    sender
}
