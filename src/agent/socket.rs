//! The status socket: whoever may open it is told how the device is, and nothing is read.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};

use super::runtime::Running;
use crate::files::{Doing, FileError};

/// The socket's name in the state directory.
pub const STATUS_SOCKET: &str = "status.sock";

/// How long somebody who does not read is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) struct StatusSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl StatusSocket {
    /// Replaces what an earlier run left behind; the state directory is locked.
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
                tracing::warn!(%error, "the status socket failed");
                tokio::time::sleep(PATIENCE).await;
                None
            }
        }
    }

    /// Writes it beside the daemon's own work, so that nobody is held up.
    pub(super) fn answer(&self, caller: Option<UnixStream>, status: &Value) {
        let Some(mut stream) = caller else { return };
        let text = format!("{status}\n");
        tokio::spawn(async move {
            let written = async {
                stream.write_all(text.as_bytes()).await?;
                stream.shutdown().await
            };
            let _ = tokio::time::timeout(PATIENCE, written).await;
        });
    }
}

impl Drop for StatusSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Running {
    /// How the device is.
    pub(super) fn status(&mut self) -> Value {
        let facts = self.core.facts(&self.clock.read());
        let lists = facts.standing.revocations.iter();
        let lists = lists.map(|(audience, seq)| (audience.to_string(), json!(seq)));
        let refused = facts.refused.iter();
        let refused = refused.map(|(code, count)| (code.name().to_owned(), json!(count)));
        let links = self.connected.iter();
        let links = links.map(|(name, down)| {
            (
                (*name).to_owned(),
                json!({"up": down.is_none(), "why": down}),
            )
        });
        let known = self.core.known();
        let missing: Vec<String> = facts.missing.iter().map(ToString::to_string).collect();
        json!({
            "device": known.device().as_str(),
            "owner": known.registration().map(|r| r.sub.as_str()),
            "time": facts.now.estimate.to_string(),
            "time_quality": facts.now.quality,
            "uptime_s": facts.now.uptime,
            "epoch": facts.standing.epoch.hex(),
            "links": serde_json::Map::from_iter(links),
            "store": self.failed.as_deref().unwrap_or("works"),
            "since_start": self.notes,
            "registration": facts.standing.registration,
            "revocations": serde_json::Map::from_iter(lists),
            "missing": missing,
            "shares": facts.shares,
            "log": {
                "records": facts.log_size,
                "used_percent": facts.log_used,
                "acknowledged": facts.acknowledged,
            },
            "refused": serde_json::Map::from_iter(refused),
        })
    }
}
