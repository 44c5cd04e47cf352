//! `doorward doctor`: each finding with its remedy, on a real broker, upsd and bus.

use crate::system_bus;
use doorward_testkit::site;
use doorward_testkit::test_ca;

#[allow(dead_code, unreachable_pub, reason = "not every test uses everything")]
#[allow(dead_code, unreachable_pub, reason = "not every test uses everything")]
#[allow(dead_code, unreachable_pub, reason = "not every test uses everything")]
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;
use site::{COUNT, DOORWARD, Site, free_port};
use test_ca::{Authority, DAY, Files, today};

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
    let late = |(_, text): &(String, String)| text.contains("set_tcp_nodelay");
    assert!(!about(&found, "link cloud").iter().any(late), "{found}");
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

#[test]
fn a_broker_that_holds_answers_back_is_named() {
    let mut site = Site::new(COUNT);
    site.ready();
    site.cloud.stop();
    // As it is by default.
    site.cloud.more = "set_tcp_nodelay false\n".to_owned();
    site.cloud.again();
    let (found, _) = doctor(&site);
    says(&found, "link cloud", "look", "set_tcp_nodelay true");
}

#[test]
fn certificates_are_named_before_they_end_the_brokers_too() {
    let mut site = Site::new(COUNT);
    let files = Files(site.path().to_owned());
    let authority = Authority::new("an authority");
    let ca = files.write("ca.pem", &authority.pem);
    let (certificate, key) = files.pair("broker", authority.sign("localhost", today()));
    let port = free_port();
    site.cloud.more = format!(
        "listener {port} 127.0.0.1\nallow_anonymous true\ncertfile {}\nkeyfile {}\n",
        certificate.display(),
        key.display()
    );
    site.cloud.stop();
    site.cloud.again();
    let (old, old_key) = files.pair("old", authority.sign("ups-7", today() - 2 * DAY));
    let tls = |more: &str| {
        let ca = ca.display();
        format!("url = \"mqtts://localhost:{port}\"\ntls.ca = \"{ca}\"\n{more}")
    };
    site.write_config_with(&tls(""), COUNT);
    let (found, status) = doctor(&site);
    assert_eq!(status, 0, "{found}");
    says(
        &found,
        "link cloud",
        "look",
        "the broker's certificate ends ",
    );
    says(&found, "certificates", "ok", "ca.pem ends in ");
    let own = format!(
        "tls.certificate = {:?}\ntls.key = {:?}",
        old.display().to_string(),
        old_key.display().to_string()
    );
    site.write_config_with(&tls(&own), COUNT);
    let (found, status) = doctor(&site);
    assert_eq!(status, 1, "{found}");
    says(&found, "certificates", "broken", "old.pem ended ");
    std::fs::write(&old, "no certificate").unwrap();
    let (found, _) = doctor(&site);
    says(
        &found,
        "certificates",
        "broken",
        "there is no certificate in it",
    );
}

#[test]
fn what_root_can_read_and_the_daemon_cannot_is_named() {
    let site = Site::new(COUNT);
    site.ready();
    let password = site.path().join("password");
    std::fs::write(&password, "x").unwrap();
    std::fs::set_permissions(&password, PermissionsExt::from_mode(0o600)).unwrap();
    let state = site.path().join("state");
    if std::os::unix::fs::chown(&state, Some(65534), Some(65534)).is_err() {
        println!("only root can give files away; not tried");
        return;
    }
    let link = format!(
        "url = {:?}\nuser = \"x\"\npassword_file = {password:?}",
        site.cloud.url()
    );
    site.write_config_with(&link, COUNT);
    let (found, _) = doctor(&site);
    says(&found, "secrets", "broken", "the daemon's user cannot read");
    std::os::unix::fs::chown(&password, None, Some(65534)).unwrap();
    std::fs::set_permissions(&password, PermissionsExt::from_mode(0o640)).unwrap();
    let (found, _) = doctor(&site);
    assert_eq!(about(&found, "secrets"), []);
    let config = site.path().join("doorward.toml");
    std::fs::set_permissions(&config, PermissionsExt::from_mode(0o600)).unwrap();
    let (found, _) = doctor(&site);
    says(
        &found,
        "configuration",
        "broken",
        "the daemon's user cannot read",
    );
}
