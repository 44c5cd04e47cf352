//! The issuer's own keys and what hangs on them, with a real device: new keys for its roles, the
//! root key behind a passphrase, the sealed code for an emergency, and what its owner hears.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "this is a test"
)]

#[allow(dead_code, unreachable_pub, reason = "not every test uses everything")]
#[path = "common/site.rs"]
mod site;

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;
use site::{COUNT, DOORKEY, Site, wait_until};

fn passphrase(site: &Site) {
    let path = site.path().join("passphrase");
    std::fs::write(&path, "correct horse battery\n").unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
}

fn rotate(site: &Site, roles: &[&str]) {
    let url = site.cloud.url();
    let mut args = vec!["issuer", "rotate"];
    args.extend(roles);
    args.extend(["--passphrase-file", "passphrase", "--broker", &url]);
    site.doorkey(&args);
}

#[test]
fn new_keys_are_taken_by_the_device_and_what_was_shared_goes_on() {
    let site = Site::new(COUNT);
    site.ready();
    let share = site.share("anna", "status.read");
    assert_eq!(site.send("anna", "status.read", 10)["outcome"], "done");
    passphrase(&site);
    site.doorkey(&["issuer", "seal", "--passphrase-file", "passphrase"]);
    assert!(!site.path().join("issuer/keys/root.key").exists());
    let without = site.run(DOORKEY, &["issuer", "rotate", "shares"]);
    assert!(!without.status.success());
    assert!(String::from_utf8_lossy(&without.stderr).contains("--passphrase-file"));
    let old = std::fs::read(site.path().join("issuer/keys/shares.key")).unwrap();
    rotate(&site, &["shares", "registry", "revocations"]);
    assert_ne!(
        old,
        std::fs::read(site.path().join("issuer/keys/shares.key")).unwrap()
    );
    // Whether by the keys of before or after: it never stops working.
    assert_eq!(site.send("ole", "status.read", 10)["outcome"], "done");
    wait_until("anna's share, signed anew, is there", || {
        site.send("anna", "status.read", 10)["outcome"] == "done"
    });
    rotate(&site, &["root"]);
    rotate(&site, &["shares"]);
    site.share("ben", "status.read");
    assert_eq!(site.send("ben", "status.read", 10)["outcome"], "done");
    let url = site.cloud.url();
    site.doorkey(&["cancel", "ups-7", &share, "--broker", &url, "--wait", "15"]);
    assert_eq!(site.send("anna", "status.read", 10)["code"], "revoked");
    // What a thief of the old key signs is nothing.
    let new = site.path().join("issuer/keys/shares.key");
    std::fs::write(&new, old).unwrap();
    let forged = site.run(
        DOORKEY,
        &[
            "share", "ups-7", "--to", "eve", "--key", "ben.pub", "--allow", "view", "--broker",
            &url,
        ],
    );
    assert!(forged.status.success(), "the thief has the whole directory");
    wait_until("it is refused", || {
        site.status()["refused"]["unknown_issuer"].as_u64() >= Some(1)
    });
}

#[test]
fn n15_n23_a_sealed_code_works_once_and_the_owner_hears_of_it_and_of_refusals() {
    let site = Site::new(COUNT);
    site.ready();
    let url = site.cloud.url();
    let args = [
        "issuer",
        "break-glass",
        "ups-7",
        "--out",
        "glass.key",
        "--broker",
        &url,
    ];
    site.doorkey(&args);
    let mode = std::fs::metadata(site.path().join("glass.key"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(site.send("glass", "device.reboot", 10)["outcome"], "done");
    assert_eq!(site.send("glass", "device.reboot", 10)["code"], "count");
    assert_eq!(site.reboots(), 1);
    site.share("anna", "status.read");
    for _ in 0..5 {
        assert_eq!(
            site.send("anna", "device.reboot", 10)["code"],
            "not_granted"
        );
    }
    assert_eq!(site.send("anna", "status.read", 10)["outcome"], "done");
    site.doorkey(&[
        "log", "collect", "ups-7", "--to", "copy", "--key", "ole.key", "--broker", &url,
    ]);
    let alerts: Value =
        serde_json::from_slice(&site.doorkey(&["alerts", "ole", "--json"]).stdout).unwrap();
    let told = |kind: &str, words: &str| {
        let mut alerts = alerts.as_array().unwrap().iter();
        alerts
            .any(|alert| alert["kind"] == kind && alert["words"].as_str().unwrap().contains(words))
    };
    assert!(told("first_use", "break-glass"), "{alerts}");
    assert!(told("first_use", "anna"), "{alerts}");
    assert!(told("denials", "anna"), "{alerts}");
    let review: Value =
        serde_json::from_slice(&site.doorkey(&["review", "--json"]).stdout).unwrap();
    let anna = review
        .as_array()
        .unwrap()
        .iter()
        .find(|line| line["with"] == "anna")
        .unwrap();
    assert!(
        anna["used"].is_string() && anna["unused"] == false,
        "{anna}"
    );
    let csv = String::from_utf8(site.doorkey(&["review", "--csv"]).stdout).unwrap();
    assert_eq!(csv.lines().count(), 3, "{csv}");
}
