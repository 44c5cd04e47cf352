//! The init scripts for systems without systemd: the OpenRC script with OpenRC itself, the OpenWrt
//! script with stubs for the functions of procd.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("packaging")
        .join(name)
}

/// A directory for a script with replaced paths, and for a stub daemon that records its arguments.
struct Bench {
    directory: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        std::fs::set_permissions(bench.path(), PermissionsExt::from_mode(0o777)).unwrap();
        let state = bench.path().join("state");
        let config = format!("state = \"{}\"\n", state.display());
        std::fs::write(bench.path().join("doorward.toml"), config).unwrap();
        bench.program(
            "doorward",
            "echo \"$@\" >> \"$(dirname \"$0\")/called\"; exec sleep 30",
        );
        bench
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn program(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        path
    }

    fn provisioned(&self) {
        let identity = self.path().join("state/identity");
        std::fs::create_dir_all(&identity).unwrap();
        std::fs::write(identity.join("device.id"), "ups-7").unwrap();
    }

    /// Installs a script with the paths of this directory.
    fn installed(&self, name: &str) -> PathBuf {
        let here = self.path().display().to_string();
        let text = std::fs::read_to_string(script(name))
            .unwrap()
            .replace(
                "/etc/doorward/doorward.toml",
                &format!("{here}/doorward.toml"),
            )
            .replace("/usr/bin/doorward", &format!("{here}/doorward"))
            .replace("/var/log/doorward.log", &format!("{here}/log"))
            .replace("doorward:doorward", "nobody:nogroup");
        std::fs::create_dir_all(self.path().join("init.d")).unwrap();
        let path = self.path().join("init.d/doorward");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        path
    }

    fn called(&self) -> String {
        std::fs::read_to_string(self.path().join("called")).unwrap_or_default()
    }
}

/// Runs shell commands as root in an environment where OpenRC has booted.
fn with_openrc(lines: &str) -> Output {
    let world = "mount -t tmpfs tmpfs /run && mkdir /run/openrc && cd /run/openrc && mkdir daemons \
                 exclusive failed hotplugged inactive options scheduled started starting stopping \
                 wasinactive && touch softlevel && cd /";
    Command::new("unshare")
        .args([
            "--mount",
            "--pid",
            "--fork",
            "--mount-proc",
            "--kill-child",
            "sh",
            "-c",
        ])
        .arg(format!("{world} && {lines}"))
        .output()
        .unwrap()
}

#[test]
fn openrc_starts_the_daemon_as_its_user_and_stops_it() {
    let bench = Bench::new();
    let service = bench.installed("openrc");
    let service = service.display();
    // Without its dependencies, which are not installed here.
    let rc = format!("/sbin/openrc-run {service} --nodeps");
    let out = with_openrc(&format!("{rc} start"));
    assert!(!out.status.success(), "{out:?}");
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(
        text.contains("no identity; run: doorward provision"),
        "{text}"
    );
    assert_eq!(bench.called(), "");
    bench.provisioned();
    let who =
        "for i in 1 2 3 4 5 6 7 8 9 10; do pgrep -u nobody -f 'sleep 30' && break; sleep 0.2; done";
    let out = with_openrc(&format!(
        "{rc} start && {who} && {rc} status && {rc} stop && ! pgrep -u nobody -f 'sleep 30'"
    ));
    assert!(out.status.success(), "{out:?}");
    let config = bench.path().join("doorward.toml");
    let expected = format!("run --config {}\n", config.display());
    assert_eq!(bench.called(), expected);
}

/// Runs the script with stubs of procd; returns the calls of procd and the exit status.
fn procd(bench: &Bench) -> (String, i32) {
    let service = bench.installed("procd");
    let stub = bench.program(
        "rc.common",
        "procd_open_instance() { echo open; }\nprocd_close_instance() { echo close; }\n\
         procd_set_param() { echo \"$@\"; }\nlogger() { echo \"$@\"; }\n. \"$1\"\n$2\n",
    );
    let out = Command::new("sh")
        .arg(stub)
        .arg(service)
        .arg("start_service")
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&out.stdout).into_owned();
    (output, out.status.code().unwrap())
}

#[test]
fn procd_gets_the_program_its_user_and_the_respawn_setting() {
    let bench = Bench::new();
    let (output, status) = procd(&bench);
    assert_eq!(status, 1, "{output}");
    assert!(
        output.contains("no identity; run: doorward provision"),
        "{output}"
    );
    assert!(!output.contains("open"), "{output}");
    bench.provisioned();
    let (output, status) = procd(&bench);
    assert_eq!(status, 0, "{output}");
    let here = bench.path().display();
    let command = format!("open\ncommand {here}/doorward run --config {here}/doorward.toml\n");
    assert!(output.starts_with(&command), "{output}");
    for line in [
        "user doorward\n",
        "respawn 3600 5 0\n",
        "no_new_privs 1\n",
        "close\n",
    ] {
        assert!(output.contains(line), "{line}: {output}");
    }
}

#[test]
fn the_shell_parses_every_line_of_the_scripts() {
    for name in [
        "openrc",
        "procd",
        "build",
        "debian/postinst",
        "debian/prerm",
        "debian/postrm",
    ] {
        let shell = if name == "build" { "bash" } else { "sh" };
        let out = Command::new(shell)
            .arg("-n")
            .arg(script(name))
            .output()
            .unwrap();
        assert!(out.status.success(), "{name}: {out:?}");
    }
}
