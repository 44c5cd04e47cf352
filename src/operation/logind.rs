//! The logind handler: reboots the machine or switches it off by systemd-logind, at once or after
//! a delay of which logged-in users are notified and within which it can be cancelled.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use zbus::proxy;

use crate::config::{ArgKind, Config, Definition, PowerAction};
use crate::core::OperationResult;
use crate::operation::OperationContext;
use crate::operation::dbus;
use crate::operation::handler::{
    Execution, OperationHandler, Resumption, allow_fields, interrupted,
};
use crate::operation::retry::retry;
use doorward_protocol::gate::{Code, Permit};
use doorward_protocol::wire::{Map, Operation, Text, Value};
use doorward_transport::clock;
use doorward_transport::clock::Stopwatch;

/// Interval at which a scheduled shutdown and its permission are checked.
const POLL: Duration = Duration::from_secs(1);
/// Attempts to cancel a scheduled shutdown.
const ATTEMPTS: u32 = 30;
/// Number of polls between two reports of the countdown.
const REPORT_INTERVAL: u64 = 10;

#[proxy(
    interface = "org.freedesktop.login1.Manager",
    default_service = "org.freedesktop.login1",
    default_path = "/org/freedesktop/login1"
)]
trait Manager {
    fn can_reboot(&self) -> zbus::Result<String>;
    fn can_power_off(&self) -> zbus::Result<String>;
    fn reboot(&self, interactive: bool) -> zbus::Result<()>;
    fn power_off(&self, interactive: bool) -> zbus::Result<()>;
    fn schedule_shutdown(&self, kind: &str, usec: u64) -> zbus::Result<()>;
    fn cancel_scheduled_shutdown(&self) -> zbus::Result<bool>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn scheduled_shutdown(&self) -> zbus::Result<(String, u64)>;
}

/// An action of systemd-logind.
#[derive(Debug)]
pub(super) struct LogindHandler {
    action: PowerAction,
}

fn reboots(action: PowerAction) -> bool {
    matches!(action, PowerAction::Reboot | PowerAction::PowerOff)
}

impl OperationHandler for LogindHandler {
    fn new(_name: &Operation, definition: &Definition, _config: &Config) -> Result<Self, String> {
        let Some(action) = definition.action else {
            return Err("the logind handler needs action".into());
        };
        for (name, arg) in &definition.args {
            if action == PowerAction::Cancel || name != "delay_s" {
                return Err(
                    "the logind handler takes no argument but delay_s, and cancel takes none"
                        .into(),
                );
            }
            if arg.kind != ArgKind::Int || arg.min.is_none_or(|min| min < 0) || arg.max.is_none() {
                return Err(
                    "args.delay_s must have type = \"int\" with a min of 0 or more and a max"
                        .into(),
                );
            }
        }
        allow_fields(definition, &["action"])?;
        Ok(Self { action })
    }

    fn reboots(_name: &Operation, definition: &Definition) -> bool {
        definition.action.is_some_and(reboots)
    }

    fn acts(&self) -> bool {
        true
    }

    fn resumable(&self) -> bool {
        true
    }

    /// Executes the action. A reboot or shutdown ends this process, so a return means that it did
    /// not happen.
    async fn run(&self, execution: Execution<'_>) -> OperationResult {
        let result = match self.action {
            PowerAction::Cancel => cancel().await,
            action => start(action, delay(execution.permit), execution.context).await,
        };
        match result {
            Ok(None) => {
                sleep(execution.definition.timeout()).await;
                let _ = cancel_scheduled().await;
                OperationResult::failed(
                    Code::Timeout,
                    "the machine did not reboot within timeout_s",
                )
            }
            Ok(Some(result)) => result,
            Err(error) => dbus::failed("logind", &error),
        }
    }

    /// Cancels a shutdown that is still scheduled after a restart of the daemon: its permission has
    /// not been checked since.
    async fn resume(&self, resumption: Resumption<'_>) -> OperationResult {
        if resumption.rebooted && reboots(self.action) {
            return OperationResult::done(Map::default());
        }
        match cancel_scheduled().await {
            Ok(true) => OperationResult::failed(
                Code::Failed,
                "doorward stopped before the scheduled time; the action was cancelled",
            ),
            Ok(false) | Err(_) => interrupted(),
        }
    }
}

/// The delay in seconds.
fn delay(permit: &Permit) -> u64 {
    match permit.args().get("delay_s") {
        Some(Value::Int(seconds)) => u64::try_from(*seconds).unwrap_or(0),
        _ => 0,
    }
}

async fn manager() -> zbus::Result<ManagerProxy<'static>> {
    ManagerProxy::new(&dbus::connect().await?).await
}

async fn cancel() -> zbus::Result<Option<OperationResult>> {
    let cancelled = manager().await?.cancel_scheduled_shutdown().await?;
    Ok(Some(match cancelled {
        true => OperationResult::done(Map::default()),
        false => OperationResult::failed(Code::NoEffect, "nothing was scheduled"),
    }))
}

/// Starts the action. Returns its result, or `None` if the machine is about to go down.
async fn start(
    action: PowerAction,
    delay: u64,
    context: &OperationContext,
) -> zbus::Result<Option<OperationResult>> {
    let manager = manager().await?;
    let can = match action {
        PowerAction::PowerOff => manager.can_power_off().await?,
        _ => manager.can_reboot().await?,
    };
    if can != "yes" {
        let why = format!(
            "logind does not allow it (`{can}`); doorward's user needs the polkit rule in systemd/"
        );
        return Ok(Some(OperationResult::failed(Code::Failed, &why)));
    }
    if let Err(result) = context.reauthorize().await {
        return Ok(Some(result));
    }
    match action {
        PowerAction::Reboot if delay == 0 => manager.reboot(false).await?,
        PowerAction::PowerOff if delay == 0 => manager.power_off(false).await?,
        _ => return scheduled(&manager, action, delay, context).await,
    }
    Ok(None)
}

/// Schedules the action and waits until it is due. The permission is checked until then; on any
/// error the action is cancelled.
async fn scheduled(
    manager: &ManagerProxy<'_>,
    action: PowerAction,
    delay: u64,
    context: &OperationContext,
) -> zbus::Result<Option<OperationResult>> {
    let kind = match action {
        PowerAction::PowerOff => "poweroff",
        PowerAction::DryReboot => "dry-reboot",
        PowerAction::Reboot | PowerAction::Cancel => "reboot",
    };
    // The clock has whole seconds; logind must not act before the countdown ends.
    let at = clock::system().plus(delay + 1);
    let micros = at.0.saturating_mul(1_000_000);
    let counted_down = async {
        manager.schedule_shutdown(kind, micros).await?;
        count_down(manager, action, (at.to_string(), delay + 1), context).await
    };
    match counted_down.await {
        Ok(None) => Ok(None),
        Ok(Some(result)) => Ok(Some(result)),
        // It may be scheduled, and would no longer be supervised.
        Err(error) => match cancel_scheduled().await {
            Ok(_) => Err(error),
            Err(_) => Ok(Some(OperationResult::failed(
                Code::Unknown,
                "the connection to logind was lost; the scheduled action may still happen",
            ))),
        },
    }
}

async fn count_down(
    manager: &ManagerProxy<'_>,
    action: PowerAction,
    (at, delay): (String, u64),
    context: &OperationContext,
) -> zbus::Result<Option<OperationResult>> {
    let watch = Stopwatch::start();
    let mut polls = 0;
    loop {
        let left = Duration::from_secs(delay).saturating_sub(watch.elapsed());
        if polls % REPORT_INTERVAL == 0 {
            context.report_progress(countdown(at.clone(), left)).await;
        }
        polls += 1;
        if let Err(result) = context.reauthorize().await {
            manager.cancel_scheduled_shutdown().await?;
            return Ok(Some(result));
        }
        let (scheduled, _) = manager.scheduled_shutdown().await?;
        match (scheduled.is_empty(), left.is_zero(), action) {
            (true, _, PowerAction::DryReboot) if left <= POLL => {
                let rows = Map::named([("rehearsed", Value::Bool(true))]);
                return Ok(Some(OperationResult::done(rows)));
            }
            (true, false, _) => {
                let why = "the action was cancelled before its time";
                return Ok(Some(OperationResult::failed(Code::Failed, why)));
            }
            (_, true, PowerAction::Reboot | PowerAction::PowerOff) => return Ok(None),
            _ => sleep(POLL.min(left.max(Duration::from_millis(100)))).await,
        }
    }
}

/// Cancels a scheduled action over a new connection. Returns whether one was scheduled.
async fn cancel_scheduled() -> zbus::Result<bool> {
    retry(ATTEMPTS, POLL, || async {
        manager().await?.cancel_scheduled_shutdown().await
    })
    .await
}

fn countdown(at: String, left: Duration) -> Map<Text, Value> {
    let left = i64::try_from(left.as_secs()).unwrap_or(i64::MAX);
    let rows = [("at", Value::Text(at)), ("in_s", Value::Int(left))];
    Map::named(rows)
}

/// Checks whether logind would allow a reboot, for the self-check.
pub(super) async fn may_reboot() -> Result<(), String> {
    let answer = async { manager().await?.can_reboot().await };
    match timeout(Duration::from_secs(20), answer).await {
        Ok(Ok(answer)) if answer == "yes" => Ok(()),
        Ok(Ok(answer)) => Err(format!(
            "logind does not allow doorward to reboot the machine (`{answer}`)"
        )),
        Ok(Err(error)) => Err(dbus::failed("logind", &error).message()),
        Err(_) => Err("logind does not answer".to_owned()),
    }
}

/// Reboots the machine, for another handler.
pub(super) async fn reboot() -> Result<(), OperationResult> {
    let answer = async { manager().await?.reboot(false).await };
    match timeout(Duration::from_secs(30), answer).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(dbus::failed("logind", &error)),
        Err(_) => Err(OperationResult::failed(
            Code::Timeout,
            "logind does not answer",
        )),
    }
}
