//! Records that the device writes on its own, retention and deletion of records.

use doorward::core::Input;
use doorward_protocol::event_log::record::Event;
use doorward_protocol::gate::{Code, Now};
use doorward_protocol::wire::*;
use doorward_testkit::*;

fn count(bench: &Bench, of: impl Fn(&Event) -> bool) -> usize {
    bench.disk.log.iter().filter(|r| of(&r.event)).count()
}

fn now(bench: &mut Bench) -> Now {
    bench.core.status(&bench.reading).now
}

/// Advances time until the next timer, runs it, and returns the time that has passed in seconds.
fn until_due(bench: &mut Bench) -> Option<u64> {
    let now = now(bench);
    let due = bench.core.due(&now)?;
    let wait = due.saturating_sub(now.uptime);
    bench.pass(wait);
    bench.input(Input::Tick);
    Some(wait)
}

#[test]
fn of_many_refused_commands_eight_are_logged_and_the_rest_as_a_count() {
    let mut bench = Bench::with(&[share("anna", &[STATUS]), share("bob", &[STATUS])]);
    let single = |event: &Event| matches!(event, Event::Denied(..));
    for _ in 0..50 {
        assert_eq!(bench.ask("anna", REBOOT), "not_granted", "each is answered");
    }
    assert_eq!(count(&bench, single), 8);
    assert_eq!(bench.ask("bob", REBOOT), "not_granted");
    assert_eq!(count(&bench, single), 9, "other senders are not affected");
    // A refused command without its own record is still not accepted twice.
    let refused = sign(&bench.command(REBOOT), &key("anna"));
    assert_eq!(bench.send_bytes(&refused), "not_granted");
    assert_eq!(bench.send_bytes(&refused), "not_granted", "as before");
    assert_eq!(bench.counted(Code::Replay), 1, "and it is recognised");
    bench.pass(600);
    bench.input(Input::Tick);
    let numbers: Vec<_> = bench
        .disk
        .log
        .iter()
        .filter_map(|record| match &record.event {
            Event::DeniedMore(sender, count) => Some((sender.person.clone(), *count)),
            _ => None,
        })
        .collect();
    assert_eq!(numbers, [(id("anna"), 43)]);
    assert_eq!(bench.ask("anna", REBOOT), "not_granted");
    assert_eq!(count(&bench, single), 10, "and the count starts again");
}

#[test]
fn an_unlogged_refusal_is_answered_the_same_when_its_command_is_repeated() {
    let mut bench = Bench::with(&[share("anna", &[STATUS])]);
    for _ in 0..8 {
        bench.ask("anna", REBOOT);
    }
    let refused = sign(&bench.command(REBOOT), &key("anna"));
    let answer = |bench: &mut Bench| {
        let before = bench.published.len();
        bench.send_bytes(&refused);
        bench.published[before..].to_vec()
    };
    let first = answer(&mut bench);
    assert_eq!(first.len(), 1);
    bench.pass(10);
    assert_eq!(answer(&mut bench), first, "to the byte");
    // Also if it would be allowed now.
    bench.deliver(&signed(&share("anna", &[REBOOT, STATUS])));
    assert_eq!(answer(&mut bench), first);
    for _ in 0..64 {
        bench.ask("anna", "config.read");
    }
    assert_eq!(
        bench.send_bytes(&refused),
        "replay",
        "only the latest ones are remembered"
    );
}

#[test]
fn a_checkpoint_is_published_after_64_records_or_ten_minutes_and_none_without_changes() {
    let mut bench = Bench::with(&[share("anna", &[STATUS])]);
    let ended = bench.checkpoints.len();
    for _ in 0..40 {
        bench.ask("anna", STATUS);
    }
    assert_eq!(bench.checkpoints.len(), ended + 1);
    assert_eq!(until_due(&mut bench), Some(600));
    assert_eq!(bench.checkpoints.len(), ended + 2);
    let last = bench.checkpoints.last().unwrap();
    let checkpoint: Checkpoint = Envelope::parse(last).unwrap().claims().unwrap();
    let record = bench.disk.log.last().unwrap();
    assert_eq!(checkpoint.body.log, record.head(hash(&record.encode())));
    let now = now(&mut bench);
    let due = bench.core.due(&now);
    assert!(
        due.is_none_or(|due| due > now.uptime + DAY),
        "idle: {due:?}"
    );
}

#[test]
fn an_idle_device_writes_only_when_something_expires() {
    let mut bench = Bench::provisioned();
    let idle = now(&mut bench);
    bench.pass(700);
    bench.input(Input::Tick);
    assert_eq!(
        bench.core.due(&idle),
        None,
        "there is nothing that could expire"
    );
    let mut bench = Bench::with(&[share("anna", &[STATUS])]);
    bench.pass(600);
    bench.input(Input::Tick);
    let (records, mut slept) = (bench.disk.log.len(), Vec::new());
    while let Some(wait) = until_due(&mut bench) {
        slept.push(wait / 3600);
        assert!(slept.len() < 20, "{slept:?}");
    }
    // Four leases and the end of the share, each with one record and its checkpoint.
    assert!(bench.disk.log.len() - records <= 5, "{slept:?}");
    assert!(slept.iter().sum::<u64>() > 30 * 24 - 100, "{slept:?}");
}

#[test]
fn n06_a_share_that_expired_by_uptime_stays_expired_without_a_clock() {
    let mut anna = share("anna", &[STATUS]);
    anna.exp = Timestamp(NOON + DAY);
    let mut bench = Bench::with(&[anna, share("bob", &[STATUS])]);
    let mut list = revocations(1, &[]);
    list.iat = Timestamp(NOON);
    bench.deliver(&signed(&list));
    bench.reading.system = Timestamp(0);
    let mut day = 0;
    while day < 2 * DAY {
        day += until_due(&mut bench).unwrap_or(DAY);
    }
    // A power cut; there is no clock and no other source of time.
    bench.reading.system = Timestamp(0);
    bench.reading.uptime = 5;
    bench.reading.boot = Bytes([9; 16]);
    bench.restart();
    assert!(now(&mut bench).estimate >= Timestamp(NOON + DAY));
    bench.reading.system = now(&mut bench).estimate;
    assert_eq!(bench.ask("anna", STATUS), "silence", "the share has ended");
    assert_eq!(bench.ask("bob", STATUS), "done");
}

#[test]
fn elapsed_time_is_logged_with_other_records_and_before_a_reboot() {
    let counted = |event: &Event| matches!(event, Event::Counted(_));
    let mut bench = Bench::with(&[share("anna", &[STATUS, REBOOT])]);
    let mut list = revocations(1, &[]);
    list.iat = Timestamp(NOON);
    bench.deliver(&signed(&list));
    bench.pass(899);
    assert_eq!(bench.ask("anna", STATUS), "done");
    assert_eq!(count(&bench, counted), 0);
    bench.pass(1);
    assert_eq!(bench.ask("anna", STATUS), "done");
    assert_eq!(count(&bench, counted), 1);
    bench.pass(10);
    assert_eq!(bench.ask("anna", REBOOT), "done");
    assert_eq!(count(&bench, counted), 2);
}

#[test]
fn records_are_dropped_only_when_acknowledged_and_the_log_is_half_full() {
    let small = |acknowledge: bool| {
        let settings = doorward::core::CoreConfig {
            log_limit: 100_000,
            segment: 5_000,
            ..settings()
        };
        let first = Bench::with(&[share("anna", &[STATUS])]);
        let mut bench = Bench::start(first.disk, first.reading, settings);
        for round in 1..400 {
            bench.ask("ole", STATUS);
            if acknowledge && round % 20 == 0 {
                let size = bench.core.log_size() as i64;
                let done = bench.ask_with("ole", "history.acknowledge", "size", Value::Int(size));
                assert_eq!(done, "done");
            }
        }
        (bench.ask("ole", STATUS), bench.dropped)
    };
    assert_eq!(small(false), ("log_full".to_owned(), 0));
    let (answer, dropped) = small(true);
    assert_eq!(answer, "done");
    assert!(dropped > 300, "{dropped} records");
}

#[test]
fn acknowledging_records_that_do_not_exist_has_no_effect() {
    let mut bench = Bench::with(&[share("anna", &[STATUS])]);
    let ahead = bench.core.log_size() as i64 + 2;
    let mut acknowledge =
        |person, size| bench.ask_with(person, "history.acknowledge", "size", size);
    assert_eq!(acknowledge("ole", Value::Int(ahead)), "failed");
    assert_eq!(acknowledge("ole", Value::Int(-1)), "failed");
    assert_eq!(acknowledge("ole", Value::Bool(true)), "param");
    assert_eq!(acknowledge("anna", Value::Int(1)), "not_granted");
    assert_eq!(bench.counted(Code::NotGranted), 1);
}

#[test]
fn records_are_sent_once_a_collector_exists_and_again_after_it_has_lost_some() {
    let mut bench = Bench::with(&[]);
    bench.input(Input::LinkUp);
    assert_eq!(bench.uploads, [], "there is no collector yet");
    let mut keep = |size: i64| {
        let outcome = bench.ask_with("ole", "history.acknowledge", "size", Value::Int(size));
        (outcome, bench.uploads.pop())
    };
    assert_eq!(keep(0), ("done".into(), Some((0, true))));
    assert_eq!(keep(3), ("done".into(), Some((3, false))));
    assert_eq!(
        keep(3),
        ("done".into(), Some((3, true))),
        "the following records were lost"
    );
    assert_eq!(keep(1), ("done".into(), Some((1, true))), "and more");
    assert_eq!(keep(99), ("failed".into(), None), "more than exist");
    bench.restart();
    bench.input(Input::LinkUp);
    assert_eq!(bench.uploads, [(3, false)]);
}
