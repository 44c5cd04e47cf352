//! A platform with its service, a broker, a mail server and devices: real programs on loopback.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use doorward_testkit::site::{DOORKEY, DOORWARD, Mosquitto, Process, free_port, wait_until};

pub struct Environment {
    directory: tempfile::TempDir,
    pub broker: Mosquitto,
    processes: Vec<Process>,
    service: String,
}

impl Environment {
    /// Starts the platform acme with the holder ole and the operator otto.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let broker = Mosquitto::start(directory.path(), "broker");
        let mut environment = Self {
            directory,
            broker,
            processes: Vec::new(),
            service: String::new(),
        };
        environment.doorkey(&["issuer", "init", "acme"]);
        environment.account("ole", "holder");
        environment.account("otto", "operator");
        environment.account("collector", "user");
        let port = free_port();
        environment.start_mail_server(port);
        let (url, smtp) = (environment.broker.url(), format!("smtp://127.0.0.1:{port}"));
        let mut command = environment.command(DOORKEY);
        command
            .args([
                "serve",
                "--issuer",
                "issuer",
                "--json",
                "--listen",
                "127.0.0.1:0",
                "--requests-per-minute",
                "1000000",
            ])
            .args(["--logs", "logs", "--collector-key", "collector.key"])
            .args([
                "--broker",
                &url,
                "--smtp",
                &smtp,
                "--mail-from",
                "doors@example.org",
            ])
            .stdout(Stdio::piped())
            .stderr(environment.log("service"));
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        let out = child.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        environment.processes.push(Process(child));
        let output: Value = serde_json::from_str(&line).unwrap();
        environment.service = format!("http://{}", output["listening"].as_str().unwrap());
        environment
    }

    fn start_mail_server(&mut self, port: u16) {
        let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/interop/bin/python");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/portal/stories/mailbox.py");
        let child = self
            .command(&python.display().to_string())
            .arg(script)
            .arg(port.to_string())
            .arg(self.path("mail"))
            .stderr(self.log("mail-server"))
            .spawn()
            .expect("`tests/run` makes the Python environment");
        self.processes.push(Process(child));
        wait_until("the mail server listens", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn log(&self, name: &str) -> std::fs::File {
        std::fs::File::create(self.path(&format!("{name}.log"))).unwrap()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.directory.path())
            .env("DOORKEY_SERVICE", &self.service)
            .stdin(Stdio::null());
        command
    }

    pub fn try_doorkey(&self, args: &[&str]) -> Output {
        let mut command = self.command(DOORKEY);
        command
            .env("DOORKEY_ISSUER", "issuer")
            .args(args)
            .output()
            .unwrap()
    }

    pub fn doorkey(&self, args: &[&str]) -> Value {
        let out = self.try_doorkey(args);
        let stderr = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{args:?}: {stderr}");
        serde_json::from_slice(&out.stdout).unwrap_or_default()
    }

    /// Makes a key and an account with the address NAME@example.org.
    pub fn account(&self, name: &str, role: &str) {
        self.doorkey(&["key", "new", &format!("{name}.key")]);
        let (key, email) = (format!("{name}.pub"), format!("{name}@example.org"));
        self.doorkey(&[
            "account",
            name,
            "--public-key",
            &key,
            "--role",
            role,
            "--email",
            &email,
        ]);
    }

    /// Sends a request to the service as `who`; returns the response, or the code of the refusal.
    pub fn request(
        &self,
        who: &str,
        method: &str,
        path: &str,
        body: &Value,
    ) -> Result<Value, String> {
        let (key, text) = (format!("{who}.key"), body.to_string());
        let mut args = vec!["api", method, path];
        if !body.is_null() {
            args.push(&text);
        }
        args.extend(["--account", who, "--key", &key]);
        let out = self.try_doorkey(&args);
        if out.status.success() {
            return Ok(serde_json::from_slice(&out.stdout).unwrap_or_default());
        }
        let stderr = String::from_utf8_lossy(&out.stderr).into_owned();
        let code = stderr
            .rsplit_once(')')
            .and_then(|(before, _)| before.rsplit_once('('));
        Err(code.map_or(stderr.clone(), |(_, code)| code.to_owned()))
    }

    pub fn get(&self, who: &str, path: &str) -> Value {
        self.request(who, "GET", path, &Value::Null).unwrap()
    }

    /// Starts a new device: provisioned, running, its claim stored by the platform. Its owner claims it,
    /// and the platform puts it on a plan.
    pub fn device(&mut self, name: &str, site: Option<&str>) {
        let state = format!("{name}.state");
        let out = self
            .command(DOORWARD)
            .args([
                "provision",
                "--json",
                "--yes",
                "--issuers",
                "issuer/issuers.cwt",
            ])
            .args(["--device", name, "--state", &state])
            .output()
            .unwrap();
        let claim: Value = serde_json::from_slice(&out.stdout).unwrap();
        self.doorkey(&["claim", name, &format!("label of {name}")]);
        let script = self.path(&format!("{name}.sh"));
        std::fs::write(&script, "#!/bin/sh\nexit 0\n").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(&script, mode).unwrap();
        let config = format!(
            "state = \"{}\"\n[links.cloud]\nurl = \"{}\"\n\
             [operations.\"status.read\"]\nclass = \"read\"\nhandler = \"builtin\"\n\
             [operations.\"history.read\"]\nclass = \"read\"\nhandler = \"builtin\"\n\
             [operations.\"device.reboot\"]\nclass = \"interrupt\"\nhandler = \"exec\"\n\
             argv = [\"{}\"]\ntimeout_s = 20\n[reboots]\nmost = 16\nwithin_s = 1\n",
            self.path(&state).display(),
            self.broker.url(),
            script.display(),
        );
        let file = format!("{name}.toml");
        std::fs::write(self.path(&file), config).unwrap();
        let child = self
            .command(DOORWARD)
            .args(["run", "--config", &file])
            .stderr(self.log(name))
            .spawn()
            .unwrap();
        self.processes.push(Process(child));
        let label = json!({
            "device": name, "device_key": claim["key"], "secret": format!("label of {name}"),
            "model": "model-1", "site": site,
        });
        self.request("ole", "POST", "/v1/devices", &label).unwrap();
        self.plan(name, "advanced");
        wait_until(
            "the device has an owner and has published its operations",
            || {
                let devices = self.get("ole", "/v1/devices");
                let mut devices = devices.as_array().unwrap().iter();
                devices.any(|d| d["device"] == name && d["registered"] == true)
            },
        );
    }

    pub fn plan(&self, device: &str, plan: &str) {
        let path = format!("/v1/devices/{device}/plan");
        self.request("otto", "PUT", &path, &json!({ "plan": plan }))
            .unwrap();
    }

    /// Sends a command to a device over the broker; returns the outcome or the code.
    pub fn send(&self, who: &str, device: &str, operation: &str) -> String {
        let url = self.broker.url();
        let out = self
            .command(DOORKEY)
            .args(["send", device, operation, "--issuer", "none", "--json"])
            .args([
                "--broker",
                &url,
                "--key",
                &format!("{who}.key"),
                "--wait",
                "5",
            ])
            .args(["--device-public-key", self.key_of(device).as_str()])
            .output()
            .unwrap();
        let output: Value = serde_json::from_slice(&out.stdout).unwrap_or_default();
        let code = output["code"].as_str().or(output["outcome"].as_str());
        code.map_or_else(
            || String::from_utf8_lossy(&out.stderr).into_owned(),
            str::to_owned,
        )
    }

    fn key_of(&self, device: &str) -> String {
        let devices = self.get("ole", "/v1/devices");
        let mut devices = devices.as_array().unwrap().iter();
        let device = devices.find(|d| d["device"] == device).unwrap();
        device["key"].as_str().unwrap().to_owned()
    }

    /// Sends a command until its outcome is the expected one, since statements take a moment to arrive.
    pub fn wait_for_outcome(&self, who: &str, device: &str, operation: &str, expected: &str) {
        wait_until(
            &format!("{who}: {operation} on {device} is {expected}"),
            || self.send(who, device, operation) == expected,
        );
    }

    /// Status of a share, as its owner sees it.
    pub fn status(&self, share: &str) -> String {
        let listed = self.get("ole", "/v1/shares");
        let mut listed = listed.as_array().unwrap().iter();
        let share = listed.find(|s| s["id"] == share).unwrap();
        share["status"].as_str().unwrap().to_owned()
    }

    pub fn wait_for_status(&self, share: &str, status: &str) {
        wait_until(&format!("share {share} is {status}"), || {
            self.status(share) == status
        });
    }

    /// Makes shares as ole; returns the response of the service.
    pub fn share(
        &self,
        targets: &[&str],
        address: &str,
        permissions: &[&str],
        seconds: u64,
    ) -> Value {
        let body = json!({
            "targets": targets, "with": { "email": address }, "permissions": permissions,
            "seconds": seconds, "description": "story",
        });
        self.request("ole", "POST", "/v1/shares", &body).unwrap()
    }

    /// Subject and text of the newest e-mail to an address.
    pub fn email(&self, address: &str) -> (String, String) {
        let mut found = None;
        wait_until(&format!("an e-mail to {address}"), || {
            let files = std::fs::read_dir(self.path("mail"))
                .into_iter()
                .flatten()
                .flatten();
            let mut emails: Vec<Value> = files
                .filter_map(|file| std::fs::read(file.path()).ok())
                .filter_map(|bytes| serde_json::from_slice(&bytes).ok())
                .filter(|email: &Value| email["to"] == address)
                .collect();
            emails.sort_by_key(|email| email["number"].as_u64());
            found = emails.pop();
            found.is_some()
        });
        let email = found.unwrap();
        assert!(email["html"].as_str().unwrap().contains("<strong>"));
        let text = |part: &str| email[part].as_str().unwrap().to_owned();
        (text("subject"), text("text"))
    }

    /// Accepts an invitation with the link of the e-mail, as a new person who makes a key for it.
    pub fn accept_email(&self, name: &str) {
        let (_, text) = self.email(&format!("{name}@example.org"));
        let link = text
            .lines()
            .find(|line| line.contains("/accept/"))
            .unwrap()
            .trim();
        self.doorkey(&["accept", link, "--key", &format!("{name}.key")]);
    }

    /// Fetches the page at `path`.
    pub fn page(&self, path: &str) -> String {
        use std::io::{Read, Write};
        let address = self.service.strip_prefix("http://").unwrap();
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        page
    }
}

/// Id of the new share for a target.
pub fn share_id(made: &Value, target: &str) -> String {
    let mut each = made["each"].as_array().unwrap().iter();
    let one = each.find(|one| one["target"] == target).unwrap();
    one["share"]["id"]
        .as_str()
        .unwrap_or_else(|| panic!("{one}"))
        .to_owned()
}
