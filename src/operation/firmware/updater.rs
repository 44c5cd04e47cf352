//! The updater: RAUC by D-Bus, or SWUpdate by its own client.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::{interval, sleep, timeout};
use zbus::Variant;
use zbus::proxy;

use crate::config::{Firmware, UpdaterKind};
use crate::core::OperationResult;
use crate::operation::firmware::{FirmwareJob, failed};
use crate::operation::{dbus, exec};
use doorward_protocol::gate::Code;

/// Timeout for marking a slot.
const MARK_TIMEOUT: Duration = Duration::from_secs(60);
/// Interval at which RAUC's progress is polled.
const POLL: Duration = Duration::from_secs(1);

#[proxy(
    interface = "de.pengutronix.rauc.Installer",
    default_service = "de.pengutronix.rauc",
    default_path = "/"
)]
trait Installer {
    fn install_bundle(&self, source: &str, args: HashMap<&str, Variant<'_>>) -> zbus::Result<()>;
    fn info(&self, bundle: &str) -> zbus::Result<(String, String)>;
    fn mark(&self, state: &str, slot: &str) -> zbus::Result<(String, String)>;
    #[zbus(signal)]
    fn completed(&self, result: i32) -> zbus::Result<()>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn operation(&self) -> zbus::Result<String>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn last_error(&self) -> zbus::Result<String>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn progress(&self) -> zbus::Result<(i32, String, i32)>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn compatible(&self) -> zbus::Result<String>;
}

async fn rauc() -> zbus::Result<InstallerProxy<'static>> {
    InstallerProxy::new(&dbus::connect().await?).await
}

fn rauc_failed(error: &zbus::Error) -> OperationResult {
    dbus::failed("rauc", error)
}

/// Installs an image.
pub(super) async fn install(job: &FirmwareJob<'_>, image: &Path) -> Result<(), OperationResult> {
    match job.firmware.updater {
        UpdaterKind::Rauc => match by_rauc(job, image).await {
            Ok(result) => result,
            Err(error) => Err(rauc_failed(&error)),
        },
        UpdaterKind::Swupdate => by_swupdate(job, image).await,
    }
}

async fn by_rauc(job: &FirmwareJob<'_>, image: &Path) -> zbus::Result<Result<(), OperationResult>> {
    let image = image.to_str().unwrap_or_default();
    let rauc = rauc().await?;
    // Subscribed before the start, so that the end is not missed.
    let mut ends = rauc.receive_completed().await?;
    let compatible = rauc.compatible().await?;
    let (bundle_compatible, _) = match rauc.info(image).await {
        Ok(info) => info,
        Err(zbus::Error::MethodError(_, why, _)) => {
            let why = format!("rauc: {}", why.unwrap_or_default());
            return Ok(Err(failed(Code::BadImage, &why)));
        }
        Err(error) => return Err(error),
    };
    if bundle_compatible != compatible {
        let why = format!(
            "rauc: the bundle is for `{bundle_compatible}`, this machine is `{compatible}`"
        );
        return Ok(Err(failed(Code::BadImage, &why)));
    }
    rauc.install_bundle(image, HashMap::new()).await?;
    // From here on RAUC continues even if doorward stops.
    let lost = |error: zbus::Error| failed(Code::Unknown, &rauc_failed(&error).message());
    let mut polls = interval(POLL);
    let mut reported = 0;
    let followed = async {
        loop {
            tokio::select! {
                end = ends.next() => match end {
                    Some(end) => break end.args().map(|end| Some(*end.result())),
                    None => break Ok(None),
                },
                _ = polls.tick() => {
                    let (percent, _, _) = rauc.progress().await?;
                    let percent = u64::try_from(percent).unwrap_or(0);
                    if percent > reported {
                        reported = percent;
                        job.report_progress("installing", reported).await;
                    }
                    // A restarted RAUC is idle and never signals the end.
                    if rauc.operation().await? == "idle" {
                        match timeout(POLL, ends.next()).await {
                            Ok(Some(end)) => break end.args().map(|end| Some(*end.result())),
                            _ => break Ok(None),
                        }
                    }
                }
            }
        }
    };
    match followed.await {
        Ok(Some(0)) => Ok(Ok(())),
        Ok(Some(_)) => {
            let why = rauc.last_error().await.unwrap_or_default();
            Ok(Err(failed(Code::Failed, &format!("rauc: {why}"))))
        }
        Ok(None) => Ok(Err(failed(
            Code::Unknown,
            "rauc stopped during the installation",
        ))),
        Err(error) => Ok(Err(lost(error))),
    }
}

/// Waits until RAUC is idle.
pub(super) async fn idle(firmware: &Firmware) {
    if firmware.updater != UpdaterKind::Rauc {
        return;
    }
    let operation = || async { rauc().await?.operation().await };
    while !operation().await.is_ok_and(|operation| operation == "idle") {
        sleep(POLL).await;
    }
}

async fn by_swupdate(job: &FirmwareJob<'_>, image: &Path) -> Result<(), OperationResult> {
    let path = image.to_str().unwrap_or_default();
    let argv = job.firmware.argv.iter();
    let argv: Vec<String> = argv.map(|part| part.replace("{image}", path)).collect();
    match exec::output(&argv, 1024).await {
        Ok(output) if output.ok => Ok(()),
        Ok(output) => {
            let message = match output.err.is_empty() {
                true => output.out,
                false => output.err,
            };
            // The reason is in the last lines.
            let lines: Vec<&str> = message.lines().rev().take(3).collect();
            let message = lines.join("; ");
            let why = format!("swupdate: {}: {message}", output.status);
            Err(failed(Code::Failed, &why))
        }
        Err(error) => Err(failed(Code::Failed, &error)),
    }
}

/// Keeps the running version.
pub(super) async fn mark_good(firmware: &Firmware) -> Result<(), OperationResult> {
    mark(firmware, &firmware.mark_good, "good", "booted").await
}

/// Prevents the running version from being booted again.
pub(super) async fn mark_bad(firmware: &Firmware) -> Result<(), OperationResult> {
    mark(firmware, &firmware.mark_bad, "bad", "booted").await
}

/// Makes the next reboot go into the running slot, even if another version was installed.
pub(super) async fn keep(firmware: &Firmware) -> Result<(), OperationResult> {
    if firmware.updater == UpdaterKind::Swupdate && firmware.keep.is_empty() {
        return Err(failed(Code::Unknown, "`keep` in [firmware] is not set"));
    }
    mark(firmware, &firmware.keep, "active", "booted").await
}

/// Makes the next reboot go into the other slot.
pub(super) async fn activate_other(firmware: &Firmware) -> Result<(), OperationResult> {
    mark(firmware, &[], "active", "other").await
}

/// Marks a slot: by RAUC itself, or with SWUpdate by a configured program, since it depends on the
/// boot loader.
async fn mark(
    firmware: &Firmware,
    program: &[String],
    state: &str,
    slot: &str,
) -> Result<(), OperationResult> {
    let marked = async {
        match firmware.updater {
            UpdaterKind::Rauc => {
                let marked = async { rauc().await?.mark(state, slot).await };
                marked.await.map(drop).map_err(|error| rauc_failed(&error))
            }
            UpdaterKind::Swupdate if program.is_empty() => Ok(()),
            UpdaterKind::Swupdate => {
                let marked = exec::output(program, 1024).await;
                let marked = marked.and_then(exec::Output::printed).map(drop);
                marked.map_err(|why| failed(Code::Failed, &why))
            }
        }
    };
    let timed_out = |_| Err(failed(Code::Timeout, "marking the slot timed out"));
    timeout(MARK_TIMEOUT, marked)
        .await
        .unwrap_or_else(timed_out)
}

/// Checks whether RAUC answers; returns a description.
pub(super) async fn answers() -> Result<String, OperationResult> {
    let answer = async { rauc().await?.compatible().await };
    match timeout(MARK_TIMEOUT, answer).await {
        Ok(Ok(compatible)) => Ok(format!("it answers, for `{compatible}`")),
        Ok(Err(error)) => Err(rauc_failed(&error)),
        Err(_) => Err(failed(Code::Timeout, "rauc does not answer")),
    }
}
