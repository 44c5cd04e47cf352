//! Upload of log records: once a collector has acknowledged a part of the log, all later records
//! are published to the cloud's broker, in order and unchanged. Only acknowledged records count as
//! stored; a collector that has lost some acknowledges a lower number again.

use std::path::Path;

use tokio::sync::watch;

use crate::link::Publisher;
use doorward_transport::event_log::Tail;

/// Size limit of one message in bytes, unless a single record is larger.
const MAX_CHUNK: usize = 32 * 1024;

#[derive(Debug, Clone, Copy, Default)]
struct Target {
    /// Number of this request, and the first record to send.
    from: Option<(u64, u64)>,
    /// Number of durable records.
    durable: u64,
}

/// A running upload.
pub(super) struct LogUpload {
    target: watch::Sender<Target>,
    task: tokio::task::JoinHandle<()>,
}

impl LogUpload {
    /// Starts the task; it sends nothing before [`from`](Self::from) was called.
    pub(super) fn start(log: &Path, publisher: Publisher, topic: String) -> Self {
        let (target, changes) = watch::channel(Target::default());
        let task = tokio::spawn(upload(Tail::new(log), publisher, topic, changes));
        Self { target, task }
    }

    /// Sets the number of durable records.
    pub(super) fn durable(&self, size: u64) {
        self.target.send_modify(|target| target.durable = size);
    }

    /// Sends all records from this one on. An upload that runs already continues where it is,
    /// unless `again` restarts it.
    pub(super) fn from(&self, record: u64, again: bool) {
        self.target.send_modify(|target| {
            target.from = match target.from {
                Some((request, _)) if again => Some((request + 1, record)),
                None => Some((0, record)),
                current => current,
            };
        });
    }
}

impl Drop for LogUpload {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn upload(
    mut tail: Tail,
    publisher: Publisher,
    topic: String,
    mut changes: watch::Receiver<Target>,
) {
    let (mut active, mut next) = (None, 0);
    loop {
        let Target { from, durable } = *changes.borrow_and_update();
        if let Some((request, record)) = from
            && active != Some(request)
        {
            (active, next) = (Some(request), record);
        }
        let chunk = match active {
            Some(_) if next < durable => tail.read(next, durable, MAX_CHUNK),
            _ => Ok(None),
        };
        match chunk {
            Ok(Some(chunk)) => {
                publisher.publish(&topic, chunk.bytes, false).await;
                next = chunk.first + chunk.count;
                continue;
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, next, "log upload paused until the next record");
            }
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}
