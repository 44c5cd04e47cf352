//! The import socket, for statements from a USB drive: a Unix socket that takes one bundle per
//! connection and answers with the result. It is a local link like any other; its messages are
//! trusted only because they are signed.

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

/// Read and write timeout for an import client, and pause after a failed accept.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Time limit until a bundle is durable.
const DURABLE_TIMEOUT: Duration = Duration::from_secs(30);

type Refused = BTreeMap<Code, u64>;

/// An import client that waits for the result of its bundle.
struct PendingImport {
    refused: Refused,
    answer: oneshot::Sender<Refused>,
}

/// Waiting import clients, by the number of the delivery.
#[derive(Clone, Default)]
struct Waiting(Arc<Mutex<HashMap<u64, PendingImport>>>);

impl Waiting {
    fn with<T>(&self, change: impl FnOnce(&mut HashMap<u64, PendingImport>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

pub(super) struct Import {
    /// Its link number.
    pub(super) link: LinkId,
    waiting: Waiting,
    path: PathBuf,
    task: tokio::task::JoinHandle<()>,
}

impl Import {
    /// Binds the socket and replaces one left by an earlier run; the state directory is locked and
    /// accessible to the daemon's user only.
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

    /// Counts the refusals of a bundle.
    pub(super) fn refused(&self, number: u64, refused: &[Code]) {
        self.waiting.with(|waiting| {
            if let Some(import) = waiting.get_mut(&number) {
                for code in refused {
                    *import.refused.entry(*code).or_insert(0) += 1;
                }
            }
        });
    }

    /// Answers the client: the accepted part of its bundle is durable.
    pub(super) fn acknowledge(&self, number: u64) {
        if let Some(import) = self.waiting.with(|waiting| waiting.remove(&number)) {
            let _ = import.answer.send(import.refused);
        }
    }
}

impl Drop for Import {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Serves the clients of the socket, one after the other.
async fn listen(listener: UnixListener, waiting: Waiting, events: mpsc::Sender<LinkEvent>) {
    for number in 0.. {
        match listener.accept().await {
            Ok((stream, _)) => {
                if let Err(error) = take(stream, number, &waiting, &events).await {
                    tracing::debug!(%error, "a client did not complete its import");
                }
                waiting.with(|waiting| waiting.remove(&number));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection to {IMPORT_SOCKET}; retrying");
                tokio::time::sleep(TIMEOUT).await;
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
    // One byte above the limit, so that a bundle that is too large is refused as such.
    let mut limited = (&mut stream).take(MAX_BUNDLE as u64 + 1);
    timeout(TIMEOUT, limited.read_to_end(&mut payload)).await??;
    let (sender, answer) = oneshot::channel();
    let import = PendingImport {
        refused: Refused::new(),
        answer: sender,
    };
    waiting.with(|waiting| waiting.insert(number, import));
    let message = LinkEvent::Message {
        retained: false,
        number,
        payload,
    };
    events.send(message).await.map_err(std::io::Error::other)?;
    let reply = match timeout(DURABLE_TIMEOUT, answer).await {
        Ok(Ok(refused)) => {
            let refused = refused.iter();
            let refused = refused.map(|(code, count)| (code.name().to_owned(), json!(count)));
            json!({"taken": true, "refused": serde_json::Map::from_iter(refused)})
        }
        _ => json!({"taken": false, "refused": {}}),
    };
    let text = format!("{reply}\n");
    timeout(TIMEOUT, stream.write_all(text.as_bytes())).await??;
    stream.shutdown().await
}
