//! `doorward doctor`: findings with their remedies, with a real broker, upsd and system bus.

use crate::system_bus;
use doorward_testkit::site;
use doorward_testkit::test_ca;

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;
use site::{COUNT, DOORWARD, Site, free_port};
use test_ca::{Authority, DAY, Files, today};

/// Runs `doorward doctor`; returns its findings and exit status.
fn doctor(site: &Site) -> (Value, i32) {
    let out = site.run(DOORWARD, &["doctor", "--config", "doorward.toml", "--json"]);
    let found = serde_json::from_slice(&out.stdout).unwrap_or_default();
    (found, out.status.code().unwrap())
}

/// Findings about `what`: level, and text with remedy.
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

fn assert_finding(found: &Value, what: &str, level: &str, text_part: &str) {
    let rows = about(found, what);
    assert!(
        rows.iter()
            .any(|(is, text)| is == level && text.contains(text_part)),
        "{what} {level} {text_part}: {rows:?}"
    );
}

#[test]
fn a_healthy_device_has_no_errors_and_an_unprotected_broker_is_reported() {
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
        assert_finding(&found, what, "ok", "");
    }
    assert_finding(&found, "link cloud", "warning", "config/mosquitto.acl");
    let late = |(_, text): &(String, String)| text.contains("set_tcp_nodelay");
    assert!(!about(&found, "link cloud").iter().any(late), "{found}");
    // As text.
    let out = site.run(DOORWARD, &["doctor", "--config", "doorward.toml"]);
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(text.contains("no errors, "), "{text}");
    assert!(text.contains("warning link cloud"), "{text}");
}

#[test]
fn errors_are_reported_with_their_remedy_and_exit_status() {
    let mut site = Site::new(COUNT);
    site.ready();
    site.kill();
    let path = site.path().join("doorward.toml");
    let valid = std::fs::read_to_string(&path).unwrap();
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
    std::fs::write(&path, format!("{valid}{more}")).unwrap();
    site.cloud.stop();
    let out = std::process::Command::new(DOORWARD)
        .args(["doctor", "--config", "doorward.toml", "--json"])
        .current_dir(site.path())
        .env(bus.environment().0, bus.environment().1)
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(1));
    let found: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_finding(&found, "configuration", "error", "[operations.\"half\"]");
    assert_finding(&found, "programs", "error", "/nowhere/x: No such file");
    assert_finding(&found, "secrets", "error", "chmod");
    assert_finding(&found, "ups", "error", "upsc -l");
    assert_finding(&found, "bus", "error", "correct [bus]");
    assert_finding(&found, "logind", "error", "systemd/50-doorward.rules");
    assert_finding(
        &found,
        "link cloud",
        "error",
        "Check that the broker is running",
    );
    assert_finding(&found, "daemon", "warning", "systemctl start doorward");
    // An unknown host name, permissions, and a device without an identity.
    let elsewhere = valid.replace("mqtt://127.0.0.1", "mqtt://no.such.host.invalid");
    std::fs::write(&path, elsewhere).unwrap();
    let key = site.path().join("state/identity/device.key");
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).unwrap();
    let (found, _) = doctor(&site);
    assert_finding(&found, "link cloud", "error", "no.such.host.invalid");
    assert_finding(&found, "state directory", "error", "chmod 600");
    std::fs::remove_dir_all(site.path().join("state")).unwrap();
    let (found, _) = doctor(&site);
    assert_finding(&found, "state directory", "error", "doorward provision");
    std::fs::write(&path, "nonsense").unwrap();
    let (found, status) = doctor(&site);
    assert_eq!(status, 1);
    assert_finding(&found, "configuration", "error", "line 1");
}

#[test]
fn a_broker_that_delays_its_responses_is_reported() {
    let mut site = Site::new(COUNT);
    site.ready();
    site.cloud.stop();
    // The default of mosquitto.
    site.cloud.more = "set_tcp_nodelay false\n".to_owned();
    site.cloud.again();
    let (found, _) = doctor(&site);
    assert_finding(&found, "link cloud", "warning", "set_tcp_nodelay true");
}

#[test]
fn certificates_are_reported_before_they_expire_the_brokers_too() {
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
    assert_finding(
        &found,
        "link cloud",
        "warning",
        "the broker's certificate expires ",
    );
    assert_finding(&found, "certificates", "ok", "ca.pem expires in ");
    let own = format!(
        "tls.certificate = {:?}\ntls.key = {:?}",
        old.display().to_string(),
        old_key.display().to_string()
    );
    site.write_config_with(&tls(&own), COUNT);
    let (found, status) = doctor(&site);
    assert_eq!(status, 1, "{found}");
    assert_finding(&found, "certificates", "error", "old.pem expired ");
    std::fs::write(&old, "no certificate").unwrap();
    let (found, _) = doctor(&site);
    assert_finding(
        &found,
        "certificates",
        "error",
        "the file contains no certificate",
    );
}

#[test]
fn files_that_root_can_read_and_the_daemon_cannot_are_reported() {
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
    assert_finding(&found, "secrets", "error", "the daemon's user cannot read");
    std::os::unix::fs::chown(&password, None, Some(65534)).unwrap();
    std::fs::set_permissions(&password, PermissionsExt::from_mode(0o640)).unwrap();
    let (found, _) = doctor(&site);
    assert_eq!(about(&found, "secrets"), []);
    let config = site.path().join("doorward.toml");
    std::fs::set_permissions(&config, PermissionsExt::from_mode(0o600)).unwrap();
    let (found, _) = doctor(&site);
    assert_finding(
        &found,
        "configuration",
        "error",
        "the daemon's user cannot read",
    );
}
