//! `doorward provision` and `doorward factory-reset`, as an installer uses them.

use doorward_testkit::site;

use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use site::{COUNT, DOORKEY, DOORWARD, Mosquitto, Site, wait_until};

/// A new device and an issuer.
struct Bench {
    directory: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        bench.doorkey(&["issuer", "init", "acme"]);
        bench
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn doorkey(&self, args: &[&str]) -> Value {
        let out = Command::new(DOORKEY)
            .args(args)
            .args(["--json"])
            .env("DOORKEY_ISSUER", "issuer")
            .current_dir(self.path())
            .output()
            .unwrap();
        assert!(out.status.success(), "{args:?}: {out:?}");
        serde_json::from_slice(&out.stdout).unwrap()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(site::doorward());
        command
            .args(args)
            .current_dir(self.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs `doorward provision` with its own configuration and state directory.
    fn provision(&self, more: &[&str]) -> Output {
        let here = ["provision", "--config", "etc/doorward.toml", "--state"];
        self.command(&[&here[..], &[&self.state()], more].concat())
            .output()
            .unwrap()
    }

    fn state(&self) -> String {
        self.path().join("state").display().to_string()
    }

    fn provisioned(&self, more: &[&str]) -> Value {
        let usual = ["--issuers", "issuer/issuers.cwt", "--yes", "--json"];
        let out = self.provision(&[&usual[..], more].concat());
        assert!(out.status.success(), "{out:?}");
        serde_json::from_slice(&out.stdout).unwrap()
    }

    /// Runs doorward on a terminal and types lines; returns output and exit status.
    fn type_in(&self, args: &[&str], input: &str) -> (String, i32) {
        let mut command = vec![site::doorward().into_string().unwrap()];
        command.extend(args.iter().map(|arg| format!("'{arg}'")));
        let mut child = Command::new("script")
            .args([
                "--quiet",
                "--return",
                "--command",
                &command.join(" "),
                "/dev/null",
            ])
            .current_dir(self.path())
            .env("NO_COLOR", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script of util-linux is not installed");
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        let out = child.wait_with_output().unwrap();
        let output = String::from_utf8_lossy(&out.stdout).replace('\r', "");
        (output, out.status.code().unwrap())
    }

    /// Every file of configuration and state with its content.
    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        for directory in ["etc", "state"] {
            collect(&self.path().join(directory), &mut found);
        }
        found.sort();
        found
    }
}

fn collect(directory: &Path, found: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => collect(&path, found),
            path => found.push((path.clone(), std::fs::read(path).unwrap())),
        }
    }
}

/// Exit status and standard error.
fn status_and_error(out: &Output) -> (i32, String) {
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    (out.status.code().unwrap(), text)
}

#[test]
fn provisioning_twice_with_the_same_values_changes_nothing() {
    let bench = Bench::new();
    let links = ["--device", "ups-7", "--cloud", "mqtts://broker.example"];
    let first = bench.provisioned(&links);
    assert_eq!(first["new"], true);
    let files = bench.files();
    let names: Vec<_> = files
        .iter()
        .map(|(path, _)| path.strip_prefix(bench.path()))
        .collect();
    assert!(
        names.contains(&Ok(Path::new("etc/doorward.toml"))),
        "{names:?}"
    );
    assert!(
        names.contains(&Ok(Path::new("etc/doorward.d/provisioned.toml"))),
        "{names:?}"
    );
    let key = bench.path().join("state/identity/device.key");
    assert_eq!(
        std::fs::metadata(key).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let again = bench.provisioned(&links);
    assert_eq!(again["new"], false);
    for same in ["device", "key", "issuers", "claim", "owner"] {
        assert_eq!(first[same], again[same], "{same}");
    }
    assert_eq!(bench.files(), files);
    let out = bench
        .command(&["validate", "--config", "etc/doorward.toml"])
        .output()
        .unwrap();
    assert!(out.status.success(), "{out:?}");
    // Another broker does not make another device.
    let moved = bench.provisioned(&["--device", "ups-7", "--cloud", "mqtts://other.example"]);
    assert_eq!(moved["key"], first["key"]);
    let part = bench.path().join("etc/doorward.d/provisioned.toml");
    assert!(
        std::fs::read_to_string(part)
            .unwrap()
            .contains("other.example")
    );
}

#[test]
fn a_provisioned_device_needs_no_issuer_file_for_another_link() {
    let bench = Bench::new();
    let cloud = ["--cloud", "mqtts://broker.example"];
    let first = bench.provisioned(&[&["--device", "ups-7"], &cloud[..]].concat());
    let out = bench.provision(&["--local", "mqtt://127.0.0.1:1884", "--json"]);
    assert!(out.status.success(), "{out:?}");
    let again: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(
        (&again["key"], &again["claim"]),
        (&first["key"], &first["claim"])
    );
    let part = bench.path().join("etc/doorward.d/provisioned.toml");
    let part = std::fs::read_to_string(part).unwrap();
    assert!(
        part.contains("broker.example") && part.contains(":1884"),
        "{part}"
    );
    // An expected fingerprint is checked here too.
    let other = "0".repeat(64);
    let (status, text) = status_and_error(&bench.provision(&["--fingerprint", &other]));
    assert_eq!(status, 77, "{text}");
    // Credentials without a link.
    let (status, text) = status_and_error(&bench.provision(&["--user", "x"]));
    assert_eq!(status, 64, "{text}");
}

#[test]
fn a_device_has_one_id_one_issuer_and_one_owner_until_it_is_reset() {
    let bench = Bench::new();
    let local = ["--local", "mqtt://127.0.0.1"];
    bench.provisioned(&[&["--device", "ups-7"], &local[..]].concat());
    let files = bench.files();
    let issuers = ["--issuers", "issuer/issuers.cwt", "--yes"];
    let (status, text) =
        status_and_error(&bench.provision(&[&issuers[..], &["--device", "ups-8"]].concat()));
    assert_eq!(status, 77, "{text}");
    assert!(text.contains("this device is ups-7 already"), "{text}");
    assert!(text.contains("doorward factory-reset"), "{text}");
    let other = Bench::new();
    let file = other
        .path()
        .join("issuer/issuers.cwt")
        .display()
        .to_string();
    let second = ["--device", "ups-7", "--issuers", &file, "--yes"];
    let (status, text) = status_and_error(&bench.provision(&second));
    assert_eq!(status, 77, "{text}");
    assert!(text.contains("trusts acme already"), "{text}");
    assert_eq!(bench.files(), files);
}

#[test]
fn a_dry_run_shows_what_would_be_done_and_changes_nothing() {
    let bench = Bench::new();
    let args = [
        "--device",
        "ups-7",
        "--issuers",
        "issuer/issuers.cwt",
        "--yes",
    ];
    let cloud = ["--cloud", "mqtts://broker.example", "--dry-run"];
    let out = bench.provision(&[&args[..], &cloud].concat());
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{out:?}");
    assert!(text.contains("Nothing was written."), "{text}");
    assert!(text.contains("url = \"mqtts://broker.example"), "{text}");
    assert_eq!(bench.files(), []);
}

#[test]
fn no_issuer_is_trusted_without_confirmation() {
    let bench = Bench::new();
    let local = ["--local", "mqtt://127.0.0.1", "--device", "ups-7"];
    let try_with = |more: &[&str]| {
        status_and_error(
            &bench.provision(&[&local[..], &["--issuers", "issuer/issuers.cwt"], more].concat()),
        )
    };
    let shown = bench.doorkey(&["issuer", "show"]);
    let fingerprint = shown["sha256"].as_str().unwrap();
    let (status, text) = try_with(&[]);
    assert_eq!(status, 64, "{text}");
    assert!(text.contains("the issuer acme was not confirmed"), "{text}");
    let wrong = fingerprint.replace(|c: char| c.is_ascii_digit(), "0");
    let (status, text) = try_with(&["--fingerprint", &wrong]);
    assert_eq!(status, 77, "{text}");
    let (status, text) = try_with(&["--fingerprint", &fingerprint[..32]]);
    assert_eq!(status, 77, "half of it: {text}");
    assert_eq!(bench.files(), []);
    // In upper case and groups, as on paper.
    let upper = fingerprint.to_uppercase();
    let groups = upper.as_bytes().chunks(4);
    let groups: Vec<_> = groups.map(String::from_utf8_lossy).collect();
    let grouped = groups.join(" ");
    let (status, text) = try_with(&["--fingerprint", &grouped]);
    assert_eq!(status, 0, "{text}");
}

#[test]
fn the_issuer_is_read_from_pasted_text_and_from_standard_input() {
    let bench = Bench::new();
    let shown = bench.doorkey(&["issuer", "show"]);
    let (text, fingerprint) = (
        shown["text"].as_str().unwrap(),
        shown["sha256"].as_str().unwrap(),
    );
    let common = [
        "provision",
        "--device",
        "ups-7",
        "--json",
        "--fingerprint",
        fingerprint,
    ];
    let args = [&common[..], &["--state", "a", "--issuers", text]].concat();
    let out = bench.command(&args).output().unwrap();
    assert!(out.status.success(), "{out:?}");
    let file = bench.path().join("issuer/issuers.cwt");
    for (name, input) in [
        ("b", text.as_bytes().to_vec()),
        ("c", std::fs::read(&file).unwrap()),
    ] {
        let args = [&common[..], &["--state", name, "--issuers", "-"]].concat();
        let mut command = bench.command(&args);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&input).unwrap();
        assert!(child.wait_with_output().unwrap().status.success());
    }
    let pinned = |name: &str| std::fs::read(bench.path().join(name).join("identity/issuers.cwt"));
    for name in ["a", "b", "c"] {
        assert_eq!(pinned(name).unwrap(), std::fs::read(&file).unwrap());
    }
    // A file that is not an issuer file is refused.
    let args = [
        &common[..],
        &["--state", "d", "--issuers", "issuer/keys/root"],
    ]
    .concat();
    let (status, error) = status_and_error(&bench.command(&args).output().unwrap());
    assert!(status == 65 || status == 74, "{status} {error}");
    assert!(!bench.path().join("d").exists());
}

#[test]
fn on_a_terminal_missing_values_are_prompted_for_and_the_claim_is_shown_as_a_qr_code() {
    let bench = Bench::new();
    let state = bench.state();
    let args = [
        "provision",
        "--config",
        "etc/doorward.toml",
        "--state",
        &state,
    ];
    // An invalid id, then a valid one; the issuer; no cloud; the default broker; no confirmation.
    let input = "ups 7\nups-7\nissuer/issuers.cwt\nnone\n\nno\n";
    let (text, status) = bench.type_in(&args, input);
    assert_eq!(status, 77, "{text}");
    assert!(text.contains("an id is 1 to 64"), "{text}");
    assert!(text.contains("the issuer was not confirmed"), "{text}");
    assert_eq!(bench.files(), []);
    let input = "ups-7\nissuer/issuers.cwt\nhttp://x\nmqtts://broker.example\n\nyes\n";
    let (text, status) = bench.type_in(&args, input);
    assert_eq!(status, 0, "{text}");
    let shown = bench.doorkey(&["issuer", "show"]);
    let groups: String = text
        .lines()
        .find(|it| it.contains("  SHA-256"))
        .unwrap()
        .into();
    let digits = groups.split_whitespace().skip(1).collect::<String>();
    assert_eq!(digits, shown["sha256"], "{text}");
    assert!(
        text.contains("doorkey register 'doorward:claim?device=ups-7&key="),
        "{text}"
    );
    assert!(text.contains('█') && text.contains('▀'), "{text}");
    let part = std::fs::read_to_string(bench.path().join("etc/doorward.d/provisioned.toml"));
    let part = part.unwrap();
    assert!(
        part.contains("[links.cloud]") && part.contains("[links.local]"),
        "{part}"
    );
}

#[test]
fn many_devices_are_provisioned_from_one_file() {
    let bench = Bench::new();
    let fingerprint = bench.doorkey(&["issuer", "show"])["sha256"].to_string();
    let password = bench.path().join("password");
    std::fs::write(&password, "x").unwrap();
    let answers = format!(
        "issuers = \"issuer/issuers.cwt\"\nfingerprint = {fingerprint}\n\
         cloud = \"mqtts://broker.example\"\nuser = \"fleet\"\npassword_file = {password:?}\n"
    );
    std::fs::write(bench.path().join("fleet.toml"), &answers).unwrap();
    let out = bench.provision(&["--answers", "fleet.toml", "--device", "ups-7", "--json"]);
    assert!(out.status.success(), "{out:?}");
    let part = std::fs::read_to_string(bench.path().join("etc/doorward.d/provisioned.toml"));
    assert!(part.unwrap().contains("user = \"fleet\""));
    // An unknown key is an error.
    std::fs::write(
        bench.path().join("fleet.toml"),
        format!("{answers}brokr = \"x\"\n"),
    )
    .unwrap();
    let (status, text) = status_and_error(&bench.provision(&["--answers", "fleet.toml"]));
    assert_eq!(status, 64, "{text}");
    assert!(text.contains("brokr"), "{text}");
}

#[test]
fn a_configuration_that_cannot_work_is_not_written() {
    let bench = Bench::new();
    let usual = [
        "--device",
        "ups-7",
        "--issuers",
        "issuer/issuers.cwt",
        "--yes",
    ];
    // The password would be sent in the clear.
    let links = [
        "--cloud",
        "mqtt://broker.example",
        "--user",
        "x",
        "--password-file",
        "/p",
    ];
    let (status, text) = status_and_error(&bench.provision(&[&usual[..], &links].concat()));
    assert_eq!(status, 78, "{text}");
    assert!(text.contains("[links.cloud]"), "{text}");
    let (status, text) = status_and_error(&bench.provision(&usual));
    assert_eq!(status, 78, "{text}");
    assert!(
        text.contains("at least one of cloud, local and listener"),
        "{text}"
    );
    assert_eq!(bench.files(), []);
}

#[test]
fn the_claim_registers_the_device_once_and_is_deleted_when_it_has_an_owner() {
    let bench = Bench::new();
    let broker = Mosquitto::start(bench.path(), "cloud");
    let url = broker.url();
    let made = bench.provisioned(&["--device", "ups-7", "--cloud", &url]);
    let claim = made["claim"].as_str().unwrap();
    bench.doorkey(&["key", "new", "ole.key"]);
    let owner = [
        "--owner",
        "ole",
        "--owner-public-key",
        "ole.pub",
        "--broker",
        &url,
    ];
    bench.doorkey(&[&["register", claim][..], &owner].concat());
    let file = bench.path().join("state/identity/claim.secret");
    assert!(file.exists());
    let daemon = bench
        .command(&["run", "--config", "etc/doorward.toml"])
        .spawn()
        .unwrap();
    let _daemon = site::Process(daemon);
    wait_until("the claim is deleted", || !file.exists());
    let again = bench.provisioned(&["--device", "ups-7"]);
    assert_eq!(
        (&again["claim"], &again["owner"]),
        (&Value::Null, &"ole".into())
    );
    assert_eq!(again["key"], made["key"]);
    // A second device id is refused once there is an owner.
    let other = [
        "--device",
        "ups-8",
        "--issuers",
        "issuer/issuers.cwt",
        "--yes",
    ];
    let (status, text) = status_and_error(&bench.provision(&other));
    assert_eq!(status, 77);
    assert!(text.contains("and belongs to ole"), "{text}");
}

#[test]
fn a_claim_stored_by_the_platform_is_accepted_as_it_was_printed() {
    let bench = Bench::new();
    let made = bench.provisioned(&["--device", "ups-7", "--local", "mqtt://127.0.0.1"]);
    let output = bench.doorkey(&["claim", made["claim"].as_str().unwrap()]);
    assert!(
        output
            .to_string()
            .contains("ups-7 can now be claimed with its claim code"),
        "{output}"
    );
}

#[test]
fn a_device_cannot_be_reset_remotely() {
    let mut site = Site::new(COUNT);
    site.ready();
    let bench = ["factory-reset", "--config", "doorward.toml"];
    // Without a terminal; on a terminal that is not the device's console; with a button not pressed.
    let out = site.run(DOORWARD, &bench);
    assert_eq!(out.status.code(), Some(77), "{out:?}");
    let input = Command::new("script")
        .args(["--quiet", "--return", "--command"])
        .arg(format!(
            "{} {}",
            site::doorward().display(),
            bench.join(" ")
        ))
        .arg("/dev/null")
        .current_dir(site.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(input.status.code(), Some(77), "{input:?}");
    let path = site.path().join("doorward.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    let with = |button: &str| {
        let text = format!("{config}[factory_reset]\npresence = [\"{button}\"]\n");
        std::fs::write(&path, text).unwrap();
        let out = site.run(
            DOORWARD,
            &["factory-reset", "--config", "doorward.toml", "--json"],
        );
        (
            out.status.code().unwrap(),
            String::from_utf8_lossy(&out.stderr).into_owned(),
        )
    };
    let (status, text) = with("/bin/false");
    assert_eq!(status, 77, "{text}");
    // The button is pressed, but the daemon is running.
    let (status, text) = with("/bin/true");
    assert_eq!(status, 74, "{text}");
    assert!(text.contains("another process holds the lock"), "{text}");
    assert!(site.path().join("state/identity/device.id").exists());
    site.kill();
}

#[test]
fn after_a_reset_the_device_has_another_key_and_the_old_registration_is_refused() {
    let mut site = Site::new(COUNT);
    site.share("anna", "status.read");
    site.ready();
    site.kill();
    let path = site.path().join("doorward.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    let config = format!("{config}[factory_reset]\npresence = [\"/bin/true\"]\n");
    std::fs::write(&path, config).unwrap();
    let out = site.doorward(&["factory-reset", "--config", "doorward.toml", "--json"]);
    let reset: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(reset["reset"], "ups-7");
    assert!(reset["head"].as_str().unwrap().contains(':'), "{reset}");
    let left: Vec<_> = std::fs::read_dir(site.path().join("state"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["lock"]);
    // A second reset has nothing to do and succeeds.
    site.doorward(&["factory-reset", "--config", "doorward.toml", "--json"]);
    let issuers = ["--issuers", "issuer/issuers.cwt", "--yes", "--json"];
    let new = ["provision", "--state", "state", "--device", "ups-7"];
    let out = site.doorward(&[&new[..], &issuers].concat());
    let made: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_ne!(made["key"], site.device_key.as_str());
    site.start();
    wait_until("the daemon runs", || site.status()["device"] == "ups-7");
    // The broker still retains the registration of the device before the reset.
    wait_until("the registration is refused", || {
        site.status()["refused"]["wrong_device"] != Value::Null
    });
    let (status, text) = status_and_error(&site.try_send("anna", "status.read", 2));
    assert_eq!(status, 65, "{text}");
    assert!(text.contains("is not signed by its key"), "{text}");
}

#[test]
fn files_belong_to_the_user_of_the_daemon() {
    let bench = Bench::new();
    let state = bench.path().join("state");
    std::fs::create_dir(&state).unwrap();
    if std::os::unix::fs::chown(&state, Some(65534), Some(65534)).is_err() {
        println!("only root can give files away; not tried");
        return;
    }
    bench.provisioned(&["--device", "ups-7", "--local", "mqtt://127.0.0.1"]);
    for name in ["identity", "identity/device.key", "identity/claim.secret"] {
        let metadata = std::fs::metadata(state.join(name)).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (65534, 65534), "{name}");
    }
}

#[test]
fn a_device_cannot_be_provisioned_with_the_name_of_a_site() {
    let bench = Bench::new();
    for name in ["site", "site:north"] {
        let out = bench.provision(&["--device", name, "--local", "mqtt://127.0.0.1", "--json"]);
        let (status, text) = status_and_error(&out);
        assert_eq!(status, 64, "{text}");
        assert!(text.contains("must not be `site`"), "{text}");
    }
}
