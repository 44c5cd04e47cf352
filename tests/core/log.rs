//! What the device writes down by itself, what it keeps, and what it lets go.

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

/// Lets time pass until something is due, does it, and says how long that took.
fn until_due(bench: &mut Bench) -> Option<u64> {
    let now = now(bench);
    let due = bench.core.due(&now)?;
    let wait = due.saturating_sub(now.uptime);
    bench.pass(wait);
    bench.input(Input::Tick);
    Some(wait)
}

#[test]
fn of_many_refused_commands_eight_are_written_down_and_the_rest_as_a_number() {
    let mut bench = Bench::with(&[share("anna", &[STATUS]), share("bob", &[STATUS])]);
    let single = |event: &Event| matches!(event, Event::Denied(..));
    for _ in 0..50 {
        assert_eq!(bench.ask("anna", REBOOT), "not_granted", "each is answered");
    }
    assert_eq!(count(&bench, single), 8);
    assert_eq!(bench.ask("bob", REBOOT), "not_granted");
    assert_eq!(
        count(&bench, single),
        9,
        "another sender is not held for it"
    );
    // What was not written down by itself is still not taken twice.
    let refused = sign(&bench.command(REBOOT), &key("anna"));
    assert_eq!(bench.send_bytes(&refused), "not_granted");
    assert_eq!(bench.send_bytes(&refused), "not_granted", "as before");
    assert_eq!(bench.counted(Code::Replay), 1, "and it is known");
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
    assert_eq!(count(&bench, single), 10, "and from the beginning again");
}

#[test]
fn a_refusal_that_was_not_written_down_is_answered_the_same_when_its_command_comes_again() {
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
    // Even if it would be allowed by now.
    bench.deliver(&signed(&share("anna", &[REBOOT, STATUS])));
    assert_eq!(answer(&mut bench), first);
    for _ in 0..64 {
        bench.ask("anna", "config.read");
    }
    assert_eq!(
        bench.send_bytes(&refused),
        "replay",
        "only the last are kept"
    );
}

#[test]
fn a_checkpoint_goes_out_after_64_records_or_ten_minutes_and_none_when_nothing_changed() {
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
fn an_idle_device_writes_only_when_something_has_ended() {
    let mut bench = Bench::provisioned();
    let idle = now(&mut bench);
    bench.pass(700);
    bench.input(Input::Tick);
    assert_eq!(
        bench.core.due(&idle),
        None,
        "nothing is known that could end"
    );
    let mut bench = Bench::with(&[share("anna", &[STATUS])]);
    bench.pass(600);
    bench.input(Input::Tick);
    let (records, mut slept) = (bench.disk.log.len(), Vec::new());
    while let Some(wait) = until_due(&mut bench) {
        slept.push(wait / 3600);
        assert!(slept.len() < 20, "{slept:?}");
    }
    // Four leases and the share's own end, each with one record and a checkpoint of it.
    assert!(bench.disk.log.len() - records <= 5, "{slept:?}");
    assert!(slept.iter().sum::<u64>() > 30 * 24 - 100, "{slept:?}");
}

#[test]
fn n06_what_ended_while_the_device_counted_stays_ended_without_a_clock() {
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
    // Power goes; there is no clock, and nobody tells the time.
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
fn time_that_was_counted_is_written_down_with_other_records_and_before_a_reboot() {
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
fn records_go_only_when_they_are_kept_elsewhere_and_the_log_is_half_full() {
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
fn who_acknowledges_what_is_not_there_acknowledges_nothing() {
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
fn records_are_sent_once_somebody_keeps_them_and_again_to_whoever_has_lost_some() {
    let mut bench = Bench::with(&[]);
    bench.input(Input::LinkUp);
    assert_eq!(bench.uploads, [], "nobody keeps them yet");
    let mut keep = |size: i64| {
        let came = bench.ask_with("ole", "history.acknowledge", "size", Value::Int(size));
        (came, bench.uploads.pop())
    };
    assert_eq!(keep(0), ("done".into(), Some((0, true))));
    assert_eq!(keep(3), ("done".into(), Some((3, false))));
    assert_eq!(
        keep(3),
        ("done".into(), Some((3, true))),
        "what followed was lost"
    );
    assert_eq!(keep(1), ("done".into(), Some((1, true))), "and more");
    assert_eq!(keep(99), ("failed".into(), None), "there are not so many");
    bench.restart();
    bench.input(Input::LinkUp);
    assert_eq!(bench.uploads, [(3, false)]);
}
