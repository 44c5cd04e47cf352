//! The unit handler: starts, stops, restarts or reloads a systemd unit by D-Bus, which allows
//! privileged operations without sudo. Unit and job are in the configuration; a command has no
//! arguments.

use futures_util::StreamExt;
use tokio::time::timeout;
use zbus::proxy;
use zbus::wire::ObjectPath;

use crate::config::{Config, Definition, Job};
use crate::core::OperationResult;
use crate::operation::dbus;
use crate::operation::handler::{Execution, OperationHandler, allow_fields};
use doorward_protocol::gate::Code;
use doorward_protocol::wire::{Map, Operation, Value};

#[proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Manager {
    fn subscribe(&self) -> zbus::Result<()>;
    fn load_unit(&self, name: &str) -> zbus::Result<zbus::wire::OwnedObjectPath>;
    fn start_unit(&self, name: &str, mode: &str) -> zbus::Result<zbus::wire::OwnedObjectPath>;
    fn stop_unit(&self, name: &str, mode: &str) -> zbus::Result<zbus::wire::OwnedObjectPath>;
    fn restart_unit(&self, name: &str, mode: &str) -> zbus::Result<zbus::wire::OwnedObjectPath>;
    fn reload_unit(&self, name: &str, mode: &str) -> zbus::Result<zbus::wire::OwnedObjectPath>;
    #[zbus(signal)]
    fn job_removed(
        &self,
        id: u32,
        job: ObjectPath<'_>,
        unit: String,
        result: String,
    ) -> zbus::Result<()>;
}

/// A job of a systemd unit.
#[derive(Debug)]
pub(super) struct UnitHandler {
    unit: String,
    job: Job,
}

impl OperationHandler for UnitHandler {
    fn new(_name: &Operation, definition: &Definition, _config: &Config) -> Result<Self, String> {
        let Some(unit) = &definition.unit else {
            return Err("the unit handler needs unit".into());
        };
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
        let is_valid = (1..=255).contains(&unit.len()) && unit.chars().all(is_allowed);
        let has_type = unit.rsplit_once('.').is_some_and(|(name, kind)| {
            !name.is_empty() && ["service", "target", "timer", "mount", "socket"].contains(&kind)
        });
        if !is_valid || !has_type {
            return Err(format!(
                "`{unit}` is not the name of a unit with its type, like x.service"
            ));
        }
        if !definition.args.is_empty() {
            return Err("the unit handler takes no arguments; use x@y.service".into());
        }
        allow_fields(definition, &["unit", "job"])?;
        Ok(Self {
            unit: unit.clone(),
            job: definition.job.unwrap_or(Job::Restart),
        })
    }

    fn acts(&self) -> bool {
        true
    }

    /// Starts the job and waits for its end.
    async fn run(&self, execution: Execution<'_>) -> OperationResult {
        let mut requested = false;
        let result = self.run_job(&mut requested);
        match timeout(execution.definition.timeout(), result).await {
            Ok(Ok(result)) => result,
            Ok(Err(error)) => dbus::failed("systemd", &error),
            Err(_) if requested => OperationResult::failed(
                Code::Timeout,
                "the job of systemd did not end within timeout_s",
            ),
            Err(_) => OperationResult::failed(Code::Timeout, "systemd does not answer"),
        }
    }
}

impl UnitHandler {
    /// Sets `requested` before the job is requested.
    async fn run_job(&self, requested: &mut bool) -> zbus::Result<OperationResult> {
        let name = self.unit.as_str();
        let connection = dbus::connect().await?;
        let manager = ManagerProxy::new(&connection).await?;
        // Subscribed before the start, so that the end is not missed.
        let mut ends = manager.receive_job_removed().await?;
        manager.subscribe().await?;
        *requested = true;
        let job = match self.job {
            Job::Start => manager.start_unit(name, "replace").await?,
            Job::Stop => manager.stop_unit(name, "replace").await?,
            Job::Restart => manager.restart_unit(name, "replace").await?,
            Job::Reload => manager.reload_unit(name, "replace").await?,
        };
        let result = loop {
            let Some(end) = ends.next().await else {
                return Ok(OperationResult::failed(
                    Code::Unknown,
                    "the connection to D-Bus was lost while the job ran",
                ));
            };
            let end = end.args()?;
            if *end.job() == *job {
                break end.result().clone();
            }
        };
        if result != "done" {
            return Ok(OperationResult::failed(
                Code::Failed,
                &format!("the job of systemd ended as `{result}`"),
            ));
        }
        let unit = manager.load_unit(name).await?;
        let unit = zbus::Proxy::new(
            &connection,
            "org.freedesktop.systemd1",
            unit,
            "org.freedesktop.systemd1.Unit",
        );
        let state: String = unit.await?.get_property("ActiveState").await?;
        let rows = [
            ("accepted", Value::Bool(true)),
            ("state", Value::Text(state)),
        ];
        Ok(OperationResult::done(Map::named(rows)))
    }
}
