//! A store and an event log of the program before the workspace are taken over. The kept copy in
//! `earlier_store.tar.xz` holds TEST KEYS; the ignored test below writes it with the program that
//! `DOORWARD_PROGRAM` names.

use std::path::Path;
use std::process::Command;

use doorward_testkit::root;
use doorward_testkit::site::{COUNT, Mosquitto, Site};

const END: &str = "2099-01-01";

fn kept_copy() -> std::path::PathBuf {
    root().join("tests/system/earlier_store.tar.xz")
}

fn share(site: &Site, name: &str, operations: &str, more: &[&str]) -> String {
    site.person(name);
    let (public, pass, url) = (
        format!("{name}.pub"),
        format!("{name}.pass"),
        site.cloud.url(),
    );
    let args = [
        "share",
        "ups-7",
        "--to",
        name,
        "--public-key",
        &public,
        "--allow",
        operations,
        "--until",
        END,
        "--out",
        &pass,
        "--broker",
        &url,
        "--json",
    ];
    let out = site.doorkey(&[&args[..], more].concat());
    let share: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    share["shares"][0]["share"].as_str().unwrap().to_owned()
}

fn write(site: &Site, name: &str, text: &str) {
    std::fs::write(site.path().join(name), text).unwrap();
}

fn read(directory: &Path, name: &str) -> String {
    std::fs::read_to_string(directory.join(name)).unwrap()
}

#[test]
#[ignore = "writes the kept copy"]
fn write_the_kept_copy() {
    let mut site = Site::new(COUNT);
    site.ready();
    share(&site, "anna", "status.read,device.reboot", &[]);
    let bob = share(&site, "bob", "status.read", &[]);
    share(&site, "carl", "status.read", &["--uses", "2"]);
    assert_eq!(site.send("anna", "device.reboot", 10)["outcome"], "done");
    assert_eq!(site.send("bob", "device.reboot", 10)["code"], "not_granted");
    assert_eq!(site.send("carl", "status.read", 10)["outcome"], "done");
    let url = site.cloud.url();
    site.doorkey(&["cancel", "ups-7", &bob, "--broker", &url, "--wait", "10"]);
    assert_eq!(site.send("bob", "status.read", 10)["code"], "revoked");
    let last = site.send("ole", "status.read", 10);
    let head = format!(
        "{}:{}",
        last["log_size"],
        last["log_head"].as_str().unwrap()
    );
    write(&site, "head", &head);
    write(&site, "epoch", site.status()["epoch"].as_str().unwrap());
    write(&site, "device_key", &site.device_key);
    site.kill();
    let script = "tar -cJf \"$1\" state issuer head epoch device_key *.key *.pub *.pass *.count";
    let packed = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(kept_copy())
        .current_dir(site.path())
        .status()
        .unwrap();
    assert!(packed.success());
}

#[test]
fn a_store_and_an_event_log_of_the_program_before_are_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let unpacked = Command::new("tar")
        .arg("-xJf")
        .arg(kept_copy())
        .args(["--no-same-owner", "-C"])
        .arg(directory.path())
        .status()
        .unwrap();
    assert!(unpacked.success());
    let (head, epoch) = (
        read(directory.path(), "head"),
        read(directory.path(), "epoch"),
    );
    let mut site = Site {
        cloud: Mosquitto::start(directory.path(), "cloud"),
        device_key: read(directory.path(), "device_key"),
        daemon: None,
        directory,
    };
    let url = site.cloud.url();
    site.write_config_with(&format!("url = \"{url}\""), COUNT);
    // Every record is read, and the log is the one that the device had signed then.
    site.doorward(&["events", "verify", "--state", "state", "--head", &head]);
    let events = site.events();
    let asked = |person: &str, event: &str| {
        let mut rows = events.iter();
        rows.any(|row| row["person"] == person && row["event"] == event)
    };
    assert!(
        asked("anna", "intent") && asked("bob", "denied"),
        "{events:?}"
    );
    site.start();
    // The list of then is stale by now.
    site.doorkey(&["cancel", "ups-7", "--broker", &url]);
    site.ready();
    let status = site.status();
    assert_eq!(status["epoch"], epoch, "the replay state is the same");
    assert_eq!(status["shares"], 3, "{status}");
    assert_eq!(site.send("anna", "device.reboot", 10)["outcome"], "done");
    assert_eq!(site.reboots(), 1);
    assert_eq!(site.send("bob", "status.read", 10)["code"], "revoked");
    // One of the two uses was before.
    assert_eq!(site.send("carl", "status.read", 10)["outcome"], "done");
    assert_eq!(site.send("carl", "status.read", 10)["code"], "count");
    site.doorward(&["events", "verify", "--state", "state", "--head", &head]);
}
