//! Deletion of a device by its owner.

use doorward::core::{CoreConfig, ReplyTopic};
use doorward_protocol::event_log::record::Event;
use doorward_protocol::gate::Code;
use doorward_protocol::wire::*;
use doorward_testkit::*;

const DELETE: &str = "device.delete";

/// A new registration of the same owner after the deleted one.
fn next_registration(since: u64) -> Registration {
    let mut new = registration();
    new.body.seq = 2;
    (new.iat, new.body.since) = (Timestamp(NOON + 60), Timestamp(since));
    new
}

#[test]
fn s12_a_deleted_device_removes_every_share_and_publishes_a_final_signed_log_head() {
    let before = share("anna", &[STATUS]);
    let mut bench = Bench::with(std::slice::from_ref(&before));
    bench.deliver(&signed(&revocations(1, &[])));
    assert_eq!(bench.ask("ole", DELETE), "done");
    let records = bench.disk.log.len() as u64;
    let last: Checkpoint = Envelope::parse(bench.checkpoints.last().unwrap())
        .unwrap()
        .claims()
        .unwrap();
    assert_eq!(last.body.log.size, records, "signed log head");
    assert_eq!(bench.last_receipt().body.log.size, records);
    assert!(bench.disk.cache.is_empty() && bench.disk.registration == Some(Vec::new()));
    for restarted in [false, true] {
        // The broker delivers its retained statements again, without effect.
        bench.deliver(&signed(&registration()));
        bench.deliver(&signed(&before));
        assert_eq!(bench.counted(Code::BadGrant), 0, "known, so not refused");
        for person in ["ole", "anna"] {
            assert_eq!(bench.ask(person, STATUS), "silence", "{restarted}");
        }
        bench.restart();
    }
    assert_eq!(
        bench.disk.log.len() as u64,
        records + 1,
        "only the share is recorded"
    );
    bench.deliver(&signed(&next_registration(NOON - 60 * DAY)));
    assert_eq!(bench.counted(Code::BadGrant), 1, "no earlier right returns");
    bench.deliver(&signed(&next_registration(NOON + 60)));
    assert_eq!(bench.ask("ole", STATUS), "done");
    bench.deliver(&signed(&before));
    assert_eq!(bench.ask("anna", STATUS), "revoked");
}

#[test]
fn a_power_cut_after_the_record_of_a_deletion_does_not_undo_it() {
    let mut bench = Bench::with(&[share("anna", &[STATUS])]);
    let (registration, cache) = (bench.disk.registration.clone(), bench.disk.cache.clone());
    assert_eq!(bench.ask("ole", DELETE), "done");
    (bench.disk.registration, bench.disk.cache) = (registration, cache);
    bench.restart();
    for person in ["ole", "anna"] {
        assert_eq!(bench.ask(person, STATUS), "silence");
    }
    assert_eq!(bench.counted(Code::NotProvisioned), 2);
}

#[test]
fn a_deletion_is_part_of_the_snapshot_in_a_new_log_segment() {
    let settings = || CoreConfig {
        segment: 1,
        ..settings()
    };
    let mut bench = Bench::with(&[]);
    bench.restart_with(settings());
    assert_eq!(bench.ask("ole", DELETE), "done");
    let mut statements = 0;
    let snapshot = |record: &doorward_protocol::event_log::record::Record| matches!(&record.event, Event::Snapshot(it) if it.deleted.is_some());
    while !bench.disk.log.iter().any(snapshot) {
        statements += 1;
        let mut share = share("anna", &[STATUS]);
        share.cti = Bytes([statements; 16]);
        bench.deliver(&signed(&share));
        assert!(statements < 100);
    }
    let from = bench.disk.log.iter().position(snapshot).unwrap();
    bench.disk.log.drain(..from);
    bench.disk.registration = Some(signed(&registration()));
    bench.restart_with(settings());
    assert_eq!(bench.ask("ole", STATUS), "silence");
    assert!(
        bench
            .published
            .iter()
            .all(|(topic, _)| *topic == ReplyTopic::State)
    );
}
