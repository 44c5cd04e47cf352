//! Results larger than a receipt: diagnostics and reports, sent in chunks and reassembled by the
//! client.

use doorward_testkit::site;

use std::process::Command;

use doorward_protocol::wire::Chunk;
use doorward_transport::MqttClient;
use serde_json::Value;
use site::{COUNT, DOORKEY, Site, block_on};

struct Device {
    site: Site,
}

impl Device {
    fn new() -> Self {
        let mut site = Site::new(COUNT);
        site.ready();
        site.kill();
        let path = site.path().join("doorward.toml");
        let at = site.path().display();
        // Random bytes as text, which cannot be compressed well.
        for name in ["noise", "more-noise"] {
            let mut openssl = Command::new("/usr/bin/openssl");
            let noise = openssl.args(["rand", "-base64", "1500000"]).output();
            std::fs::write(site.path().join(name), noise.unwrap().stdout).unwrap();
        }
        let secrets = "user = \"doorward\"\npassword = \"s3cret-one\"\nurl = \"mqtts://u:s3cret-two@host\"\n\
                       -----BEGIN PRIVATE KEY-----\ns3cret-three\n-----END PRIVATE KEY-----\nlast line\n";
        std::fs::write(site.path().join("secrets"), secrets).unwrap();
        let config = std::fs::read_to_string(&path).unwrap();
        let config = format!(
            "{config}[diagnostics]\nfiles = [\"{at}/secrets\", \"{at}/noise\", \"{at}/more-noise\", \"{at}/none\"]\n\
             programs = [[\"/bin/echo\", \"token: s3cret-four\"], [\"/bin/sh\", \"-c\", \"exit 3\"]]\n\
             limit_kib = 3072\n\
             [operations.\"diag.bundle\"]\nclass = \"read\"\nhandler = \"builtin\"\n\
             [operations.\"report.read\"]\nclass = \"read\"\nhandler = \"builtin\"\n"
        );
        std::fs::write(&path, config).unwrap();
        site.start();
        site.ready();
        Self { site }
    }

    /// Sends a command; returns its receipt and its result, which doorkey writes to a file.
    fn fetch(&self, person: &str, operation: &str, args: &[&str]) -> (Value, Vec<u8>) {
        let path = self.site.path().join("result");
        let _ = std::fs::remove_file(&path);
        let out = self.site.try_send_with(
            person,
            operation,
            &[args, &["--out", "result"]].concat(),
            20,
        );
        let receipt = serde_json::from_slice(&out.stdout).unwrap_or_default();
        let stderr = String::from_utf8_lossy(&out.stderr);
        let written = std::fs::read(&path).unwrap_or_default();
        assert_eq!(out.status.success(), !written.is_empty(), "{stderr}");
        (receipt, written)
    }
}

/// Names and contents of the files in a tar.zst archive.
fn unpacked(device: &Device, bytes: &[u8]) -> Vec<(String, String)> {
    let tar = device.site.path().join("bundle.tar.zst");
    std::fs::write(&tar, bytes).unwrap();
    let mut decoded = Vec::new();
    let mut decoder = ruzstd::decoding::StreamingDecoder::new(bytes).unwrap();
    std::io::Read::read_to_end(&mut decoder, &mut decoded).unwrap();
    let mut archive = tar::Archive::new(&decoded[..]);
    let files = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut entry, &mut text).unwrap();
        (entry.path().unwrap().display().to_string(), text)
    });
    files.collect()
}

#[test]
fn s06_a_diagnostics_bundle_arrives_complete_bounded_and_without_secrets() {
    let device = Device::new();
    device.site.share("anna", "diag.bundle");
    device.site.share("bob", "status.read");
    assert_eq!(
        device.fetch("bob", "diag.bundle", &[]).0["code"],
        "not_granted"
    );
    let (receipt, bundle) = device.fetch("anna", "diag.bundle", &[]);
    assert_eq!(receipt["outcome"], "done", "{receipt}");
    // More than the device sends for one command: doorkey has requested the rest.
    assert!(bundle.len() > 1 << 20, "{}", bundle.len());
    assert_eq!(receipt["result"]["size"], bundle.len());
    let files = unpacked(&device, &bundle);
    let text = |end: &str| {
        let found = files.iter().find(|(name, _)| name.ends_with(end));
        found.unwrap_or_else(|| panic!("{end}")).1.as_str()
    };
    let total: usize = files.iter().map(|(_, text)| text.len()).sum();
    assert!(total <= 3 << 20, "{total}");
    assert!(
        text("/secrets").contains("user = \"doorward\"") && text("/secrets").contains("last line")
    );
    assert!(text("/none").contains("No such file"));
    assert!(text("1-sh").contains("exit status: 3"));
    assert!(text("doorward/status").contains("log.records = "));
    assert!(
        files.iter().all(|(_, text)| !text.contains("s3cret")),
        "secrets are redacted"
    );
    // Each holder sees only their own log records.
    assert!(text("doorward/events").contains("anna") && !text("doorward/events").contains("bob"));
    // Debian's tar and zstd can read it too, if installed.
    if std::path::Path::new("/usr/bin/zstd").exists() {
        let path = device.site.path().join("bundle.tar.zst");
        let listed = Command::new("tar")
            .args(["--zstd", "-tf"])
            .arg(path)
            .output();
        assert!(listed.unwrap().status.success());
    }
}

#[test]
fn s09_n14_a_report_contains_only_what_its_reader_may_see() {
    let device = Device::new();
    device.site.share("anna", "report.read,status.read");
    device.site.share("bob", "status.read");
    for person in ["anna", "bob", "bob"] {
        device.site.send(person, "status.read", 10);
    }
    assert_eq!(
        device.fetch("bob", "report.read", &["kind=events"]).0["code"],
        "not_granted"
    );
    assert_eq!(
        device.fetch("anna", "report.read", &["kind=passwords"]).0["code"],
        "param"
    );
    let csv = |person: &str, kind: &str| {
        let (receipt, bytes) = device.fetch(person, "report.read", &[kind]);
        assert_eq!(receipt["outcome"], "done", "{receipt}");
        String::from_utf8(bytes).unwrap()
    };
    let events = csv("anna", "kind=events");
    assert!(
        events.starts_with("record,time,time_quality,event,text\r\n"),
        "{events}"
    );
    assert!(
        events.contains("anna") && !events.contains("bob"),
        "{events}"
    );
    let counts = |csv: &str| {
        let line = csv
            .lines()
            .find(|line| line.contains("status.read"))
            .unwrap()
            .to_owned();
        line.split(',')
            .skip(2)
            .map(|n| n.parse().unwrap())
            .collect::<Vec<u64>>()
    };
    assert_eq!(counts(&csv("anna", "kind=operations")), [1, 0, 0, 0]);
    let all = csv("ole", "kind=operations");
    assert!(counts(&all)[0] >= 3, "{all}");
    assert!(!all.contains("bob"), "it contains no names");
    assert!(all.contains("report.read"), "{all}");
}

#[test]
fn a_result_belongs_to_its_requester_and_forged_pieces_are_refused() {
    let device = Device::new();
    device.site.share("anna", "report.read");
    device.site.share("carl", "report.read");
    let (receipt, _) = device.fetch("anna", "report.read", &["kind=events"]);
    let of = format!("of={}", receipt["result"]["result"].as_str().unwrap());
    let again = device
        .site
        .try_send_with("carl", "report.read", &["kind=events", &of], 10);
    let again: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(again["outcome"], "failed", "{again}");
    let again = device
        .site
        .try_send_with("anna", "report.read", &["kind=events", &of], 10);
    let again: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(again["result"]["sha256"], receipt["result"]["sha256"]);
    let beyond = device.site.send_with(
        "anna",
        "report.read",
        &["kind=events", &of, "from=999999"],
        10,
    );
    assert_eq!(beyond["code"], "param", "{beyond}");
    for wrong in ["of=../../identity", "of=00", "of=7"] {
        let out = device
            .site
            .try_send_with("anna", "report.read", &["kind=events", wrong], 10);
        let out: Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!(out["outcome"], "failed", "{out}");
    }
    // An attacker at the broker publishes a forged first chunk.
    let key = std::fs::read_to_string(device.site.path().join("anna.pub")).unwrap();
    let topic = format!("doorward/v1/ups-7/results/{}", key.trim());
    let broker = device.site.cloud.broker();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let forging = std::thread::spawn(move || {
        block_on(async {
            let mut client = MqttClient::connect(&broker).await.unwrap();
            client
                .subscribe(vec!["doorward/v1/ups-7/command".to_owned()])
                .await
                .unwrap();
            while stopped.try_recv().is_err() {
                let Ok(Some((_, payload))) =
                    client.next(std::time::Duration::from_millis(100)).await
                else {
                    continue;
                };
                let bundle = doorward_protocol::wire::Bundle::parse(&payload).unwrap();
                let forged = Chunk {
                    result: bundle.command.unwrap().hash(),
                    offset: 0,
                    bytes: b"record,time\r\n".to_vec(),
                };
                let forged = doorward_protocol::wire::to_bytes(&forged);
                client.publish(topic.clone(), forged, true).await.unwrap();
            }
        });
    });
    let mut forged = 0;
    for _ in 0..5 {
        let _ = std::fs::remove_file(device.site.path().join("result"));
        let url = device.site.cloud.url();
        let out = Command::new(DOORKEY)
            .current_dir(device.site.path())
            .args([
                "send",
                "ups-7",
                "--issuer",
                "none",
                "report.read",
                "kind=events",
                "--key",
                "anna.key",
            ])
            .args(["--pass", "anna.pass", "--broker", &url, "--out", "result"])
            .output()
            .unwrap();
        match std::fs::read_to_string(device.site.path().join("result")) {
            Ok(text) => assert!(text.starts_with("record,time,time_quality"), "{text}"),
            Err(_) => {
                forged += 1;
                let stderr = String::from_utf8_lossy(&out.stderr);
                assert!(
                    !out.status.success() && stderr.contains("not the result"),
                    "{stderr}"
                );
            }
        }
    }
    println!("{forged} of 5 transfers were disturbed");
    stop.send(()).unwrap();
    forging.join().unwrap();
}
