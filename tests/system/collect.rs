//! Records that leave the device: collected over a real broker, with everything lost on the way
//! that can be.

use doorward_testkit::site;

use doorward_protocol::event_log::record::{Event, Record};
use doorward_protocol::wire::topics;
use doorward_protocol::wire::{Bytes, Id, Text, Timestamp};
#[allow(dead_code, unreachable_pub, reason = "not every test uses everything")]
use doorward_transport::MqttClient;
use doorward_transport::event_log::read_log;
use site::{COUNT, DOORKEY, Site, block_on};

/// `doorkey log collect` with ole's key: its exit status, what it says, and its complaint.
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

/// The copy is the beginning of the device's own log, byte for byte.
fn is_the_beginning(site: &Site, copy: &str, size: u64) {
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

fn work(site: &Site, rounds: usize) {
    for _ in 0..rounds {
        assert_eq!(site.send("ole", "device.reboot", 10)["outcome"], "done");
    }
}

#[test]
fn s13_the_log_of_a_device_that_was_off_line_reaches_the_issuer_whole_and_in_order() {
    let mut site = Site::new(COUNT);
    site.ready();
    work(&site, 5);
    let (exit, said, why) = collect(&site, "copy");
    assert_eq!(exit, Some(0), "{why}");
    let size = said["size"].as_u64().unwrap();
    assert!(size > 15, "{said}");
    is_the_beginning(&site, "copy", size);
    let verified = site.doorkey(&["log", "verify", "copy", "--json"]);
    assert!(verified.status.success());

    // More happens, with the broker gone for a while and the device killed.
    work(&site, 3);
    site.cloud.stop();
    site.cloud.again();
    work(&site, 3);
    site.kill();
    site.start();
    work(&site, 3);
    let (exit, said, why) = collect(&site, "copy");
    assert_eq!(exit, Some(0), "{why}");
    assert!(said["records"].as_u64() >= Some(27), "{said}");
    is_the_beginning(&site, "copy", said["size"].as_u64().unwrap());
}

#[test]
fn whoever_lost_what_was_collected_gets_it_again_and_a_forged_record_is_refused() {
    let site = Site::new(COUNT);
    site.ready();
    work(&site, 4);
    assert_eq!(collect(&site, "copy").0, Some(0));
    let early: Vec<_> = std::fs::read_dir(site.path().join("copy"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let saved = std::fs::read(&early[0]).unwrap();
    work(&site, 4);
    assert_eq!(collect(&site, "copy").0, Some(0));
    // The disk of the collector was restored from yesterday; another collector begins anew.
    std::fs::write(&early[0], saved).unwrap();
    for copy in ["copy", "another"] {
        let (exit, said, why) = collect(&site, copy);
        assert_eq!(exit, Some(0), "{why}");
        is_the_beginning(&site, copy, said["size"].as_u64().unwrap());
    }

    // Somebody on the broker slips in a record that would come next.
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
        let caller = MqttClient::connect(&site.cloud.broker()).await.unwrap();
        caller.publish(topic, forged.encode(), true).await.unwrap();
    });
    let (exit, _, why) = collect(&site, "copy");
    assert_eq!(exit, Some(65), "{why}");
    assert!(why.contains("does not follow the one before it"), "{why}");
    is_the_beginning(&site, "copy", next);
}
