//! `doorward demo`.

use std::process::Command;

#[test]
fn the_demo_runs_to_its_end_and_succeeds() {
    let out = Command::new(doorward_testkit::site::DOORWARD)
        .args(["demo", "--json"])
        .output()
        .unwrap();
    let stdout = String::from_utf8(out.stdout).unwrap();
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{stdout}\n{stderr}");
    let rows: Vec<serde_json::Value> = stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let happened = |who: &str, link: &str, code: &str| {
        rows.iter()
            .any(|row| row["who"] == who && row["link"] == link && row["code"] == code)
    };
    for (who, link, code) in [
        ("technician", "cloud", "done"),
        ("auditor", "cloud", "not_granted"),
        ("stranger", "cloud", "silence"),
        ("eavesdropper", "cloud", "replay"),
        ("technician", "cloud", "no broker"),
        ("technician", "local", "done"),
        ("auditor", "local", "done"),
        ("technician", "local", "revoked"),
        ("contractor", "local", "expired"),
    ] {
        assert!(happened(who, link, code), "{who} {link} {code}:\n{stdout}");
    }
    assert!(
        rows.iter()
            .all(|row| row["as_expected"] != false && row["holds"] != false)
    );
    assert!(rows.iter().filter(|row| row["holds"] == true).count() >= 4);
}
