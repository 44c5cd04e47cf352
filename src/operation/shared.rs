//! State that the handlers of a device share.

use std::sync::Arc;

use tokio::sync::{Mutex, Semaphore};

use crate::config::Config;
use crate::operation::nut::Ups;
use crate::operation::settings::{Pending, SettingsContext};
use doorward_transport::TrustedTime;

/// State that the handlers of a device share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: Config,
    /// The change of settings that is being made or waits for its confirmation.
    pub(super) pending: Pending,
    pub(super) ups: Option<Ups>,
    /// The time by which certificates of servers are checked.
    pub(super) time: TrustedTime,
    /// Held while an image is fetched or installed.
    pub(super) updating: Mutex<()>,
    /// Limits reading of the complete event log to one operation at a time, to bound memory.
    pub(super) reading: Semaphore,
}

impl Shared {
    pub(super) fn new(config: &Config, time: TrustedTime) -> Arc<Self> {
        let nut = config.nut.clone();
        Arc::new(Self {
            config: config.clone(),
            pending: Pending::found(config),
            ups: nut.map(|nut| Ups {
                nut,
                time: time.clone(),
            }),
            time,
            updating: Mutex::default(),
            reading: Semaphore::new(1),
        })
    }

    pub(super) fn settings(&self) -> SettingsContext<'_> {
        SettingsContext {
            config: &self.config,
            ups: self.ups.as_ref(),
        }
    }
}
