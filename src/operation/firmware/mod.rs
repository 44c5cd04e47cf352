//! The machine's firmware: an image that a signed release names, from the configured sources
//! only, checked to the byte, installed by the machine's own updater, and kept only if it works
//! after the boot.

mod fetch;
mod http;
mod updater;

pub(super) use fetch::{clear, drop_parts};

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::config::{Config, Definition, Firmware, UpdaterKind};
use crate::core::OperationResult;
use crate::operation::OperationContext;
use crate::operation::exec;
use crate::operation::logind;
use crate::operation::nut::Ups;
use crate::operation::retry::retry;
use doorward_protocol::gate::{Code, Permit};
use doorward_protocol::wire::{Hash, Map, Operation, ReleaseBody, Value};
use doorward_transport::TrustedTime;
use doorward_transport::files;

/// How long an installation may go on after doorward was started again.
const INSTALLING: Duration = Duration::from_secs(1800);
/// How long the machine may take to go down.
const BOOTING: Duration = Duration::from_secs(600);
/// How often the machine's services are asked after a boot, when they may only be starting, and
/// the pause between.
const ATTEMPTS: u32 = 120;
const PAUSE: Duration = Duration::from_secs(5);

/// What is done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirmwareOperation {
    /// The image is fetched and checked.
    Stage,
    /// It is installed, and the machine boots into it.
    Install,
    /// The machine boots into what it had before.
    Rollback,
}

impl FirmwareOperation {
    /// The step that an operation is.
    #[must_use]
    pub fn of(name: &Operation) -> Option<Self> {
        match name.as_str() {
            "firmware.stage" => Some(Self::Stage),
            "firmware.install" => Some(Self::Install),
            "firmware.rollback" => Some(Self::Rollback),
            _ => None,
        }
    }
}

/// Whoever ends without a boot leaves the machine as it is: the next boot is into what runs now.
async fn mark_running_slot_good(firmware: &Firmware, ended: OperationResult) -> OperationResult {
    match updater::keep(firmware).await {
        Ok(()) => ended,
        Err(why) => {
            let why = why.message();
            let ended = ended.message();
            failed(
                Code::Unknown,
                &format!("{ended}; and the next boot may be into another slot: {why}"),
            )
        }
    }
}

/// What all the steps look at.
pub(super) struct FirmwareJob<'a> {
    pub(super) firmware: &'a Firmware,
    pub(super) definition: &'a Definition,
    pub(super) ups: Option<&'a Ups>,
    /// The state directory.
    pub(super) state: &'a Path,
    /// Bytes that must stay free for the log.
    pub(super) reserve: u64,
    pub(super) time: &'a TrustedTime,
    pub(super) context: &'a OperationContext,
    /// Whether the updater was told, so that the next boot may be into another slot.
    pub(super) armed: AtomicBool,
}

/// The number of the firmware that runs; 0 if that is not known.
pub(super) fn running(config: &Config) -> u32 {
    let firmware = config.firmware.as_ref();
    firmware.and_then(version).unwrap_or(0)
}

fn version(firmware: &Firmware) -> Option<u32> {
    let bytes = files::read(&firmware.version_file, 64).ok()?;
    std::str::from_utf8(&bytes).ok()?.trim().parse().ok()
}

impl FirmwareJob<'_> {
    /// Carries out a step.
    pub(super) async fn run(&self, step: FirmwareOperation, permit: &Permit) -> OperationResult {
        let done = async {
            match (step, permit.release()) {
                (FirmwareOperation::Rollback, _) => self.roll_back().await,
                (_, None) => Err(failed(Code::BadImage, "no release names this firmware")),
                (FirmwareOperation::Stage, Some(release)) => {
                    self.stage(&release.body).await?;
                    Ok(done(&release.body, "staged"))
                }
                (FirmwareOperation::Install, Some(release)) => self.install(&release.body).await,
            }
        };
        let ended = match timeout(self.definition.timeout(), done).await {
            Ok(Ok(ended) | Err(ended)) => ended,
            Err(_) => failed(Code::Timeout, "it has not come to its end in the time set"),
        };
        match self.armed.load(Ordering::Relaxed) {
            true => mark_running_slot_good(self.firmware, ended).await,
            false => ended,
        }
    }

    /// The path of the image, whole and checked.
    async fn stage(&self, release: &ReleaseBody) -> Result<PathBuf, OperationResult> {
        match version(self.firmware) {
            None => {
                let path = self.firmware.version_file.display();
                let why = format!("{path} does not say which version runs, so none is installed");
                return Err(failed(Code::Failed, &why));
            }
            Some(running) if release.version <= running => {
                return Err(failed(Code::Downgrade, &format!("version {running} runs")));
            }
            Some(_) => {}
        }
        if release.size > self.firmware.limit_mib << 20 {
            let why = format!(
                "the image is larger than limit_mib = {}",
                self.firmware.limit_mib
            );
            return Err(failed(Code::TooLarge, &why));
        }
        fetch::staged(self, release).await
    }

    /// The last look before what cannot be undone.
    async fn reauthorize(&self) -> Result<(), OperationResult> {
        self.context.reauthorize().await?;
        crate::operation::check_interlocks(self.ups, self.definition).await
    }

    async fn install(&self, release: &ReleaseBody) -> Result<OperationResult, OperationResult> {
        let image = self.stage(release).await?;
        self.reauthorize().await?;
        self.report_progress("installing", 0).await;
        // RAUC may go on without us; SWUpdate ends with its program.
        let rauc = self.firmware.updater == UpdaterKind::Rauc;
        self.armed.store(rauc, Ordering::Relaxed);
        updater::install(self, &image).await?;
        self.armed.store(true, Ordering::Relaxed);
        self.reauthorize().await?;
        self.report_progress("booting", 100).await;
        logind::reboot().await?;
        self.wait_for_the_boot().await
    }

    async fn roll_back(&self) -> Result<OperationResult, OperationResult> {
        self.reauthorize().await?;
        self.armed.store(true, Ordering::Relaxed);
        updater::activate_other(self.firmware).await?;
        logind::reboot().await?;
        self.wait_for_the_boot().await
    }

    /// Whoever sees the end of this is told that there was no boot.
    async fn wait_for_the_boot(&self) -> Result<OperationResult, OperationResult> {
        sleep(self.definition.timeout()).await;
        Err(failed(
            Code::Timeout,
            "the machine has not booted in the time set",
        ))
    }

    async fn report_progress(&self, step: &str, percent: u64) {
        let percent = i64::try_from(percent).unwrap_or(100);
        let rows = [
            ("step", Value::from(step)),
            ("percent", Value::Int(percent)),
        ];
        self.context.report_progress(Map::named(rows)).await;
    }
}

/// What is to be found out after a stop in the middle of an installation.
pub(super) struct ResumedInstall<'a> {
    pub(super) firmware: &'a Firmware,
    /// The version that was to be installed.
    pub(super) asked: u32,
    pub(super) command: &'a Hash,
    /// The state directory.
    pub(super) state: &'a Path,
}

impl ResumedInstall<'_> {
    /// After a boot, whether the version that was asked for runs, and works. Without one, what
    /// runs stays.
    pub(super) async fn resume(&self, booted: bool) -> OperationResult {
        if !booted {
            let _ = timeout(INSTALLING, updater::idle(self.firmware)).await;
            let ended = failed(Code::Failed, "doorward stopped while it was installed");
            return mark_running_slot_good(self.firmware, ended).await;
        }
        let ended = self.judged().await;
        let _ = std::fs::remove_file(self.note());
        ended
    }

    async fn judged(&self) -> OperationResult {
        let Some(running) = version(self.firmware) else {
            return failed(Code::Unknown, "nothing says which version runs");
        };
        if running != self.asked {
            let why = format!(
                "version {running} runs: the installation did not come to its end, or was taken \
                 back"
            );
            return failed(Code::Failed, &why);
        }
        if let Err(why) = check(self.firmware).await {
            return self.go_back(&why).await;
        }
        if let Err(ended) = retry(ATTEMPTS, PAUSE, || updater::mark_good(self.firmware)).await {
            return ended;
        }
        clear(self.state);
        OperationResult::done(Map::named([("version", Value::Int(running.into()))]))
    }

    /// Into the other slot, once: if this version is booted again, there is no other.
    async fn go_back(&self, why: &str) -> OperationResult {
        tracing::error!(%why, "the new firmware does not work");
        let command = self.command.hex();
        if files::read(&self.note(), 64).is_ok_and(|bytes| bytes == command.as_bytes()) {
            return failed(
                Code::Failed,
                &format!("it does not work, and was booted again: {why}"),
            );
        }
        if let Err(error) = files::replace(&self.note(), command.as_bytes(), 0o600) {
            return failed(Code::Store, &error.to_string());
        }
        let back = async {
            retry(ATTEMPTS, PAUSE, || updater::mark_bad(self.firmware)).await?;
            logind::reboot().await
        };
        if let Err(ended) = back.await {
            return ended;
        }
        // It ends with the boot, and the version that runs then says how.
        sleep(BOOTING).await;
        failed(
            Code::Failed,
            &format!("it does not work, and the machine stays: {why}"),
        )
    }

    /// That it was taken back, for the next start.
    fn note(&self) -> PathBuf {
        self.state.join("taken-back")
    }
}

/// The self-check of a new version.
async fn check(firmware: &Firmware) -> Result<(), String> {
    if firmware.self_check.is_empty() {
        return Ok(());
    }
    let patience = Duration::from_secs(firmware.self_check_s);
    match timeout(patience, exec::output(&firmware.self_check, 1024)).await {
        Ok(Ok(output)) if output.ok => Ok(()),
        Ok(Ok(output)) => Err(format!(
            "the self-check ended with {}: {}",
            output.status, output.err
        )),
        Ok(Err(error)) => Err(error),
        Err(_) => Err("the self-check did not end in time".to_owned()),
    }
}

fn failed(code: Code, why: &str) -> OperationResult {
    OperationResult::failed(code, why)
}

fn done(release: &ReleaseBody, step: &str) -> OperationResult {
    let version = ("version", Value::Int(release.version.into()));
    OperationResult::done(Map::named([version, (step, Value::Bool(true))]))
}

/// Whether RAUC is there, in words.
pub(super) async fn updater_answers() -> Result<String, String> {
    updater::answers().await.map_err(|ended| ended.message())
}
