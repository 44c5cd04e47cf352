//! The status socket: sends the daemon's status to each client that connects, and reads nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};

use doorward_transport::files::{Doing, FileError};

/// The socket's name in the state directory.
pub const STATUS_SOCKET: &str = "status.sock";

/// Write timeout for a client, and pause after a failed accept.
const TIMEOUT: Duration = Duration::from_secs(2);

pub(super) struct StatusSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl StatusSocket {
    /// Binds the socket and replaces one left by an earlier run; the state directory is locked.
    pub(super) fn bind(state: &Path) -> Result<Self, FileError> {
        let path = state.join(STATUS_SOCKET);
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).doing("listen on", &path)?;
        Ok(Self { listener, path })
    }

    pub(super) async fn accept(&self) -> Option<UnixStream> {
        match self.listener.accept().await {
            Ok((stream, _)) => Some(stream),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection to {STATUS_SOCKET}; retrying");
                tokio::time::sleep(TIMEOUT).await;
                None
            }
        }
    }

    /// Writes the status in a task of its own, so that a slow client does not block the daemon.
    pub(super) fn answer(&self, caller: Option<UnixStream>, status: &Value) {
        let Some(mut stream) = caller else { return };
        let text = format!("{status}\n");
        tokio::spawn(async move {
            let written = async {
                stream.write_all(text.as_bytes()).await?;
                stream.shutdown().await
            };
            let _ = tokio::time::timeout(TIMEOUT, written).await;
        });
    }
}

impl Drop for StatusSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
