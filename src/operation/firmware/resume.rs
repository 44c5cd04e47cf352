//! What happens to an installation after a stop of the daemon: the new version is checked after the
//! reboot, and is marked good or left for the other slot.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::config::Firmware;
use crate::core::OperationResult;
use crate::operation::exec;
use crate::operation::firmware::{clear, failed, updater, version};
use crate::operation::logind;
use crate::operation::retry::retry;
use doorward_protocol::gate::Code;
use doorward_protocol::wire::{Hash, Map, Value};
use doorward_transport::files;

/// Longest time that an installation may continue after a restart of the daemon.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(1800);
/// Longest time that the machine may take to shut down.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(600);
/// Attempts to reach the machine's services after a reboot, when they may still be starting.
const ATTEMPTS: u32 = 120;
/// Delay between two attempts.
const DELAY: Duration = Duration::from_secs(5);

/// An installation that a stop of the daemon interrupted.
pub(super) struct ResumedInstall<'a> {
    pub(super) firmware: &'a Firmware,
    /// The version to install.
    pub(super) version: u32,
    pub(super) command: &'a Hash,
    /// The state directory.
    pub(super) state: &'a Path,
}

impl ResumedInstall<'_> {
    /// After a reboot, checks whether the requested version runs and works. Without a reboot, the
    /// running version is kept.
    pub(super) async fn resume(&self, rebooted: bool) -> OperationResult {
        if !rebooted {
            let _ = timeout(INSTALL_TIMEOUT, updater::idle(self.firmware)).await;
            let result = failed(Code::Failed, "doorward stopped during the installation");
            return mark_running_slot_good(self.firmware, result).await;
        }
        let result = self.check_running().await;
        let _ = std::fs::remove_file(self.note());
        result
    }

    async fn check_running(&self) -> OperationResult {
        let Some(running) = version(self.firmware) else {
            return failed(
                Code::Unknown,
                "the version of the running firmware is not known",
            );
        };
        if running != self.version {
            let why = format!(
                "version {running} runs: the installation was not completed, or was reverted"
            );
            return failed(Code::Failed, &why);
        }
        if let Err(why) = check(self.firmware).await {
            return self.go_back(&why).await;
        }
        if let Err(result) = retry(ATTEMPTS, DELAY, || updater::mark_good(self.firmware)).await {
            return result;
        }
        clear(self.state);
        OperationResult::done(Map::named([("version", Value::Int(running.into()))]))
    }

    /// Reboots into the other slot, once: if this version is booted again, there is no other one.
    async fn go_back(&self, why: &str) -> OperationResult {
        tracing::error!(%why, "the new firmware does not work");
        let command = self.command.hex();
        if files::read(&self.note(), 64).is_ok_and(|bytes| bytes == command.as_bytes()) {
            return failed(
                Code::Failed,
                &format!("the new firmware does not work, and was booted again: {why}"),
            );
        }
        if let Err(error) = files::replace(&self.note(), command.as_bytes(), 0o600) {
            return failed(Code::Store, &error.to_string());
        }
        let back = async {
            retry(ATTEMPTS, DELAY, || updater::mark_bad(self.firmware)).await?;
            logind::reboot().await
        };
        if let Err(result) = back.await {
            return result;
        }
        // The reboot ends this process; the result is found by the version that runs then.
        sleep(SHUTDOWN_TIMEOUT).await;
        failed(
            Code::Failed,
            &format!("the new firmware does not work, and the machine did not reboot: {why}"),
        )
    }

    /// The file that records for the next start that this version was reverted.
    fn note(&self) -> PathBuf {
        self.state.join("taken-back")
    }
}

/// Runs the self-check of a new version.
async fn check(firmware: &Firmware) -> Result<(), String> {
    if firmware.self_check.is_empty() {
        return Ok(());
    }
    let limit = Duration::from_secs(firmware.self_check_s);
    match timeout(limit, exec::output(&firmware.self_check, 1024)).await {
        Ok(Ok(output)) if output.ok => Ok(()),
        Ok(Ok(output)) => Err(format!(
            "the self-check failed with {}: {}",
            output.status, output.err
        )),
        Ok(Err(error)) => Err(error),
        Err(_) => Err("the self-check did not end within self_check_s".to_owned()),
    }
}

/// Makes the next reboot go into the running slot, after an installation that ended without a
/// reboot. Returns `result`, or with the error added to it.
pub(super) async fn mark_running_slot_good(
    firmware: &Firmware,
    result: OperationResult,
) -> OperationResult {
    match updater::keep(firmware).await {
        Ok(()) => result,
        Err(why) => {
            let why = why.message();
            let result = result.message();
            failed(
                Code::Unknown,
                &format!("{result}; the next reboot may be into another slot: {why}"),
            )
        }
    }
}
