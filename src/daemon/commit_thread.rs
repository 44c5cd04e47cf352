//! The thread that writes batches to the store.

use doorward_transport::files::FileError;
use tokio::sync::mpsc;

use crate::core::Batch;
use crate::store::Store;

/// Batches to make durable, each with the size of the log after it.
pub(super) type Queue = std::sync::mpsc::Sender<(Batch, u64)>;

/// The size up to which the log is durable, or the error of the write.
pub(super) type CommitResult = Result<u64, FileError>;

/// Starts the thread. Batches that wait at the same time are written together.
pub(super) fn spawn(mut store: Store, results: mpsc::Sender<CommitResult>) -> Queue {
    let (sender, queue) = std::sync::mpsc::channel::<(Batch, u64)>();
    std::thread::spawn(move || {
        while let Ok((mut batch, mut size)) = queue.recv() {
            while let Ok((later, grown)) = queue.try_recv() {
                batch.extend(later);
                size = grown;
            }
            let result = store.commit(&batch).map(|()| size);
            if results.blocking_send(result).is_err() {
                return;
            }
        }
    });
    sender
}
