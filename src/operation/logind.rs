//! Booting the machine and switching it off, by systemd-logind: at once, or after a delay that
//! people on the machine are told of and that can be cancelled.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use zbus::proxy;

use crate::config::{Definition, PowerAction};
use crate::core::OperationResult;
use crate::operation::OperationContext;
use crate::operation::dbus;
use crate::operation::retry::retry;
use doorward_protocol::gate::{Code, Permit};
use doorward_protocol::wire::{Map, Text, Value};
use doorward_transport::clock;
use doorward_transport::clock::Stopwatch;

/// How often it is looked whether what was scheduled still is, and still may be.
const LOOK: Duration = Duration::from_secs(1);
/// How often logind is asked to take something back.
const ATTEMPTS: u32 = 30;
/// How often the countdown is told, in looks.
const TELL: u64 = 10;

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

/// Carries it out. What boots the machine is over when it has booted, so if that happens nobody
/// is here any more to see this end.
pub(super) async fn run(
    definition: &Definition,
    permit: &Permit,
    context: &OperationContext,
) -> OperationResult {
    let action = definition.action.unwrap_or(PowerAction::Cancel);
    let delay = match permit.args().get("delay_s") {
        Some(Value::Int(seconds)) => u64::try_from(*seconds).unwrap_or(0),
        _ => 0,
    };
    let result = match action {
        PowerAction::Cancel => cancel().await,
        _ => begin(action, delay, context).await,
    };
    match result {
        Ok(None) => {
            sleep(definition.timeout()).await;
            let _ = taken_back().await;
            OperationResult::failed(Code::Timeout, "the machine has not booted in the time set")
        }
        Ok(Some(ended)) => ended,
        Err(error) => dbus::failed("logind", &error),
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

/// The end that it has, unless the machine is now about to go down.
async fn begin(
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
            "logind says `{can}` when asked whether doorward may; its user needs the polkit rule \
             in systemd/"
        );
        return Ok(Some(OperationResult::failed(Code::Failed, &why)));
    }
    if let Err(ended) = context.reauthorize().await {
        return Ok(Some(ended));
    }
    match action {
        PowerAction::Reboot if delay == 0 => manager.reboot(false).await?,
        PowerAction::PowerOff if delay == 0 => manager.power_off(false).await?,
        _ => return scheduled(&manager, action, delay, context).await,
    }
    Ok(None)
}

/// Schedules it and stays until it is due. What allowed it must hold to the last moment; whatever
/// goes wrong on the way, it is cancelled.
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
    // The clock has whole seconds, and it must not be due before ours is.
    let at = clock::system().plus(delay + 1);
    let micros = at.0.saturating_mul(1_000_000);
    let counted = async {
        manager.schedule_shutdown(kind, micros).await?;
        count_down(manager, action, (at.to_string(), delay + 1), context).await
    };
    match counted.await {
        Ok(None) => Ok(None),
        Ok(Some(ended)) => Ok(Some(ended)),
        // It may be scheduled, and nobody would look after it any more.
        Err(error) => match taken_back().await {
            Ok(_) => Err(error),
            Err(_) => Ok(Some(OperationResult::failed(
                Code::Unknown,
                "logind was lost, and what is scheduled may still happen",
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
    let mut looks = 0;
    loop {
        let left = Duration::from_secs(delay).saturating_sub(watch.elapsed());
        if looks % TELL == 0 {
            context.report_progress(countdown(at.clone(), left)).await;
        }
        looks += 1;
        if let Err(ended) = context.reauthorize().await {
            manager.cancel_scheduled_shutdown().await?;
            return Ok(Some(ended));
        }
        let (scheduled, _) = manager.scheduled_shutdown().await?;
        match (scheduled.is_empty(), left.is_zero(), action) {
            (true, _, PowerAction::DryReboot) if left <= LOOK => {
                let rows = Map::named([("rehearsed", Value::Bool(true))]);
                return Ok(Some(OperationResult::done(rows)));
            }
            (true, false, _) => {
                let why = "it was cancelled before its time";
                return Ok(Some(OperationResult::failed(Code::Failed, why)));
            }
            (_, true, PowerAction::Reboot | PowerAction::PowerOff) => return Ok(None),
            _ => sleep(LOOK.min(left.max(Duration::from_millis(100)))).await,
        }
    }
}

/// Takes back what is scheduled, over a new connection; whether anything was.
async fn taken_back() -> zbus::Result<bool> {
    retry(ATTEMPTS, LOOK, || async {
        manager().await?.cancel_scheduled_shutdown().await
    })
    .await
}

/// After a stop in the same boot nobody has looked whether it may still happen, so it does not.
pub(super) async fn resume() -> OperationResult {
    match taken_back().await {
        Ok(true) => OperationResult::failed(
            Code::Failed,
            "doorward stopped before its time; it is cancelled",
        ),
        Ok(false) | Err(_) => {
            OperationResult::failed(Code::Unknown, "the device stopped while it ran")
        }
    }
}

fn countdown(at: String, left: Duration) -> Map<Text, Value> {
    let left = i64::try_from(left.as_secs()).unwrap_or(i64::MAX);
    let rows = [("at", Value::Text(at)), ("in_s", Value::Int(left))];
    Map::named(rows)
}

/// Whether it would be allowed, for those who only ask.
pub(super) async fn may_reboot() -> Result<(), String> {
    let asked = async { manager().await?.can_reboot().await };
    match timeout(Duration::from_secs(20), asked).await {
        Ok(Ok(word)) if word == "yes" => Ok(()),
        Ok(Ok(word)) => Err(format!(
            "logind says `{word}` when asked whether doorward may boot"
        )),
        Ok(Err(error)) => Err(dbus::failed("logind", &error).message()),
        Err(_) => Err("logind does not answer".to_owned()),
    }
}

/// Boots the machine for another operation that has to.
pub(super) async fn reboot() -> Result<(), OperationResult> {
    let asked = async { manager().await?.reboot(false).await };
    match timeout(Duration::from_secs(30), asked).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(dbus::failed("logind", &error)),
        Err(_) => Err(OperationResult::failed(
            Code::Timeout,
            "logind does not answer",
        )),
    }
}
