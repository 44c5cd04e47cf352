//! A device with a UPS behind Debian's upsd.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use doorward_testkit::site::{COUNT, Process, Site, free_port, wait_until};

/// A simulated driver that implements the protocol of upsd's driver socket.
pub(crate) const SIMULATED: &str = "doorward-sim";

pub(crate) const OPERATIONS: &str = r#"
[operations."ups.read"]
class = "read"
handler = "nut"
read = ["ups.status", "ups.delay.shutdown"]
[operations."diag.selftest"]
class = "change"
handler = "nut"
command = "test.battery.start.quick"
read = ["ups.status"]
interlocks = ["on_battery"]
[operations."power.shutdown.return"]
class = "danger"
handler = "nut"
command = "shutdown.return"
[operations."power.load.off"]
class = "danger"
handler = "nut"
command = "load.off"
[operations."config.write:ups.delay.shutdown"]
class = "change"
handler = "nut"
variable = "ups.delay.shutdown"
read = ["ups.delay.shutdown"]
args.value = { type = "int", min = 12, max = 600 }
"#;

/// A registered device with a UPS.
pub(crate) struct Powered {
    pub(crate) site: Site,
    pub(crate) processes: Vec<Process>,
}

impl Powered {
    pub(crate) fn new() -> Self {
        let ups = "driver = nutdrv_qx\nport = {}/tty\nprotocol = megatec\npollinterval = 1\n";
        Self::with("nutdrv_qx", ups, OPERATIONS)
    }

    /// With another driver, its lines in ups.conf, and the given operations.
    pub(crate) fn with(driver: &str, lines: &str, operations: &str) -> Self {
        Self::secured(driver, lines, operations, |_| Default::default())
    }

    /// With more lines in upsd.conf and in `[nut]`, which `prepare` makes in the directory of NUT.
    pub(crate) fn secured(
        driver: &str,
        lines: &str,
        operations: &str,
        prepare: impl FnOnce(&Path) -> (String, String),
    ) -> Self {
        let mut site = Site::new(COUNT);
        site.ready();
        site.kill();
        let nut = site.path().join("nut");
        std::fs::create_dir(&nut).unwrap();
        let port = free_port();
        let write = |name: &str, text: &str| {
            use std::os::unix::fs::PermissionsExt;
            let path = nut.join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
            path
        };
        let state = nut.display();
        write("nut.conf", "MODE=standalone\n");
        let (more, more_of_nut) = prepare(&nut);
        let upsd = format!("LISTEN 127.0.0.1 {port}\nSTATEPATH {state}\nMAXAGE 15\n{more}");
        write("upsd.conf", &upsd);
        // upsd does not allow doorward to use load.off.
        write(
            "upsd.users",
            "[doorward]\npassword = s3cret\nactions = SET\n\
             instcmds = test.battery.start.quick\ninstcmds = shutdown.return\n\
             instcmds = outlet.1.load.cycle\ninstcmds = outlet.2.load.cycle\n\
             instcmds = calibrate.start\ninstcmds = test.battery.start.deep\n\
             instcmds = test.panel.start\ninstcmds = beeper.mute\n",
        );
        let lines = lines.replace("{}", nut.to_str().unwrap());
        write("ups.conf", &format!("[ups]\n{lines}"));
        write("device.dev", "ups.id: none\nups.status: OL\n");
        let password = write("password", "s3cret\n");
        let mut powered = Self {
            site,
            processes: Vec::new(),
        };
        if driver != SIMULATED {
            powered.start_ups();
        }
        for program in [driver, "upsd"] {
            let mut command = match program {
                SIMULATED => {
                    let mut command = Command::new("python3");
                    command.arg(concat!(
                        env!("CARGO_MANIFEST_DIR"),
                        "/tests/platform/nut/driver.py"
                    ));
                    command.args([nut.join(format!("{driver}-ups")), nut.join("wire")]);
                    command
                }
                _ => Command::new(format!("/lib/nut/{program}")),
            };
            command.args(match program {
                "upsd" => &["-F", "-u", "root"][..],
                SIMULATED => &[],
                _ => &["-F", "-u", "root", "-a", "ups"],
            });
            let log = std::fs::File::create(nut.join(format!("{program}.log"))).unwrap();
            let child = command
                .env("NUT_CONFPATH", &nut)
                .env("NUT_STATEPATH", &nut)
                .env("NUT_ALTPIDPATH", &nut)
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .expect("nut-server is not installed; `tests/run` installs what tests need");
            powered.processes.push(Process(child));
            if program == driver {
                let socket = nut.join(format!("{driver}-ups"));
                wait_until("the driver listens", || socket.exists());
            }
        }
        let path = powered.site.path().join("doorward.toml");
        let config = std::fs::read_to_string(&path).unwrap();
        let section = format!(
            "[nut]\naddress = \"127.0.0.1:{port}\"\nups = \"ups\"\nuser = \"doorward\"\n\
             password_file = \"{}\"\n{more_of_nut}",
            password.display()
        );
        std::fs::write(&path, format!("{config}{section}{operations}")).unwrap();
        powered.site.start();
        powered.site.ready();
        if more_of_nut.is_empty() {
            wait_until("upsd knows the UPS", || {
                powered.try_read()["result"]["ups.status"] == "OL"
            });
        }
        powered
    }

    /// Reads the UPS as the owner; waits while a new driver has no data yet.
    pub(crate) fn try_read(&self) -> serde_json::Value {
        let mut read = serde_json::Value::Null;
        for _ in 0..50 {
            read = self.send("ole", "ups.read", &[]);
            let detail = read["detail"].as_str().unwrap_or_default();
            if !detail.contains("the driver has lost the UPS") {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        read
    }

    pub(crate) fn nut(&self, name: &str) -> PathBuf {
        self.site.path().join("nut").join(name)
    }

    fn start_ups(&mut self) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/platform/nut/ups.py");
        let mut ups = Command::new("python3")
            .arg(script)
            .args([self.nut("tty"), self.nut("wire")])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = ups.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        self.processes.push(Process(ups));
    }

    /// Commands that have reached the UPS.
    pub(crate) fn wire(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.nut("wire")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    pub(crate) fn send(&self, person: &str, operation: &str, args: &[&str]) -> serde_json::Value {
        self.site.send_with(person, operation, args, 15)
    }
}
