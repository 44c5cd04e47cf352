//! The event log: access rights, detection of changes, and export formats.

use doorward_testkit::site;

use site::{DOORKEY, DOORWARD, Site};

fn used_site() -> Site {
    let site = Site::new("exit 0");
    site.ready();
    site.share("anna", "device.reboot,history.read");
    site.share("bob", "device.reboot");
    for person in ["anna", "bob", "anna"] {
        assert_eq!(site.send(person, "device.reboot", 10)["outcome"], "done");
    }
    assert_eq!(site.send("bob", "history.read", 10)["code"], "not_granted");
    site
}

fn history(site: &Site, person: &str) -> String {
    let receipt = site.send(person, "history.read", 10);
    assert_eq!(receipt["outcome"], "done");
    receipt["result"].to_string()
}

#[test]
fn n14_a_holder_reads_only_their_own_actions_and_the_owner_reads_all() {
    let site = used_site();
    let of_anna = history(&site, "anna");
    assert_eq!(of_anna.matches("anna requested device.reboot").count(), 2);
    assert!(
        !of_anna.contains("bob") && !of_anna.contains("revocations"),
        "{of_anna}"
    );
    let all = history(&site, "ole");
    assert!(all.contains("anna requested") && all.contains("bob requested"));
    assert!(all.contains("statement"), "{all}");
}

#[test]
fn n13_a_changed_or_truncated_record_is_found_and_named() {
    let mut site = used_site();
    let last = site.send("anna", "device.reboot", 10);
    let (size, hash) = (
        last["log_size"].as_u64().unwrap(),
        last["log_head"].as_str().unwrap(),
    );
    let head = format!("{size}:{hash}");
    site.kill();
    let verify = || {
        let verify = ["log", "verify", "state/log", "--head", &head];
        let out = site.run(DOORKEY, &verify);
        (out.status.code(), String::from_utf8(out.stderr).unwrap())
    };
    assert_eq!(verify().0, Some(0));
    let segment = site.path().join("state/log/0000000000000000.log");
    let original = std::fs::read(&segment).unwrap();
    let ends = ends(&original);
    // The last records are removed completely.
    std::fs::write(&segment, &original[..ends[ends.len() - 3]]).unwrap();
    let (code, why) = verify();
    assert_eq!(code, Some(65));
    assert!(
        why.contains(&format!("shorter than the {size} records")),
        "{why}"
    );
    // One byte of record 5 is changed.
    let mut changed = original.clone();
    changed[ends[4] + 30] ^= 1;
    std::fs::write(&segment, &changed).unwrap();
    let (code, why) = verify();
    assert_eq!(code, Some(65));
    assert!(why.contains("record 5 "), "{why}");
    // The log is replaced by a consistent one of the same length.
    let other = used_site();
    std::fs::copy(
        other.path().join("state/log/0000000000000000.log"),
        &segment,
    )
    .unwrap();
    let (code, why) = verify();
    assert_eq!(code, Some(65));
    assert!(
        why.contains("does not match that head") || why.contains("shorter"),
        "{why}"
    );
}

/// End position of each record.
fn ends(segment: &[u8]) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut at = 0;
    while at < segment.len() {
        let length = u32::from_be_bytes(segment[at..at + 4].try_into().unwrap());
        at += 4 + length as usize + 8;
        ends.push(at);
    }
    ends
}

#[test]
fn s13_the_log_is_exported_for_spreadsheets_syslog_and_scripts() {
    let site = used_site();
    let export = |format: &str| {
        let args = ["events", "export", "--format", format, "--state", "state"];
        let out = site.run(DOORWARD, &args);
        assert!(out.status.success());
        String::from_utf8(out.stdout).unwrap()
    };
    let records = site.events().len();
    let json: Vec<serde_json::Value> = export("jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(json.len(), records);
    let denied = json
        .iter()
        .find(|row| row["code"] == "not_granted")
        .unwrap();
    assert_eq!(denied["person"], "bob");
    assert_eq!(denied["operation"], "history.read");
    assert_eq!(denied["link"], "cloud");
    let csv = export("csv");
    assert_eq!(csv.matches("\r\n").count(), records + 1);
    assert!(
        csv.starts_with("seq,at,quality,event,person,operation,link,outcome,code,command,text")
    );
    let syslog = export("syslog");
    assert_eq!(syslog.lines().count(), records);
    let line = syslog
        .lines()
        .find(|line| line.contains("not_granted"))
        .unwrap();
    assert!(
        line.starts_with("<108>1 2") && line.contains(" ups-7 doorward - denied ["),
        "{line}"
    );
}
