//! The unit in `systemd/`, checked by Debian's systemd, and notifications of the service manager.

use doorward_testkit::site;

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use site::{COUNT, Site};

fn unit() -> String {
    concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/doorward.service").to_owned()
}

#[test]
fn the_exposure_level_of_the_daemons_unit_is_low() {
    let out = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager", &unit()])
        .output()
        .expect("systemd is not installed; `tests/run` installs what tests need");
    let text = String::from_utf8(out.stdout).unwrap();
    let last = text
        .lines()
        .rfind(|line| line.contains("Overall exposure level"))
        .unwrap();
    let level = last.split(": ").nth(1).unwrap().split(' ').next().unwrap();
    println!("{last}");
    assert!(level.parse::<f64>().unwrap() <= 1.2, "{last}");
}

#[test]
fn systemd_accepts_every_line_of_the_unit() {
    // Paths that exist only on a device are replaced.
    let directory = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(unit()).unwrap();
    let text = text
        .replace("/usr/bin/doorward", "/bin/true")
        .replace("man:doorward(8) ", "");
    let path = directory.path().join("doorward.service");
    std::fs::write(&path, text).unwrap();
    let out = Command::new("systemd-analyze")
        .arg("verify")
        .arg(&path)
        .output()
        .unwrap();
    let warnings = String::from_utf8_lossy(&out.stderr);
    let ours: Vec<&str> = warnings
        .lines()
        .filter(|line| line.contains("doorward.service"))
        .collect();
    assert_eq!(ours, Vec::<&str>::new());
}

#[test]
fn the_service_manager_is_notified_of_readiness_liveness_and_shutdown() {
    let mut site = Site::new(COUNT);
    site.ready();
    site.kill();
    let path = site.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let receive = || {
        let mut bytes = [0; 256];
        let read = socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..read]).trim().to_owned()
    };
    site.start_with(&[
        ("NOTIFY_SOCKET", path.display().to_string()),
        ("WATCHDOG_USEC", "600000".to_owned()),
    ]);
    assert_eq!(receive(), "READY=1");
    for _ in 0..3 {
        assert_eq!(receive(), "WATCHDOG=1");
        // Commands do not delay the watchdog.
        site.send("ole", "status.read", 5);
    }
    let pid = site.daemon.as_ref().unwrap().0.id().to_string();
    assert!(Command::new("kill").arg(pid).status().unwrap().success());
    let mut last = receive();
    while last == "WATCHDOG=1" {
        last = receive();
    }
    assert_eq!(last, "STOPPING=1");
    assert!(site.wait_for_its_end(Duration::from_secs(10)));
}
