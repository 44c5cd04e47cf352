//! A site for tests of the system tier: mosquitto, the daemon and users with key files, in a
//! directory of its own and on loopback; processes are stopped by pid.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use doorward_client::CommandRequest;
use doorward_protocol::wire::{Id, Map, Operation, Text, Value};
use doorward_transport::{Broker, BrokerUrl};

pub const DOORWARD: &str = concat!(env!("PROGRAMS"), "/doorward");
pub const DOORKEY: &str = concat!(env!("PROGRAMS"), "/doorkey");

/// The daemon under test: `DOORWARD_PROGRAM` can name another build of it; `tests/arm` names one
/// for ARM under qemu.
pub fn doorward() -> std::ffi::OsString {
    std::env::var_os("DOORWARD_PROGRAM").unwrap_or_else(|| DOORWARD.into())
}

/// A reboot script that appends a line to `reboots` in its own directory; the daemon runs it with
/// an empty environment.
pub const COUNT: &str = "cd \"$(/usr/bin/dirname \"$0\")\"\necho x >> reboots";

/// A request for an operation of "ups-7".
pub fn wish(operation: &str, args: Map<Text, Value>) -> CommandRequest {
    CommandRequest {
        device: Id::new("ups-7").unwrap(),
        operation: Operation::new(operation).unwrap(),
        args,
        ttl: 300,
        dry: false,
    }
}

/// Runs a future on a single-threaded runtime.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// A child process that is killed at the end of the test.
pub struct Process(pub Child);

impl Process {
    /// Kills the process with SIGKILL.
    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A broker: mosquitto of Debian.
pub struct Mosquitto {
    pub port: u16,
    directory: PathBuf,
    process: Option<Process>,
    /// Additional lines of its configuration.
    pub more: String,
}

impl Mosquitto {
    pub fn start(directory: &Path, name: &str) -> Self {
        let mut broker = Self {
            port: free_port(),
            directory: directory.join(name),
            process: None,
            more: String::new(),
        };
        std::fs::create_dir(&broker.directory).unwrap();
        broker.again();
        broker
    }

    /// Starts it for the first time, or again after a stop, on the same port with its stored state.
    pub fn again(&mut self) {
        let directory = self.directory.display();
        let config = format!(
            "listener {} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n\
             persistence true\npersistence_location {directory}/\nuser root\n{}",
            self.port, self.more
        );
        let path = self.directory.join("mosquitto.conf");
        std::fs::write(&path, config).unwrap();
        let log = std::fs::File::create(self.directory.join("log")).unwrap();
        let child = Command::new(program("mosquitto"))
            .arg("-c")
            .arg(path)
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("mosquitto is not installed; `tests/run` installs the required packages");
        self.process = Some(Process(child));
        let port = self.port;
        wait_until("mosquitto listens", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
    }

    /// Stops it with SIGTERM, so that it saves its sessions.
    pub fn stop(&mut self) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        let pid = process.0.id().to_string();
        let status = Command::new("kill").arg(pid).status().unwrap();
        assert!(status.success());
        process.0.wait().unwrap();
    }

    /// Kills it with SIGKILL: state that was not saved is lost.
    pub fn kill(&mut self) {
        self.process.take().unwrap().kill();
    }

    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    pub fn broker(&self) -> Broker {
        self.url().parse::<BrokerUrl>().unwrap().into()
    }
}

/// Debian installs daemons in /usr/sbin, which may not be in PATH.
fn program(name: &str) -> PathBuf {
    let sbin = Path::new("/usr/sbin").join(name);
    if sbin.exists() { sbin } else { name.into() }
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// Waits until a condition caused by another process is met; fails after 20 seconds.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "timeout after 20 s: {what}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A broker, an issuer, and a provisioned, registered device "ups-7" owned by ole.
pub struct Site {
    pub directory: tempfile::TempDir,
    pub cloud: Mosquitto,
    pub device_key: String,
    pub daemon: Option<Process>,
}

impl Site {
    /// `reboot` is the shell script that replaces a reboot.
    pub fn new(reboot: &str) -> Self {
        let site = Self::provisioned(reboot);
        site.person("ole");
        let url = site.cloud.url();
        site.doorkey(&[
            "register",
            "ups-7",
            "--device-public-key",
            &site.device_key,
            "--owner",
            "ole",
            "--owner-public-key",
            "ole.pub",
            "--broker",
            &url,
        ]);
        site
    }

    /// A running device without an owner.
    pub fn provisioned(reboot: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let cloud = Mosquitto::start(path, "cloud");
        let mut site = Self {
            cloud,
            device_key: String::new(),
            daemon: None,
            directory,
        };
        site.write_config(reboot);
        site.doorkey(&["issuer", "init", "acme"]);
        let provisioned = site.doorward(&[
            "provision",
            "--state",
            "state",
            "--device",
            "ups-7",
            "--issuers",
            "issuer/issuers.cwt",
            "--yes",
            "--json",
        ]);
        let claim: serde_json::Value = serde_json::from_slice(&provisioned.stdout).unwrap();
        site.device_key = claim["key"].as_str().unwrap().to_owned();
        site.start();
        site
    }

    fn write_config(&self, reboot: &str) {
        self.write_config_with(&format!("url = \"{}\"", self.cloud.url()), reboot);
    }

    /// Writes the configuration; `link` is the content of the section `links.cloud`.
    pub fn write_config_with(&self, link: &str, reboot: &str) {
        let path = self.path();
        let script = path.join("reboot.sh");
        std::fs::write(&script, format!("#!/bin/sh\n{reboot}\n")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(&script, mode).unwrap();
        let config = format!(
            "state = \"{state}\"\n[links.cloud]\n{link}\n\
             [operations.\"status.read\"]\nclass = \"read\"\nhandler = \"builtin\"\n\
             [operations.\"history.read\"]\nclass = \"read\"\nhandler = \"builtin\"\n\
             [operations.\"device.reboot\"]\nclass = \"interrupt\"\nhandler = \"exec\"\n\
             argv = [\"{reboot}\"]\ntimeout_s = 20\n",
            state = path.join("state").display(),
            reboot = script.display(),
        );
        std::fs::write(path.join("doorward.toml"), config).unwrap();
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Creates a user with a new key, in NAME.key and NAME.pub.
    pub fn person(&self, name: &str) {
        self.doorkey(&["key", "new", &format!("{name}.key")]);
    }

    /// Creates a user and a share for them, with the pass in NAME.pass. Returns the share's id.
    pub fn share(&self, name: &str, operations: &str) -> String {
        self.person(name);
        let url = self.cloud.url();
        let out = self.doorkey(&[
            "share",
            "ups-7",
            "--to",
            name,
            "--public-key",
            &format!("{name}.pub"),
            "--allow",
            operations,
            "--out",
            &format!("{name}.pass"),
            "--broker",
            &url,
            "--json",
        ]);
        let share: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        share["shares"][0]["share"].as_str().unwrap().to_owned()
    }

    /// Starts the daemon.
    pub fn start(&mut self) {
        self.start_with(&[]);
    }

    /// Starts the daemon with additional environment variables.
    pub fn start_with(&mut self, environment: &[(&str, String)]) {
        self.start_by(Command::new(doorward()), environment);
    }

    /// Starts the daemon as after a reboot, with a new boot id. Requires root.
    pub fn start_booted(&mut self, environment: &[(&str, String)]) {
        let mut boot = [0; 16];
        getrandom::fill(&mut boot).unwrap();
        let path = self.path().join("boot-id");
        let id = u128::from_be_bytes(boot);
        std::fs::write(&path, format!("{id:032x}\n")).unwrap();
        self.start_in_that_boot(environment);
    }

    /// Starts the daemon again with the boot id of the last `start_booted`.
    pub fn start_in_that_boot(&mut self, environment: &[(&str, String)]) {
        let path = self.path().join("boot-id");
        let mut unshare = Command::new("unshare");
        let script = "mount --bind \"$1\" /proc/sys/kernel/random/boot_id && shift && exec \"$@\"";
        unshare
            .args(["--mount", "sh", "-c", script, "sh"])
            .arg(path)
            .arg(doorward());
        self.start_by(unshare, environment);
    }

    fn start_by(&mut self, mut command: Command, environment: &[(&str, String)]) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.path().join("doorward.log"))
            .unwrap();
        let child = command
            .args(["run", "--config", "doorward.toml"])
            .current_dir(self.path())
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stderr(log)
            .spawn()
            .unwrap();
        self.daemon = Some(Process(child));
    }

    /// Kills the daemon with SIGKILL.
    pub fn kill(&mut self) {
        self.daemon.take().unwrap().kill();
    }

    /// Waits until the daemon exits by itself; kills it after `timeout`. Returns whether it exited.
    pub fn wait_for_its_end(&mut self, timeout: Duration) -> bool {
        let mut daemon = self.daemon.take().unwrap();
        let start = Instant::now();
        while start.elapsed() < timeout {
            if daemon.0.try_wait().unwrap().is_some() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        daemon.kill();
        false
    }

    /// The status of the daemon as JSON; null while it does not run.
    pub fn status(&self) -> serde_json::Value {
        let out = self.run(DOORWARD, &["status", "--state", "state", "--json"]);
        serde_json::from_slice(&out.stdout).unwrap_or_default()
    }

    /// Waits until the daemon answers a command of its owner.
    pub fn ready(&self) {
        wait_until("the daemon answers its owner", || {
            self.send("ole", "status.read", 2)["outcome"] == "done"
        });
    }

    /// Sends a command as a user and returns the output of `doorkey send --json`.
    pub fn send(&self, person: &str, operation: &str, wait: u32) -> serde_json::Value {
        self.send_with(person, operation, &[], wait)
    }

    /// The same with arguments in the form NAME=VALUE.
    pub fn send_with(
        &self,
        person: &str,
        operation: &str,
        arguments: &[&str],
        wait: u32,
    ) -> serde_json::Value {
        let out = self.try_send_with(person, operation, arguments, wait);
        serde_json::from_slice(&out.stdout).unwrap_or_default()
    }

    pub fn try_send(&self, person: &str, operation: &str, wait: u32) -> Output {
        self.try_send_with(person, operation, &[], wait)
    }

    /// The same with arguments in the form NAME=VALUE.
    pub fn try_send_with(
        &self,
        person: &str,
        operation: &str,
        arguments: &[&str],
        wait: u32,
    ) -> Output {
        let url = self.cloud.url();
        let (key, pass) = (format!("{person}.key"), format!("{person}.pass"));
        let wait = wait.to_string();
        let mut args = vec!["send", "ups-7", operation];
        args.extend(arguments);
        args.extend(["--json", "--broker", &url, "--key", &key, "--wait", &wait]);
        // A user with a pass has no access to the issuer's files.
        let issuer = if self.path().join(&pass).exists() {
            args.extend(["--pass", &pass]);
            "none"
        } else {
            "issuer"
        };
        args.extend(["--issuer", issuer]);
        self.run(DOORKEY, &args)
    }

    /// Runs doorkey; it must succeed.
    pub fn doorkey(&self, args: &[&str]) -> Output {
        succeeded(self.run(DOORKEY, args))
    }

    /// Runs doorward; it must succeed.
    pub fn doorward(&self, args: &[&str]) -> Output {
        succeeded(self.run(DOORWARD, args))
    }

    /// Runs a program in the site's directory; `doorkey` with its issuer.
    pub fn run(&self, program: &str, args: &[&str]) -> Output {
        let program = match program {
            DOORWARD => doorward(),
            other => other.into(),
        };
        Command::new(program)
            .args(args)
            .env("DOORKEY_ISSUER", "issuer")
            .current_dir(self.path())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Number of lines that the reboot script has written to `reboots`.
    pub fn reboots(&self) -> usize {
        std::fs::read_to_string(self.path().join("reboots")).map_or(0, |t| t.lines().count())
    }

    /// The records of the event log.
    pub fn events(&self) -> Vec<serde_json::Value> {
        let out = self.doorward(&["events", "list", "--json", "--state", "state"]);
        String::from_utf8(out.stdout)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

fn succeeded(out: Output) -> Output {
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{}: {stderr}", out.status);
    out
}
