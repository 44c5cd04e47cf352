//! RAUC: Debian's, with files as slots and a script as boot loader, or a stub of its interface that
//! behaves as a test needs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use zbus::Variant;
use zbus::object_server::SignalEmitter;

use super::certificate::{self, run};
use crate::system_bus::{Calls, SystemBus};
use doorward_testkit::site::{Process, wait_until};

const NAME: &str = "de.pengutronix.rauc";

/// Debian's RAUC.
pub(crate) struct Rauc {
    directory: PathBuf,
    service: Option<Process>,
}

const BOOT_LOADER: &str = r#"#!/bin/sh
PATH=/bin:/usr/bin
cd "$(dirname "$0")"
case $1 in
get-primary) cat primary 2>/dev/null || echo A ;;
set-primary) echo "$2" > primary ;;
get-state) cat "state.$2" 2>/dev/null || echo good ;;
set-state) echo "$3" > "state.$2" ;;
esac
echo "$@" | grep set- >> calls
true
"#;

impl Rauc {
    /// Returns whether RAUC can run on this machine.
    pub(crate) fn is_available() -> bool {
        let filesystems = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
        Path::new("/usr/bin/rauc").exists()
            && Path::new("/dev/loop-control").exists()
            && filesystems.contains("squashfs")
    }

    /// Starts RAUC; the machine runs from slot A.
    pub(crate) fn start(directory: &Path, bus: &SystemBus) -> Self {
        let directory = directory.join("rauc");
        std::fs::create_dir_all(directory.join("mnt")).unwrap();
        let at = directory.display();
        let config = format!(
            "[system]\ncompatible=Smart-UPS\nbootloader=custom\nmountprefix={at}/mnt\n\
             statusfile={at}/status\n[handlers]\nbootloader-custom-backend={at}/boot\n\
             [keyring]\npath={at}/cert.pem\n\
             [slot.rootfs.0]\ndevice={at}/slot-a\ntype=raw\nbootname=A\n\
             [slot.rootfs.1]\ndevice={at}/slot-b\ntype=raw\nbootname=B\n"
        );
        std::fs::write(directory.join("system.conf"), config).unwrap();
        std::fs::write(directory.join("boot"), BOOT_LOADER).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(directory.join("boot"), mode).unwrap();
        for slot in ["slot-a", "slot-b"] {
            std::fs::write(directory.join(slot), vec![0; 256 << 10]).unwrap();
        }
        certificate::make(&directory, "rauc");
        let mut rauc = Self {
            directory,
            service: None,
        };
        rauc.boots("A", bus);
        rauc
    }

    /// It runs in the slot that has booted.
    pub(crate) fn boots(&mut self, slot: &str, bus: &SystemBus) {
        self.service = None;
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.directory.join("log"))
            .unwrap();
        let service = Command::new("/usr/bin/rauc")
            .current_dir(&self.directory)
            .args([
                "--conf=system.conf",
                &format!("--override-boot-slot={slot}"),
                "service",
            ])
            .env("DBUS_SYSTEM_BUS_ADDRESS", &bus.address)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.service = Some(Process(service));
        wait_until("rauc is on the bus", || bus.has(NAME));
    }

    /// Makes a bundle for RAUC with the content of a slot.
    pub(crate) fn bundle(&self, compatible: &str, content: &[u8]) -> Vec<u8> {
        let (input, output) = (
            self.directory.join("input"),
            self.directory.join("bundle.raucb"),
        );
        let _ = std::fs::remove_dir_all(&input);
        let _ = std::fs::remove_file(&output);
        std::fs::create_dir(&input).unwrap();
        std::fs::write(input.join("rootfs.img"), content).unwrap();
        let manifest = format!(
            "[update]\ncompatible={compatible}\nversion=8\n[bundle]\nformat=plain\n\
             [image.rootfs]\nfilename=rootfs.img\n"
        );
        std::fs::write(input.join("manifest.raucm"), manifest).unwrap();
        run(Command::new("/usr/bin/rauc")
            .current_dir(&self.directory)
            .args([
                "--cert",
                "cert.pem",
                "--key",
                "key.pem",
                "bundle",
                "input",
                "bundle.raucb",
            ]));
        std::fs::read(output).unwrap()
    }

    pub(crate) fn slot(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.directory.join(format!("slot-{name}"))).unwrap()
    }

    /// Calls of the boot loader script.
    pub(crate) fn calls(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.directory.join("calls")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Slot of the next boot.
    pub(crate) fn primary(&self) -> String {
        let text = std::fs::read_to_string(self.directory.join("primary"));
        text.map_or("A".to_owned(), |text| text.trim().to_owned())
    }
}

/// Result of the stub's installations.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum InstallResult {
    Success,
    Failure,
    Never,
}

/// A stub of RAUC's interface without slots.
#[derive(Clone)]
pub(crate) struct RaucStub {
    pub(crate) calls: Calls,
    pub(crate) result: Arc<Mutex<InstallResult>>,
    busy: Arc<Mutex<bool>>,
}

impl RaucStub {
    pub(crate) fn serve(bus: &SystemBus, result: InstallResult) -> Self {
        let stub = Self {
            calls: Calls::default(),
            result: Arc::new(Mutex::new(result)),
            busy: Arc::default(),
        };
        bus.serve(NAME, "/", stub.clone());
        stub
    }
}

#[zbus::interface(name = "de.pengutronix.rauc.Installer")]
impl RaucStub {
    fn info(&self, _bundle: String) -> (&str, &str) {
        ("Smart-UPS", "8")
    }

    fn install_bundle(
        &self,
        source: String,
        _args: std::collections::HashMap<String, Variant<'_>>,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) {
        let image = std::fs::read(source).unwrap();
        self.calls.add(format!("install {} bytes", image.len()));
        *self.busy.lock().unwrap() = true;
        let (planned, busy) = (*self.result.lock().unwrap(), Arc::clone(&self.busy));
        let emitter = emitter.into_owned();
        tokio::spawn(async move {
            if planned != InstallResult::Never {
                tokio::time::sleep(std::time::Duration::from_millis(1200)).await;
                *busy.lock().unwrap() = false;
                let result = i32::from(planned == InstallResult::Failure);
                Self::completed(&emitter, result).await.unwrap();
            }
        });
    }

    fn mark(&self, state: String, slot: String) -> (String, String) {
        self.calls.add(format!("mark {state} {slot}"));
        ("rootfs.0".to_owned(), "marked".to_owned())
    }

    #[zbus(property)]
    fn operation(&self) -> &str {
        match *self.busy.lock().unwrap() {
            true => "installing",
            false => "idle",
        }
    }

    #[zbus(property)]
    fn last_error(&self) -> &str {
        "slot rootfs.1: no space left"
    }

    #[zbus(property)]
    fn progress(&self) -> (i32, &str, i32) {
        (40, "Updating slots", 1)
    }

    #[zbus(property)]
    fn compatible(&self) -> &str {
        "Smart-UPS"
    }

    #[zbus(signal)]
    async fn completed(emitter: &SignalEmitter<'_>, result: i32) -> zbus::Result<()>;
}

/// A stub of logind that records reboots; the test restarts the daemon.
#[derive(Clone, Default)]
pub(crate) struct Logind {
    pub(crate) calls: Calls,
}

#[zbus::interface(name = "org.freedesktop.login1.Manager")]
impl Logind {
    fn reboot(&self, _interactive: bool) {
        self.calls.add("reboot");
    }
}
