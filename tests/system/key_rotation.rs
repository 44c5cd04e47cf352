//! The issuer's keys, with a real device: new keys for its roles, a root key with a passphrase, the
//! sealed emergency code, and the owner's alerts.

use doorward_testkit::site;

use std::os::unix::fs::PermissionsExt;

use doorward_protocol::wire::{Bytes, PublicKey};
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
fn the_device_accepts_new_issuer_keys_and_existing_shares_keep_working() {
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
    // Works at any time, signed with the old keys or the new ones.
    assert_eq!(site.send("ole", "status.read", 10)["outcome"], "done");
    wait_until("anna's newly signed share has arrived", || {
        site.send("anna", "status.read", 10)["outcome"] == "done"
    });
    rotate(&site, &["root"]);
    rotate(&site, &["shares"]);
    site.share("ben", "status.read");
    assert_eq!(site.send("ben", "status.read", 10)["outcome"], "done");
    let url = site.cloud.url();
    site.doorkey(&["cancel", "ups-7", &share, "--broker", &url, "--wait", "15"]);
    assert_eq!(site.send("anna", "status.read", 10)["code"], "revoked");
    // Shares signed by a thief of the old key are refused.
    let new = site.path().join("issuer/keys/shares.key");
    std::fs::write(&new, old).unwrap();
    let forged = site.run(
        DOORKEY,
        &[
            "share",
            "ups-7",
            "--to",
            "eve",
            "--public-key",
            "ben.pub",
            "--allow",
            "view",
            "--broker",
            &url,
        ],
    );
    assert!(
        forged.status.success(),
        "the thief has the complete directory"
    );
    wait_until("it is refused", || {
        site.status()["refused"]["unknown_issuer"].as_u64() >= Some(1)
    });
}

#[test]
fn n15_n23_n28_a_sealed_code_works_once_and_the_owner_is_alerted_to_it_and_to_denials() {
    let site = Site::new(COUNT);
    site.ready();
    let ledger = site.path().join("issuer/ledger.sqlite");
    let mode = std::fs::metadata(ledger).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "only its user can read the database");
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
    let alerted = |kind: &str, text: &str| {
        let mut alerts = alerts.as_array().unwrap().iter();
        alerts.any(|alert| alert["kind"] == kind && alert["words"].as_str().unwrap().contains(text))
    };
    assert!(alerted("first_use", "break-glass"), "{alerts}");
    assert!(alerted("first_use", "anna"), "{alerts}");
    assert!(alerted("denials", "anna"), "{alerts}");
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
    // A signed CSV file for each device, which sha256sum and any Ed25519 tool can verify.
    site.doorkey(&["review", "--out", "audit", "--key", "ole.key"]);
    let audit = site.path().join("audit");
    assert_eq!(
        std::fs::read_to_string(audit.join("ups-7.csv")).unwrap(),
        csv
    );
    let sums = std::fs::read(audit.join("SHA256SUMS")).unwrap();
    let signature = std::fs::read_to_string(audit.join("SHA256SUMS.sig")).unwrap();
    let key = std::fs::read_to_string(site.path().join("ole.pub")).unwrap();
    let key = PublicKey::new(&Bytes::from_hex(key.trim()).unwrap()).unwrap();
    let signature: Bytes<64> = Bytes::from_hex(signature.trim()).unwrap();
    key.verify(&sums, &signature.0).unwrap();
    let checked = std::process::Command::new("sha256sum")
        .args(["--check", "--strict", "--ignore-missing", "SHA256SUMS"])
        .current_dir(&audit)
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&checked.stdout).contains("ups-7.csv: OK"));
}

/// The owner's key is lost: two of three custodians install a new one, over a USB drive.
#[test]
fn n16_two_of_three_custodians_install_a_new_owner_key_and_the_old_one_has_no_rights() {
    let site = Site::new(COUNT);
    site.ready();
    for name in ["c1", "c2", "c3", "thief"] {
        site.person(name);
    }
    let custodians = [
        "--custodian-public-key",
        "c1.pub",
        "--custodian-public-key",
        "c2.pub",
        "--custodian-public-key",
        "c3.pub",
    ];
    let draft = [
        &["issuer", "draft", "--out", "d1", "--threshold", "2"][..],
        &custodians,
    ]
    .concat();
    site.doorkey(&draft);
    let adopt = |file: &str| site.run(DOORKEY, &["issuer", "adopt", file]);
    let refused = |file: &str| {
        let out = adopt(file);
        let error = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(
            !out.status.success() && error.contains("Signatures are missing"),
            "{error}"
        );
    };
    let cosign = |file: &str, key: &str| site.doorkey(&["issuer", "cosign", file, "--key", key]);
    cosign("d1", "issuer/keys/root.key");
    cosign("d1", "c1.key");
    cosign("d1", "c1.key");
    refused("d1");
    cosign("d1", "c3.key");
    assert!(adopt("d1").status.success());
    // ole's key is lost. The custodians make a new registry key, which signs a new owner key for him.
    site.doorkey(&["issuer", "draft", "--out", "d2", "--new", "registry"]);
    cosign("d2", "issuer/keys/root.key");
    cosign("d2", "thief.key");
    cosign("d2", "c2.key");
    refused("d2");
    cosign("d2", "c3.key");
    assert!(adopt("d2").status.success());
    // Two more rotations, so that the missing statements no longer fit into one bundle.
    for draft in ["d3", "d4"] {
        site.doorkey(&["issuer", "draft", "--out", draft, "--new", "shares"]);
        cosign(draft, "c1.key");
        cosign(draft, "c2.key");
        assert!(adopt(draft).status.success());
    }
    site.doorkey(&["key", "new", "ole2.key"]);
    let args = [
        "register",
        "ups-7",
        "--device-public-key",
        &site.device_key,
        "--owner",
        "ole",
    ];
    site.doorkey(&[&args[..], &["--owner-public-key", "ole2.pub"]].concat());
    site.doorkey(&["bundle", "ups-7", "--out", "usb-drive"]);
    site.doorward(&["import", "usb-drive", "--state", "state"]);
    wait_until("the new key is the owner's", || {
        site.send("ole2", "device.reboot", 10)["outcome"] == "done"
    });
    assert_ne!(site.send("ole", "status.read", 2)["outcome"], "done");
    let log = site
        .events()
        .iter()
        .map(ToString::to_string)
        .collect::<String>();
    assert!(
        log.contains("registration") && log.contains("issuers"),
        "{log}"
    );
}
