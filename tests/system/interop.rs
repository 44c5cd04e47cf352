//! Other implementations: a Python client that was written from `docs/protocol.md` alone, and a CDDL
//! validator. `tests/run` sets up their environment.

use doorward_testkit::site;

use std::path::Path;
use std::process::{Command, Output};

use site::Site;

fn python(script: &str, args: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/interop/bin/python");
    assert!(
        python.exists(),
        "{} does not exist; `tests/run` creates it",
        python.display()
    );
    Command::new(python)
        .arg(root.join("tests/interop").join(script))
        .args(args)
        .output()
        .unwrap()
}

#[test]
fn the_python_client_and_the_daemon_interoperate() {
    let site = Site::provisioned("true");
    let broker = format!("127.0.0.1:{}", site.cloud.port);
    let keys = site.path().join("issuer/keys").display().to_string();
    let out = python(
        "run.py",
        &[
            "--broker",
            &broker,
            "--device",
            "ups-7",
            "--device-key",
            &site.device_key,
            "--issuer-keys",
            &keys,
        ],
    );
    let stdout = String::from_utf8(out.stdout).unwrap();
    let stderr = String::from_utf8(out.stderr).unwrap();
    assert!(out.status.success(), "{stdout}\n{stderr}");
    let steps = stdout
        .lines()
        .filter(|line| line.starts_with("ok "))
        .count();
    assert!(steps >= 18, "{stdout}");
}

#[test]
fn the_schema_accepts_every_well_formed_sample_and_no_other() {
    let out = python("schema.py", &[]);
    let stdout = String::from_utf8(out.stdout).unwrap();
    let stderr = String::from_utf8(out.stderr).unwrap();
    assert!(out.status.success(), "{stdout}\n{stderr}");
    assert!(stdout.contains(" samples checked"), "{stdout}");
}
