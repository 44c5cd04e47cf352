//! Reboot, power-off and systemd units, over a D-Bus of the test's own. Where Debian's logind can run,
//! it only makes dry runs; calls with a real effect go to a stub that records them.

use crate::system_bus;
use doorward_testkit::site;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use site::{COUNT, Site, wait_until};
use system_bus::{Calls, SystemBus};
use zbus::object_server::SignalEmitter;
use zbus::wire::{ObjectPath, OwnedObjectPath};

const OPERATIONS: &str = r#"
[operations."machine.reboot"]
class = "interrupt"
handler = "logind"
action = "reboot"
timeout_s = 2
args.delay_s = { type = "int", min = 0, max = 600, optional = true }
[operations."machine.off"]
class = "danger"
handler = "logind"
action = "power-off"
timeout_s = 2
[operations."machine.rehearsal"]
class = "interrupt"
handler = "logind"
action = "dry-reboot"
args.delay_s = { type = "int", min = 0, max = 600 }
[operations."machine.cancel"]
class = "change"
handler = "logind"
action = "cancel"
[operations."service.restart"]
class = "interrupt"
handler = "unit"
unit = "modbus@1.service"
timeout_s = 5
[operations."service.broken"]
class = "interrupt"
handler = "unit"
unit = "broken.service"
job = "start"
[operations."service.foreign"]
class = "interrupt"
handler = "unit"
unit = "foreign.service"
job = "stop"
"#;

struct Machine {
    site: Site,
    bus: SystemBus,
}

impl Machine {
    fn new() -> Self {
        let mut site = Site::new(COUNT);
        site.ready();
        site.kill();
        let bus = SystemBus::start(site.path());
        let path = site.path().join("doorward.toml");
        let config = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{config}{OPERATIONS}")).unwrap();
        site.start_with(&[bus.environment()]);
        site.ready();
        Self { site, bus }
    }

    fn send(&self, person: &str, operation: &str, args: &[&str]) -> serde_json::Value {
        self.site.send_with(person, operation, args, 15)
    }

    /// Sends a command, and runs `meanwhile` while its operation is running.
    fn while_running(
        &self,
        person: &str,
        operation: &str,
        args: &[&str],
        meanwhile: impl FnOnce(),
    ) -> serde_json::Value {
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| self.send(person, operation, args));
            wait_until("the operation is running", || {
                let status = self.site.status();
                status["underway"][0]["progress"]["in_s"].is_number()
            });
            meanwhile();
            sending.join().unwrap()
        })
    }
}

fn detail(receipt: &serde_json::Value) -> &str {
    receipt["detail"].as_str().unwrap_or_default()
}

/// A stub of logind's interface.
#[derive(Clone, Default)]
struct Logind {
    calls: Calls,
    refuses: Arc<AtomicBool>,
    scheduled: Arc<Mutex<(String, u64)>>,
}

#[zbus::interface(name = "org.freedesktop.login1.Manager")]
impl Logind {
    fn can_reboot(&self) -> &str {
        match self.refuses.load(Ordering::Relaxed) {
            true => "challenge",
            false => "yes",
        }
    }

    fn can_power_off(&self) -> &str {
        self.can_reboot()
    }

    fn reboot(&self, interactive: bool) {
        self.calls.add(format!("reboot {interactive}"));
    }

    fn power_off(&self, interactive: bool) {
        self.calls.add(format!("power-off {interactive}"));
    }

    fn schedule_shutdown(&self, kind: String, usec: u64) {
        // In the form in which the real logind shows it.
        let shown = kind.trim_start_matches("dry-").to_owned();
        self.calls.add(format!("schedule {kind}"));
        *self.scheduled.lock().unwrap() = (shown, usec);
        let scheduled = Arc::clone(&self.scheduled);
        std::thread::spawn(move || {
            let due = std::time::UNIX_EPOCH + std::time::Duration::from_micros(usec);
            let left = due.duration_since(std::time::SystemTime::now());
            std::thread::sleep(left.unwrap_or_default());
            let mut scheduled = scheduled.lock().unwrap();
            if scheduled.1 == usec {
                *scheduled = Default::default();
            }
        });
    }

    fn cancel_scheduled_shutdown(&self) -> bool {
        let was = std::mem::take(&mut *self.scheduled.lock().unwrap());
        !was.0.is_empty()
    }

    #[zbus(property)]
    fn scheduled_shutdown(&self) -> (String, u64) {
        self.scheduled.lock().unwrap().clone()
    }
}

const LOGIND: (&str, &str) = ("org.freedesktop.login1", "/org/freedesktop/login1");

/// Starts Debian's logind if it can run here, else the stub.
fn logind(machine: &Machine) -> Option<site::Process> {
    let real = machine.bus.logind();
    if real.is_none() {
        machine.bus.serve(LOGIND.0, LOGIND.1, Logind::default());
    }
    println!(
        "logind: {}",
        if real.is_some() { "Debian's" } else { "a stub" }
    );
    real
}

#[test]
fn a_delayed_reboot_counts_down_can_be_cancelled_and_happens_on_time() {
    let machine = Machine::new();
    let _logind = logind(&machine);
    let receipt = machine.while_running("ole", "machine.rehearsal", &["delay_s=60"], || {
        let status = machine.site.status();
        let row = &status["underway"][0];
        assert_eq!(
            (&row["person"], &row["operation"]),
            (&"ole".into(), &"machine.rehearsal".into())
        );
        assert!(row["progress"]["at"].is_string(), "{row}");
        // Only one disruptive operation at a time; the cancelling operation is not disruptive.
        assert_eq!(machine.send("ole", "machine.reboot", &[])["code"], "busy");
        assert_eq!(
            machine.send("ole", "machine.cancel", &[])["outcome"],
            "done"
        );
    });
    assert_eq!(receipt["outcome"], "failed", "{receipt}");
    assert!(detail(&receipt).contains("cancelled"), "{receipt}");
    assert_eq!(
        machine.send("ole", "machine.cancel", &[])["code"],
        "no_effect"
    );
    let receipt = machine.send("ole", "machine.rehearsal", &["delay_s=2"]);
    assert_eq!(receipt["outcome"], "done", "{receipt}");
    assert_eq!(receipt["result"]["rehearsed"], true);
}

#[test]
fn a_reboot_does_not_happen_if_its_share_is_cancelled_during_the_countdown() {
    let machine = Machine::new();
    let _logind = logind(&machine);
    let share = machine.site.share("anna", "machine.rehearsal");
    let url = machine.site.cloud.url();
    let receipt = machine.while_running("anna", "machine.rehearsal", &["delay_s=60"], || {
        let cancel = ["cancel", "ups-7", &share, "--broker", &url];
        machine.site.doorkey(&cancel);
    });
    assert_eq!(receipt["outcome"], "failed", "{receipt}");
    assert_eq!(receipt["code"], "revoked");
    assert_eq!(
        machine.send("ole", "machine.cancel", &[])["code"],
        "no_effect",
        "nothing is scheduled"
    );
}

#[test]
fn s07_only_allowed_calls_reach_logind_and_its_refusals_are_reported() {
    let machine = Machine::new();
    let logind = Logind::default();
    machine.bus.serve(LOGIND.0, LOGIND.1, logind.clone());
    machine.site.share("anna", "machine.reboot");
    assert_eq!(
        machine.send("anna", "machine.off", &[])["code"],
        "not_granted"
    );
    assert_eq!(
        machine.send("anna", "machine.reboot", &["delay_s=601"])["code"],
        "param"
    );
    assert_eq!(logind.calls.all(), Vec::<String>::new());
    logind.refuses.store(true, Ordering::Relaxed);
    let receipt = machine.send("anna", "machine.reboot", &[]);
    assert_eq!(receipt["outcome"], "failed");
    assert!(detail(&receipt).contains("polkit"), "{receipt}");
    assert_eq!(logind.calls.all(), Vec::<String>::new());
    logind.refuses.store(false, Ordering::Relaxed);
    // The machine does not reboot, and no reboot is reported.
    let receipt = machine.send("anna", "machine.reboot", &["delay_s=0"]);
    assert_eq!(receipt["code"], "timeout", "{receipt}");
    let receipt = machine.send("ole", "machine.off", &[]);
    assert_eq!(receipt["code"], "timeout", "{receipt}");
    assert_eq!(logind.calls.all(), ["reboot false", "power-off false"]);
}

#[test]
fn a_fifth_reboot_within_an_hour_is_refused_for_the_owner_too_and_after_a_restart() {
    let mut machine = Machine::new();
    let logind = Logind::default();
    machine.bus.serve(LOGIND.0, LOGIND.1, logind.clone());
    for _ in 0..4 {
        assert_eq!(
            machine.send("ole", "machine.reboot", &[])["code"],
            "timeout"
        );
    }
    machine.site.kill();
    machine.site.start_with(&[machine.bus.environment()]);
    machine.site.ready();
    assert_eq!(
        machine.send("ole", "machine.reboot", &[])["code"],
        "interlock"
    );
    assert_eq!(logind.calls.all().len(), 4);
}

/// A stub of systemd's interface with three units.
struct Systemd {
    calls: Calls,
    next: u32,
}

impl Systemd {
    fn job(
        &mut self,
        call: &str,
        unit: String,
        emitter: SignalEmitter<'_>,
    ) -> zbus::fdo::Result<OwnedObjectPath> {
        self.calls.add(format!("{call} {unit}"));
        if unit == "foreign.service" {
            return Err(zbus::fdo::Error::AccessDenied("Permission denied".into()));
        }
        self.next += 1;
        let id = self.next;
        let path: OwnedObjectPath = format!("/org/freedesktop/systemd1/job/{id}")
            .try_into()
            .unwrap();
        let (emitter, job) = (emitter.into_owned(), path.clone());
        let result = if unit == "broken.service" {
            "failed"
        } else {
            "done"
        };
        tokio::spawn(async move {
            // The end of another job is signalled first.
            for (job, result) in [
                ("/org/freedesktop/systemd1/job/999", "failed"),
                (job.as_str(), result),
            ] {
                let job = ObjectPath::try_from(job).unwrap();
                Self::job_removed(&emitter, id, job, unit.clone(), result.to_owned())
                    .await
                    .unwrap();
            }
        });
        Ok(path)
    }
}

#[zbus::interface(name = "org.freedesktop.systemd1.Manager")]
impl Systemd {
    fn subscribe(&self) {}

    fn load_unit(&self, _name: String) -> OwnedObjectPath {
        "/org/freedesktop/systemd1/unit/any".try_into().unwrap()
    }

    fn restart_unit(
        &mut self,
        name: String,
        mode: String,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> zbus::fdo::Result<OwnedObjectPath> {
        self.job(&format!("restart/{mode}"), name, emitter)
    }

    fn start_unit(
        &mut self,
        name: String,
        mode: String,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> zbus::fdo::Result<OwnedObjectPath> {
        self.job(&format!("start/{mode}"), name, emitter)
    }

    fn stop_unit(
        &mut self,
        name: String,
        mode: String,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> zbus::fdo::Result<OwnedObjectPath> {
        self.job(&format!("stop/{mode}"), name, emitter)
    }

    #[zbus(signal)]
    async fn job_removed(
        emitter: &SignalEmitter<'_>,
        id: u32,
        job: ObjectPath<'_>,
        unit: String,
        result: String,
    ) -> zbus::Result<()>;
}

struct Unit;

#[zbus::interface(name = "org.freedesktop.systemd1.Unit")]
impl Unit {
    #[zbus(property)]
    fn active_state(&self) -> &str {
        "active"
    }
}

#[test]
fn a_unit_operation_ends_with_its_own_job_and_a_command_cannot_choose_the_unit() {
    let machine = Machine::new();
    let calls = Calls::default();
    let systemd = Systemd {
        calls: calls.clone(),
        next: 0,
    };
    let before = machine.send("ole", "service.restart", &[]);
    assert!(
        detail(&before).contains("does not run on this machine"),
        "{before}"
    );
    machine.bus.serve_both(
        "org.freedesktop.systemd1",
        ("/org/freedesktop/systemd1", systemd),
        ("/org/freedesktop/systemd1/unit/any", Unit),
    );
    machine.site.share("anna", "service.restart");
    assert_eq!(
        machine.send("anna", "service.broken", &[])["code"],
        "not_granted"
    );
    assert_eq!(
        machine.send("anna", "service.restart", &["unit=ssh.service"])["code"],
        "param"
    );
    assert_eq!(calls.all(), Vec::<String>::new());
    let done = machine.send("anna", "service.restart", &[]);
    assert_eq!(done["outcome"], "done", "{done}");
    assert_eq!(done["result"]["state"], "active");
    let failed = machine.send("ole", "service.broken", &[]);
    assert!(detail(&failed).contains("ended as `failed`"), "{failed}");
    let refused = machine.send("ole", "service.foreign", &[]);
    assert!(detail(&refused).contains("polkit"), "{refused}");
    assert_eq!(
        calls.all(),
        [
            "restart/replace modbus@1.service",
            "start/replace broken.service",
            "stop/replace foreign.service"
        ]
    );
}
