//! `doorward doctor`: each finding with its remedy, on a real broker, upsd and bus.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "this is a test"
)]

#[allow(dead_code, unreachable_pub, reason = "not every test uses everything")]
#[path = "common/site.rs"]
mod site;
#[allow(dead_code, unreachable_pub, reason = "not every test uses everything")]
#[path = "common/system_bus.rs"]
mod system_bus;

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;
use site::{COUNT, DOORWARD, Site};

/// What it finds, and its exit status.
fn doctor(site: &Site) -> (Value, i32) {
    let out = site.run(DOORWARD, &["doctor", "--config", "doorward.toml", "--json"]);
    let found = serde_json::from_slice(&out.stdout).unwrap_or_default();
    (found, out.status.code().unwrap())
}

/// The findings about something: level and text with its remedy.
fn about(found: &Value, what: &str) -> Vec<(String, String)> {
    let rows = found["findings"].as_array().unwrap().iter();
    let rows = rows.filter(|row| row["what"] == what);
    rows.map(|row| {
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        (
            text("level"),
            format!("{} -> {}", text("text"), text("remedy")),
        )
    })
    .collect()
}

fn says(found: &Value, what: &str, level: &str, words: &str) {
    let rows = about(found, what);
    assert!(
        rows.iter()
            .any(|(is, text)| is == level && text.contains(words)),
        "{what} {level} {words}: {rows:?}"
    );
}

#[test]
fn on_a_sound_device_nothing_is_broken_and_what_others_could_read_is_named() {
    let site = Site::new(COUNT);
    site.ready();
    let (found, status) = doctor(&site);
    assert_eq!((status, &found["broken"]), (0, &0.into()), "{found}");
    for what in [
        "configuration",
        "clock",
        "state directory",
        "daemon",
        "link cloud",
        "programs",
    ] {
        says(&found, what, "ok", "");
    }
    says(&found, "link cloud", "look", "config/mosquitto.acl");
    // In words, for people.
    let out = site.run(DOORWARD, &["doctor", "--config", "doorward.toml"]);
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(text.contains("Nothing is broken."), "{text}");
    assert!(text.contains("look   link cloud"), "{text}");
}

#[test]
fn what_is_broken_is_named_with_its_remedy_and_its_exit_status() {
    let mut site = Site::new(COUNT);
    site.ready();
    site.kill();
    let path = site.path().join("doorward.toml");
    let sound = std::fs::read_to_string(&path).unwrap();
    let bus = system_bus::SystemBus::start(site.path());
    let password = site.path().join("password");
    std::fs::write(&password, "x").unwrap();
    std::fs::set_permissions(&password, PermissionsExt::from_mode(0o644)).unwrap();
    let more = format!(
        "[operations.\"gone\"]\nclass = \"change\"\nhandler = \"exec\"\nargv = [\"/nowhere/x\"]\n\
         [operations.\"half\"]\nclass = \"change\"\nhandler = \"exec\"\n\
         [operations.\"boot\"]\nclass = \"interrupt\"\nhandler = \"logind\"\naction = \"reboot\"\n\
         [nut]\naddress = \"127.0.0.1:1\"\nups = \"ups\"\nuser = \"d\"\npassword_file = \"{}\"\n\
         [bus]\nurl = \"mqtt://127.0.0.1:1\"\n",
        password.display()
    );
    std::fs::write(&path, format!("{sound}{more}")).unwrap();
    site.cloud.stop();
    let out = std::process::Command::new(DOORWARD)
        .args(["doctor", "--config", "doorward.toml", "--json"])
        .current_dir(site.path())
        .env(bus.environment().0, bus.environment().1)
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(1));
    let found: Value = serde_json::from_slice(&out.stdout).unwrap();
    says(&found, "configuration", "broken", "[operations.\"half\"]");
    says(&found, "programs", "broken", "/nowhere/x: No such file");
    says(&found, "secrets", "broken", "chmod");
    says(&found, "ups", "broken", "upsc -l");
    says(&found, "bus", "broken", "mend [bus]");
    says(&found, "logind", "broken", "systemd/50-doorward.rules");
    says(&found, "link cloud", "broken", "Does the broker run");
    says(&found, "daemon", "look", "systemctl start doorward");
    // Names, permissions, and a device without an identity.
    let elsewhere = sound.replace("mqtt://127.0.0.1", "mqtt://no.such.host.invalid");
    std::fs::write(&path, elsewhere).unwrap();
    let key = site.path().join("state/identity/device.key");
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).unwrap();
    let (found, _) = doctor(&site);
    says(&found, "link cloud", "broken", "no.such.host.invalid");
    says(&found, "state directory", "broken", "chmod 600");
    std::fs::remove_dir_all(site.path().join("state")).unwrap();
    let (found, _) = doctor(&site);
    says(&found, "state directory", "broken", "doorward provision");
    std::fs::write(&path, "nonsense").unwrap();
    let (found, status) = doctor(&site);
    assert_eq!(status, 1);
    says(&found, "configuration", "broken", "line 1");
}
