//! Collection of log records over a real broker, with every kind of loss on the way.

use doorward_testkit::site;

use doorward_protocol::event_log::record::{Event, Record};
use doorward_protocol::wire::topics;
use doorward_protocol::wire::{Bytes, Id, Text, Timestamp};
use doorward_transport::MqttClient;
use doorward_transport::event_log::read_log;
use site::{COUNT, DOORKEY, Site, block_on};

/// Runs `doorkey log collect` with ole's key; returns its exit status, JSON output and errors.
fn collect(site: &Site, to: &str) -> (Option<i32>, serde_json::Value, String) {
    let url = site.cloud.url();
    let args = [
        "log", "collect", "ups-7", "--to", to, "--key", "ole.key", "--json", "--broker",
    ];
    let out = site.run(DOORKEY, &[&args[..], &[&url]].concat());
    (
        out.status.code(),
        serde_json::from_slice(&out.stdout).unwrap_or_default(),
        String::from_utf8(out.stderr).unwrap(),
    )
}

/// Checks that the copy has at least `size` records and equals the beginning of the device's log.
fn assert_prefix(site: &Site, copy: &str, size: u64) {
    let read = |directory: &str| read_log(&site.path().join(directory)).unwrap();
    let (copy, log) = (read(copy), read("state/log"));
    assert_eq!(copy.damage, None);
    assert!(
        copy.records.len() as u64 >= size,
        "{} < {size}",
        copy.records.len()
    );
    assert_eq!(copy.records[..], log.records[..copy.records.len()]);
}

fn send_commands(site: &Site, rounds: usize) {
    for _ in 0..rounds {
        assert_eq!(site.send("ole", "device.reboot", 10)["outcome"], "done");
    }
}

#[test]
fn s13_the_log_of_a_device_that_was_offline_reaches_the_issuer_complete_and_in_order() {
    let mut site = Site::new(COUNT);
    site.ready();
    send_commands(&site, 5);
    let (exit, output, why) = collect(&site, "copy");
    assert_eq!(exit, Some(0), "{why}");
    let size = output["size"].as_u64().unwrap();
    assert!(size > 15, "{output}");
    assert_prefix(&site, "copy", size);
    let verified = site.doorkey(&["log", "verify", "copy", "--json"]);
    assert!(verified.status.success());

    // More commands, with an interruption of the broker and a kill of the daemon.
    send_commands(&site, 3);
    site.cloud.stop();
    site.cloud.again();
    send_commands(&site, 3);
    site.kill();
    site.start();
    send_commands(&site, 3);
    let (exit, output, why) = collect(&site, "copy");
    assert_eq!(exit, Some(0), "{why}");
    assert!(output["records"].as_u64() >= Some(27), "{output}");
    assert_prefix(&site, "copy", output["size"].as_u64().unwrap());
}

#[test]
fn lost_records_are_collected_again_and_a_forged_record_is_refused() {
    let site = Site::new(COUNT);
    site.ready();
    send_commands(&site, 4);
    assert_eq!(collect(&site, "copy").0, Some(0));
    let early: Vec<_> = std::fs::read_dir(site.path().join("copy"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let saved = std::fs::read(&early[0]).unwrap();
    send_commands(&site, 4);
    assert_eq!(collect(&site, "copy").0, Some(0));
    // The collector's disk was restored from an older state; a second collector starts without a copy.
    std::fs::write(&early[0], saved).unwrap();
    for copy in ["copy", "another"] {
        let (exit, output, why) = collect(&site, copy);
        assert_eq!(exit, Some(0), "{why}");
        assert_prefix(&site, copy, output["size"].as_u64().unwrap());
    }

    // An attacker at the broker publishes a forged next record.
    let next = read_log(&site.path().join("copy")).unwrap().records.len() as u64;
    let forged = Record {
        seq: next,
        previous: Bytes([7; 32]),
        at: Timestamp(1_800_000_000),
        quality: 3,
        event: Event::Epoch(Bytes([1; 16]), Text::new("forged").unwrap()),
    };
    let topic = topics::records(&Id::new("ups-7").unwrap());
    block_on(async {
        let client = MqttClient::connect(&site.cloud.broker()).await.unwrap();
        client.publish(topic, forged.encode(), true).await.unwrap();
    });
    let (exit, _, why) = collect(&site, "copy");
    assert_eq!(exit, Some(65), "{why}");
    assert!(why.contains("does not follow the previous one"), "{why}");
    assert_prefix(&site, "copy", next);
}
