//! Records that leave the device: once somebody keeps them, all that follow are sent to the
//! cloud's broker, in order and as they stand in the log. What counts as kept is only what is
//! acknowledged; whoever has lost some says again from where to go on.

use std::path::Path;

use tokio::sync::watch;

use crate::link::Publisher;
use doorward_transport::event_log::Tail;

/// Most bytes of one message, unless a single record is longer.
const ROOM: usize = 32 * 1024;

#[derive(Debug, Clone, Copy, Default)]
struct Wanted {
    /// Where to begin, and how often that was said.
    from: Option<(u64, u64)>,
    /// Records that are durable.
    durable: u64,
}

/// A running upload.
pub(super) struct LogUpload {
    wanted: watch::Sender<Wanted>,
    task: tokio::task::JoinHandle<()>,
}

impl LogUpload {
    /// Waits for somebody to want the records in `log`.
    pub(super) fn start(log: &Path, publisher: Publisher, topic: String) -> Self {
        let (wanted, changes) = watch::channel(Wanted::default());
        let task = tokio::spawn(upload(Tail::new(log), publisher, topic, changes));
        Self { wanted, task }
    }

    /// So many records are durable.
    pub(super) fn durable(&self, size: u64) {
        self.wanted.send_modify(|wanted| wanted.durable = size);
    }

    /// Sends all records from this one on. If some are being sent already it goes on with
    /// them, unless it is told to go back.
    pub(super) fn from(&self, record: u64, again: bool) {
        self.wanted.send_modify(|wanted| {
            wanted.from = match wanted.from {
                Some((times, _)) if again => Some((times + 1, record)),
                None => Some((0, record)),
                going_on => going_on,
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
    mut changes: watch::Receiver<Wanted>,
) {
    let (mut asked, mut next) = (None, 0);
    loop {
        let Wanted { from, durable } = *changes.borrow_and_update();
        if let Some((times, record)) = from
            && asked != Some(times)
        {
            (asked, next) = (Some(times), record);
        }
        let piece = match asked {
            Some(_) if next < durable => tail.read(next, durable, ROOM),
            _ => Ok(None),
        };
        match piece {
            Ok(Some(piece)) => {
                publisher.publish(&topic, piece.bytes, false).await;
                next = piece.first + piece.count;
                continue;
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "cannot read the log on for the upload"),
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}
