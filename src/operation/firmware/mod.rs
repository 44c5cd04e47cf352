//! The machine's firmware: an image that a signed release names, from the configured sources
//! only, checked to the byte, installed by the machine's own updater, and kept only if it works
//! after the boot.

mod fetch;
mod http;
mod updater;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::exec;
use super::logind;
use super::nut::Ups;
use crate::agent::{Ended, Underway};
use crate::config::{Config, Definition, Firmware};
use crate::files;
use crate::gate::{Code, Permit};
use crate::link::TrustedTime;
use crate::wire::{Map, Operation, ReleaseBody, Text, Value};

/// What is done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The image is fetched and checked.
    Stage,
    /// It is installed, and the machine boots into it.
    Install,
    /// The machine boots into what it had before.
    Rollback,
}

impl Step {
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

/// Lets go of what was staged.
pub(super) fn clear(state: &Path) {
    fetch::clear(state);
}

/// What all the steps look at.
pub(super) struct Work<'a> {
    pub(super) firmware: &'a Firmware,
    pub(super) definition: &'a Definition,
    pub(super) ups: Option<&'a Ups>,
    /// The state directory.
    pub(super) state: &'a Path,
    pub(super) time: &'a TrustedTime,
    pub(super) underway: &'a Underway,
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

impl Work<'_> {
    /// Carries out a step.
    pub(super) async fn run(&self, step: Step, permit: &Permit) -> Ended {
        let done = async {
            match (step, permit.release()) {
                (Step::Rollback, _) => self.roll_back().await,
                (_, None) => Err(failed(Code::BadImage, "no release names this firmware")),
                (Step::Stage, Some(release)) => {
                    self.stage(&release.body).await?;
                    Ok(done(&release.body, "staged"))
                }
                (Step::Install, Some(release)) => self.install(&release.body).await,
            }
        };
        match timeout(self.definition.timeout(), done).await {
            Ok(Ok(ended) | Err(ended)) => ended,
            Err(_) => failed(Code::Timeout, "it has not come to its end in the time set"),
        }
    }

    /// The path of the image, whole and checked.
    async fn stage(&self, release: &ReleaseBody) -> Result<PathBuf, Ended> {
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
    async fn may_still(&self) -> Result<(), Ended> {
        self.underway.still_allowed().await?;
        super::locked(self.ups, self.definition).await
    }

    async fn install(&self, release: &ReleaseBody) -> Result<Ended, Ended> {
        let image = self.stage(release).await?;
        self.may_still().await?;
        self.says("installing", 0).await;
        updater::install(self, &image).await?;
        // Without a permission the machine does not boot; the image waits in its slot.
        self.may_still().await?;
        self.says("booting", 100).await;
        logind::reboot().await?;
        self.wait_for_the_boot().await
    }

    async fn roll_back(&self) -> Result<Ended, Ended> {
        self.may_still().await?;
        updater::activate_other(self.firmware).await?;
        logind::reboot().await?;
        self.wait_for_the_boot().await
    }

    /// Whoever sees the end of this is told that there was no boot.
    async fn wait_for_the_boot(&self) -> Result<Ended, Ended> {
        sleep(self.definition.timeout()).await;
        Err(failed(
            Code::Timeout,
            "the machine has not booted in the time set",
        ))
    }

    async fn says(&self, step: &str, percent: u64) {
        let percent = i64::try_from(percent).unwrap_or(100);
        let rows = [
            ("step", Value::from(step)),
            ("percent", Value::Int(percent)),
        ];
        self.underway.says(map(rows)).await;
    }
}

/// After the boot: whether the version that was asked for runs, and works.
pub(super) async fn resume(firmware: &Firmware, asked: u32, state: &Path) -> Ended {
    let Some(running) = version(firmware) else {
        return failed(Code::Unknown, "nothing says which version runs");
    };
    if running != asked {
        let why = format!(
            "version {running} runs: the installation did not come to its end, or was taken back"
        );
        return failed(Code::Failed, &why);
    }
    if let Err(why) = check(firmware).await {
        tracing::error!(%why, "the new firmware does not work, the machine goes back");
        // It ends with the boot, and the version that runs then says how.
        let back = async {
            updater::mark_bad(firmware).await?;
            logind::reboot().await
        };
        if let Err(ended) = back.await {
            return ended;
        }
        sleep(Duration::from_secs(600)).await;
        return failed(
            Code::Failed,
            &format!("it does not work, and the machine stays: {why}"),
        );
    }
    if let Err(ended) = updater::mark_good(firmware).await {
        return ended;
    }
    clear(state);
    Ended::done(map([("version", Value::Int(running.into()))]))
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

fn failed(code: Code, why: &str) -> Ended {
    Ended::failed(code, why)
}

fn done(release: &ReleaseBody, step: &str) -> Ended {
    let version = ("version", Value::Int(release.version.into()));
    Ended::done(map([version, (step, Value::Bool(true))]))
}

fn map<const N: usize>(rows: [(&str, Value); N]) -> Map<Text, Value> {
    let rows = rows.into_iter();
    Map::new(rows.filter_map(|(name, value)| Some((Text::new(name).ok()?, value))))
}
