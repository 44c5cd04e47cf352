//! Statements that somebody brings to the device on a stick: a Unix socket that takes one bundle
//! a connection and says what became of it. It is a local link like any other; what comes over
//! it counts because it is signed.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::core::LinkId;
use crate::link::LinkEvent;
use doorward_protocol::gate::Code;
use doorward_protocol::wire::MAX_BUNDLE;
use doorward_transport::files::{Doing, FileError};

/// The socket's name in the state directory.
pub const IMPORT_SOCKET: &str = "import.sock";

/// How long somebody who says nothing is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long it may take until a bundle is durable.
const DURABLE: Duration = Duration::from_secs(30);

type Refused = BTreeMap<Code, u64>;

/// Somebody who waits for the word on a bundle.
struct PendingImport {
    refused: Refused,
    answer: oneshot::Sender<Refused>,
}

/// Those who wait, by the number of the delivery.
#[derive(Clone, Default)]
struct Waiting(Arc<Mutex<HashMap<u64, PendingImport>>>);

impl Waiting {
    fn with<T>(&self, change: impl FnOnce(&mut HashMap<u64, PendingImport>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

pub(super) struct Import {
    /// Its number among the links.
    pub(super) link: LinkId,
    waiting: Waiting,
    path: PathBuf,
    task: tokio::task::JoinHandle<()>,
}

impl Import {
    /// Replaces what an earlier run left behind; the state directory is locked, and nobody
    /// else may enter it.
    pub(super) fn bind(
        state: &Path,
        link: LinkId,
        events: mpsc::Sender<LinkEvent>,
    ) -> Result<Self, FileError> {
        let path = state.join(IMPORT_SOCKET);
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).doing("listen on", &path)?;
        let waiting = Waiting::default();
        let task = tokio::spawn(listen(listener, waiting.clone(), events));
        Ok(Self {
            link,
            waiting,
            path,
            task,
        })
    }

    /// What of a bundle was refused.
    pub(super) fn refused(&self, number: u64, refused: &[Code]) {
        self.waiting.with(|waiting| {
            if let Some(asker) = waiting.get_mut(&number) {
                for code in refused {
                    *asker.refused.entry(*code).or_insert(0) += 1;
                }
            }
        });
    }

    /// The rest of a bundle is durable.
    pub(super) fn acknowledge(&self, number: u64) {
        if let Some(asker) = self.waiting.with(|waiting| waiting.remove(&number)) {
            let _ = asker.answer.send(asker.refused);
        }
    }
}

impl Drop for Import {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

/// One at a time.
async fn listen(listener: UnixListener, waiting: Waiting, events: mpsc::Sender<LinkEvent>) {
    for number in 0.. {
        match listener.accept().await {
            Ok((stream, _)) => {
                if let Err(error) = take(stream, number, &waiting, &events).await {
                    tracing::debug!(%error, "somebody did not finish an import");
                }
                waiting.with(|waiting| waiting.remove(&number));
            }
            Err(error) => {
                tracing::warn!(%error, "the import socket failed");
                tokio::time::sleep(PATIENCE).await;
            }
        }
    }
}

async fn take(
    mut stream: UnixStream,
    number: u64,
    waiting: &Waiting,
    events: &mpsc::Sender<LinkEvent>,
) -> std::io::Result<()> {
    let mut payload = Vec::new();
    // One more than there may be, so that the gate sees that it is too much.
    let mut limited = (&mut stream).take(MAX_BUNDLE as u64 + 1);
    timeout(PATIENCE, limited.read_to_end(&mut payload)).await??;
    let (sender, answer) = oneshot::channel();
    let asker = PendingImport {
        refused: Refused::new(),
        answer: sender,
    };
    waiting.with(|waiting| waiting.insert(number, asker));
    let message = LinkEvent::Message {
        retained: false,
        number,
        payload,
    };
    events.send(message).await.map_err(std::io::Error::other)?;
    let word = match timeout(DURABLE, answer).await {
        Ok(Ok(refused)) => {
            let refused = refused.iter();
            let refused = refused.map(|(code, count)| (code.name().to_owned(), json!(count)));
            json!({"taken": true, "refused": serde_json::Map::from_iter(refused)})
        }
        _ => json!({"taken": false, "refused": {}}),
    };
    let text = format!("{word}\n");
    timeout(PATIENCE, stream.write_all(text.as_bytes())).await??;
    stream.shutdown().await
}
