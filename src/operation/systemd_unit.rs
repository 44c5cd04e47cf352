//! Units of systemd: how anything privileged is done without sudo. Which unit, and what becomes
//! of it, is in the configuration; a command brings nothing.

use futures_util::StreamExt;
use tokio::time::timeout;
use zbus::proxy;
use zbus::wire::ObjectPath;

use crate::config::{Definition, Job};
use crate::core::OperationResult;
use crate::operation::dbus;
use doorward_protocol::gate::Code;
use doorward_protocol::wire::{Map, Value};

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

/// Has systemd do it, and waits for the end of its job.
pub(super) async fn run(definition: &Definition) -> OperationResult {
    let mut told = false;
    let done = job(definition, &mut told);
    match timeout(definition.timeout(), done).await {
        Ok(Ok(ended)) => ended,
        Ok(Err(error)) => dbus::failed("systemd", &error),
        Err(_) if told => {
            OperationResult::failed(Code::Timeout, "its job has not ended in the time set")
        }
        Err(_) => OperationResult::failed(Code::Timeout, "systemd does not answer"),
    }
}

async fn job(definition: &Definition, told: &mut bool) -> zbus::Result<OperationResult> {
    let name = definition.unit.as_deref().unwrap_or_default();
    let connection = dbus::connect().await?;
    let manager = ManagerProxy::new(&connection).await?;
    // Before it begins, so that its end is not missed.
    let mut ends = manager.receive_job_removed().await?;
    manager.subscribe().await?;
    *told = true;
    let job = match definition.job.unwrap_or(Job::Restart) {
        Job::Start => manager.start_unit(name, "replace").await?,
        Job::Stop => manager.stop_unit(name, "replace").await?,
        Job::Restart => manager.restart_unit(name, "replace").await?,
        Job::Reload => manager.reload_unit(name, "replace").await?,
    };
    let result = loop {
        let Some(end) = ends.next().await else {
            return Ok(OperationResult::failed(
                Code::Unknown,
                "the bus was lost while it ran",
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
            &format!("its job ended as `{result}`"),
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
