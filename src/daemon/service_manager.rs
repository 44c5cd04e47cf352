//! What the service manager is told: that the daemon serves, and that it still does. Without one,
//! nothing is told and nobody is woken.

use std::time::Duration;

use sd_notify::NotifyState;

/// The manager's watchdog, if there is one.
pub(super) struct ServiceManager {
    every: Option<Duration>,
}

impl ServiceManager {
    /// Says that the daemon is ready.
    pub(super) fn ready() -> Self {
        tell(&[NotifyState::Ready]);
        // Twice in the time that the manager waits.
        let every = sd_notify::watchdog_enabled().map(|patience| patience / 2);
        Self { every }
    }

    /// Ready when the manager wants to hear again.
    pub(super) async fn due(&self) {
        match self.every {
            Some(every) => tokio::time::sleep(every).await,
            None => std::future::pending().await,
        }
    }

    /// Says that the loop goes round.
    pub(super) fn alive(&self) {
        tell(&[NotifyState::Watchdog]);
    }

    /// Says that it is about to end.
    pub(super) fn stopping() {
        tell(&[NotifyState::Stopping]);
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}
