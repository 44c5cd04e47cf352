//! The firmware handler: an image that a signed release names, from the configured sources only,
//! with its size and hash checked, installed by the machine's own updater, and kept only if it
//! works after the reboot.

mod fetch;
mod http;
mod resume;
mod updater;

pub(super) use fetch::{clear, drop_parts};

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::{sleep, timeout};

use crate::config::{Config, Definition, Firmware, UpdaterKind};
use crate::core::OperationResult;
use crate::operation::OperationContext;
use crate::operation::handler::{
    Execution, OperationHandler, Resumption, allow_fields, args_by_name, check_interlocks,
    definition_args, interrupted,
};
use crate::operation::logind;
use crate::operation::nut::Ups;
use doorward_protocol::gate::{Argument, Code, Permit};
use doorward_protocol::wire::{ArgLimit, Map, Operation, ReleaseBody, Text, Value};
use doorward_transport::TrustedTime;
use doorward_transport::files;
use resume::{ResumedInstall, mark_running_slot_good};

/// An operation on the firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FirmwareOperation {
    /// Fetches and checks an image.
    Stage,
    /// Installs an image and reboots the machine into it.
    Install,
    /// Reboots the machine into the other slot.
    Rollback,
}

impl FirmwareOperation {
    fn of(name: &Operation) -> Option<Self> {
        match name.as_str() {
            "firmware.stage" => Some(Self::Stage),
            "firmware.install" => Some(Self::Install),
            "firmware.rollback" => Some(Self::Rollback),
            _ => None,
        }
    }
}

/// An operation on the firmware of this machine.
#[derive(Debug)]
pub(super) struct FirmwareHandler {
    operation: FirmwareOperation,
    firmware: Firmware,
}

impl OperationHandler for FirmwareHandler {
    const OWN_ARGS: bool = true;

    fn new(name: &Operation, definition: &Definition, config: &Config) -> Result<Self, String> {
        let Some(operation) = FirmwareOperation::of(name) else {
            return Err("the firmware handler does firmware.stage, .install and .rollback".into());
        };
        let Some(firmware) = &config.firmware else {
            return Err("no source and no updater are configured; add [firmware]".into());
        };
        if operation == FirmwareOperation::Rollback && firmware.updater != UpdaterKind::Rauc {
            return Err("firmware.rollback needs updater = \"rauc\"".into());
        }
        if !definition.args.is_empty() {
            return Err("the firmware handler has its own argument, version; remove args".into());
        }
        allow_fields(definition, &[])?;
        Ok(Self {
            operation,
            firmware: firmware.clone(),
        })
    }

    fn args(
        name: &Operation,
        definition: &Definition,
        _config: &Config,
    ) -> BTreeMap<Text, Argument> {
        match FirmwareOperation::of(name) {
            Some(FirmwareOperation::Stage | FirmwareOperation::Install) => {
                let limit = ArgLimit {
                    min: Some(1),
                    ..ArgLimit::default()
                };
                args_by_name([("version", true, limit)])
            }
            Some(FirmwareOperation::Rollback) | None => definition_args(definition),
        }
    }

    fn reboots(name: &Operation, _definition: &Definition) -> bool {
        matches!(
            FirmwareOperation::of(name),
            Some(FirmwareOperation::Install | FirmwareOperation::Rollback)
        )
    }

    fn acts(&self) -> bool {
        true
    }

    fn resumable(&self) -> bool {
        self.operation == FirmwareOperation::Install
    }

    async fn run(&self, execution: Execution<'_>) -> OperationResult {
        let shared = execution.shared;
        let Ok(_one_at_a_time) = shared.updating.try_lock() else {
            let why = "another image is being fetched or installed";
            return failed(Code::Busy, why);
        };
        let job = FirmwareJob {
            firmware: &self.firmware,
            definition: execution.definition,
            ups: shared.ups.as_ref(),
            state: &shared.config.state,
            reserve: shared.config.log.limit_mib << 21,
            time: &shared.time,
            context: execution.context,
            armed: AtomicBool::new(false),
        };
        job.run(self.operation, execution.permit).await
    }

    async fn resume(&self, resumption: Resumption<'_>) -> OperationResult {
        let (shared, intent) = (resumption.shared, resumption.intent);
        let Some(version) = intent.version else {
            return interrupted();
        };
        let _one_at_a_time = shared.updating.lock().await;
        let install = ResumedInstall {
            firmware: &self.firmware,
            version,
            command: &intent.asked.command,
            state: &shared.config.state,
        };
        install.resume(resumption.rebooted).await
    }
}

/// One execution of an operation on the firmware.
struct FirmwareJob<'a> {
    firmware: &'a Firmware,
    definition: &'a Definition,
    ups: Option<&'a Ups>,
    /// The state directory.
    state: &'a Path,
    /// Bytes that must stay free for the event log.
    reserve: u64,
    time: &'a TrustedTime,
    context: &'a OperationContext,
    /// Whether the updater was started, so that the next reboot may be into another slot.
    armed: AtomicBool,
}

/// Returns the version number of the running firmware; 0 if it is not known.
pub(super) fn running(config: &Config) -> u32 {
    let firmware = config.firmware.as_ref();
    firmware.and_then(version).unwrap_or(0)
}

fn version(firmware: &Firmware) -> Option<u32> {
    let bytes = files::read(&firmware.version_file, 64).ok()?;
    std::str::from_utf8(&bytes).ok()?.trim().parse().ok()
}

impl FirmwareJob<'_> {
    async fn run(&self, operation: FirmwareOperation, permit: &Permit) -> OperationResult {
        let result = async {
            match (operation, permit.release()) {
                (FirmwareOperation::Rollback, _) => self.roll_back().await,
                (_, None) => Err(failed(Code::BadImage, "the command names no release")),
                (FirmwareOperation::Stage, Some(release)) => {
                    self.stage(&release.body).await?;
                    Ok(done(&release.body, "staged"))
                }
                (FirmwareOperation::Install, Some(release)) => self.install(&release.body).await,
            }
        };
        let result = match timeout(self.definition.timeout(), result).await {
            Ok(Ok(result) | Err(result)) => result,
            Err(_) => failed(Code::Timeout, "the operation did not end within timeout_s"),
        };
        match self.armed.load(Ordering::Relaxed) {
            true => mark_running_slot_good(self.firmware, result).await,
            false => result,
        }
    }

    /// Fetches and checks the image; returns its path.
    async fn stage(&self, release: &ReleaseBody) -> Result<PathBuf, OperationResult> {
        match version(self.firmware) {
            None => {
                let path = self.firmware.version_file.display();
                let why = format!("{path} has no version number, so nothing is installed");
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

    /// Checks permission and interlocks again, before a step that cannot be undone.
    async fn reauthorize(&self) -> Result<(), OperationResult> {
        self.context.reauthorize().await?;
        check_interlocks(self.ups, &self.definition.interlocks).await
    }

    async fn install(&self, release: &ReleaseBody) -> Result<OperationResult, OperationResult> {
        let image = self.stage(release).await?;
        self.reauthorize().await?;
        self.report_progress("installing", 0).await;
        // RAUC continues if doorward stops; SWUpdate ends with its program.
        let rauc = self.firmware.updater == UpdaterKind::Rauc;
        self.armed.store(rauc, Ordering::Relaxed);
        updater::install(self, &image).await?;
        self.armed.store(true, Ordering::Relaxed);
        self.reauthorize().await?;
        self.report_progress("booting", 100).await;
        logind::reboot().await?;
        self.wait_for_reboot().await
    }

    async fn roll_back(&self) -> Result<OperationResult, OperationResult> {
        self.reauthorize().await?;
        self.armed.store(true, Ordering::Relaxed);
        updater::activate_other(self.firmware).await?;
        logind::reboot().await?;
        self.wait_for_reboot().await
    }

    /// The reboot ends this process, so a return means that it did not happen.
    async fn wait_for_reboot(&self) -> Result<OperationResult, OperationResult> {
        sleep(self.definition.timeout()).await;
        Err(failed(
            Code::Timeout,
            "the machine did not reboot within timeout_s",
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

fn failed(code: Code, why: &str) -> OperationResult {
    OperationResult::failed(code, why)
}

fn done(release: &ReleaseBody, step: &str) -> OperationResult {
    let version = ("version", Value::Int(release.version.into()));
    OperationResult::done(Map::named([version, (step, Value::Bool(true))]))
}

/// Checks whether RAUC answers, for the self-check.
pub(super) async fn updater_answers() -> Result<String, String> {
    updater::answers().await.map_err(|result| result.message())
}
