//! Notifies the service manager that the daemon is ready and alive, see sd_notify(3). Without a
//! service manager nothing is sent and no timer runs.

use std::time::Duration;

use sd_notify::NotifyState;

/// The watchdog of the service manager, if it is enabled.
pub(super) struct ServiceManager {
    every: Option<Duration>,
}

impl ServiceManager {
    /// Reports that the daemon is ready.
    pub(super) fn ready() -> Self {
        notify(&[NotifyState::Ready]);
        // Twice per watchdog timeout.
        let every = sd_notify::watchdog_enabled().map(|timeout| timeout / 2);
        Self { every }
    }

    /// Waits until the next report is due; never returns without a watchdog.
    pub(super) async fn due(&self) {
        match self.every {
            Some(every) => tokio::time::sleep(every).await,
            None => std::future::pending().await,
        }
    }

    /// Reports that the event loop runs.
    pub(super) fn alive(&self) {
        notify(&[NotifyState::Watchdog]);
    }

    /// Reports that the daemon is stopping.
    pub(super) fn stopping() {
        notify(&[NotifyState::Stopping]);
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot notify the service manager (NOTIFY_SOCKET)");
    }
}
