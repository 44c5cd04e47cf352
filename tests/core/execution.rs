//! Life cycle of an allowed command: progress reports, re-authorization while it runs, and the limit
//! of reboots.

use doorward::core::{CoreConfig, Input, OperationResult, ReplyTopic};
use doorward_protocol::event_log::record::Event;
use doorward_protocol::gate::{Code, Permit, REBOOTS, RebootLimit};
use doorward_protocol::wire::*;
use doorward_testkit::*;

const INSTALL: &str = "firmware.install";

fn running(bench: &mut Bench, person: &str, operation: &str) -> Permit {
    let command = sign(&bench.command(operation), &key(person));
    bench.deliver(&command);
    bench.started.last().unwrap().clone()
}

fn recheck(bench: &mut Bench, permit: &Permit) -> Result<(), Code> {
    let reading = bench.reading;
    bench.core.reauthorize(permit, &reading)
}

#[test]
fn a_running_operation_loses_its_permit_when_its_share_is_cancelled() {
    let granted = share("anna", &[REBOOT]);
    let mut bench = Bench::with(std::slice::from_ref(&granted));
    let permit = running(&mut bench, "anna", REBOOT);
    assert_eq!(recheck(&mut bench, &permit), Ok(()));
    bench.deliver(&signed(&revocations(1, &[&granted])));
    assert_eq!(recheck(&mut bench, &permit), Err(Code::Revoked));
}

#[test]
fn a_running_operation_loses_its_permit_when_its_time_window_closes() {
    let window = WeeklyWindow {
        days: 0x7f,
        from: 0,
        until: 13 * 60,
    };
    let limits = Limits {
        windows: Some(WeeklyWindows {
            zone: Text::new("UTC0").unwrap(),
            open: vec![window],
        }),
        ..Limits::default()
    };
    let mut bench = Bench::with(&[limited("anna", &[REBOOT], limits)]);
    let permit = running(&mut bench, "anna", REBOOT);
    bench.pass(3599);
    assert_eq!(recheck(&mut bench, &permit), Ok(()));
    bench.pass(1);
    assert_eq!(recheck(&mut bench, &permit), Err(Code::Window));
}

#[test]
fn n12_a_running_operation_loses_its_permit_when_its_approver_loses_the_right() {
    let limits = Limits {
        approvals: Some(1),
        ..Limits::default()
    };
    let second = share("bob", &[REBOOT]);
    let mut bench = Bench::with(&[limited("anna", &[REBOOT], limits), second.clone()]);
    let command = sign(&bench.command(REBOOT), &key("anna"));
    let approval = Approval {
        aud: device(),
        exp: Timestamp(NOON + 600),
        iat: Timestamp(NOON),
        body: ApprovalBody {
            format: 1,
            command: hash(&command),
        },
    };
    let bundle = [sign(&approval, &key("bob")), command].concat();
    bench.deliver(&bundle);
    let permit = bench.started.last().unwrap().clone();
    assert_eq!(permit.approvers(), [key("bob").public()]);
    // An approval must be valid when it is given; its expiry afterwards has no effect.
    bench.pass(601);
    assert_eq!(recheck(&mut bench, &permit), Ok(()));
    bench.deliver(&signed(&revocations(1, &[&second])));
    assert_eq!(recheck(&mut bench, &permit), Err(Code::NeedsApproval));
}

#[test]
fn s20_a_running_operation_loses_its_permit_when_the_plan_ends() {
    let mut bench = Bench::provisioned();
    let mut registration = registration();
    registration.body.plan.end = Some(Timestamp(NOON + 60));
    bench.deliver(&signed(&registration));
    bench.deliver(&signed(&share("anna", &[REBOOT])));
    let permit = running(&mut bench, "anna", REBOOT);
    assert_eq!(recheck(&mut bench, &permit), Ok(()));
    bench.pass(60);
    assert_eq!(recheck(&mut bench, &permit), Err(Code::Plan));
}

#[test]
fn a_running_operation_of_the_owner_loses_its_permit_at_a_handover() {
    let mut bench = Bench::with(&[]);
    let permit = running(&mut bench, "ole", REBOOT);
    assert_eq!(recheck(&mut bench, &permit), Ok(()));
    let mut next = registration();
    next.body.seq += 1;
    (next.iat, next.body.since) = (Timestamp(NOON), Timestamp(NOON));
    next.sub = id("nora");
    next.cnf = Confirmation(key("nora").public());
    bench.deliver(&signed(&next));
    assert_eq!(recheck(&mut bench, &permit), Err(Code::NoGrant));
}

#[test]
fn progress_is_sent_to_the_requester_and_not_logged() {
    let mut bench = Bench::with(&[share("anna", &[REBOOT])]);
    let command = sign(&bench.command(REBOOT), &key("anna"));
    bench.deliver(&command);
    bench.published.clear();
    let (records, percent) = (bench.disk.log.len(), Text::new("percent").unwrap());
    let rows = |n| Map::new([(percent.clone(), Value::Int(n))]);
    bench.input(Input::Progress(hash(&command), rows(40)));
    // A sender that was disconnected sends the command again and gets the same progress.
    bench.deliver(&command);
    let sent: Vec<_> = bench
        .published
        .iter()
        .map(|(topic, bytes)| {
            let ReplyTopic::Receipts(holder, _) = topic else {
                panic!("{topic:?}");
            };
            assert_eq!(*holder, key("anna").public());
            let body = receipt(bytes).body;
            (body.outcome, body.result)
        })
        .collect();
    assert_eq!(
        sent,
        [
            (Outcome::Executing, rows(40)),
            (Outcome::Executing, rows(40))
        ]
    );
    assert_eq!(bench.disk.log.len(), records);
    assert_eq!(bench.core.running_commands()[0].2, rows(40));
    bench.finish(hash(&command));
    bench.published.clear();
    bench.input(Input::Progress(hash(&command), rows(90)));
    assert!(bench.published.is_empty(), "it has ended");
    assert!(bench.core.running_commands().is_empty());
}

#[test]
fn copies_of_a_running_command_are_counted_and_charged_to_their_link() {
    let mut bench = Bench::with(&[share("anna", &[REBOOT])]);
    let command = sign(&bench.command(REBOOT), &key("anna"));
    bench.deliver(&command);
    let rows = Map::new([(Text::new("percent").unwrap(), Value::Int(1))]);
    bench.input(Input::Progress(hash(&command), rows));
    bench.published.clear();
    for _ in 0..1000 {
        bench.deliver(&command);
    }
    assert!(bench.published.len() < 200, "{}", bench.published.len());
    assert!(bench.counted(Code::Replay) >= 100 && bench.counted(Code::Flood) > 0);
}

#[test]
fn firmware_is_not_installed_once_its_release_is_no_longer_valid() {
    let mut bench = Bench::with(&[share("anna", &[INSTALL])]);
    bench.deliver(&signed(&release(9, 3)));
    let mut command = bench.command(INSTALL);
    command.body.args = Map::new([(Text::new("version").unwrap(), Value::Int(9))]);
    bench.deliver(&sign(&command, &key("anna")));
    let permit = bench.started.last().unwrap().clone();
    assert_eq!(recheck(&mut bench, &permit), Ok(()));
    let next = rotated(&issuers(), Role::Firmware, &["another"], 1);
    bench.deliver(&signed_by(&next, &["root"]));
    assert_eq!(recheck(&mut bench, &permit), Err(Code::BadImage));
}

#[test]
fn after_a_failed_write_running_operations_report_their_own_outcome() {
    let mut bench = Bench::with(&[share("anna", &[INSTALL, REBOOT])]);
    let command = sign(&bench.command(REBOOT), &key("anna"));
    bench.deliver(&command);
    let running = CoreConfig {
        running: [hash(&command)].into(),
        ..settings()
    };
    bench.restart_with(running);
    assert!(
        bench
            .published
            .iter()
            .all(|(topic, _)| *topic == ReplyTopic::State)
    );
    bench.input(Input::Finished(
        hash(&command),
        OperationResult::done(Map::default()),
    ));
    assert_eq!(bench.last_receipt().body.outcome, Outcome::Done);
}

/// At most three reboots an hour.
fn three_an_hour() -> CoreConfig {
    let mut settings = settings();
    settings.reboot_limit = RebootLimit {
        max: 3,
        seconds: 3600,
    };
    let offer = settings.offers.get_mut(&operation(REBOOT)).unwrap();
    offer.interlocks = vec![id(REBOOTS)];
    settings
}

#[test]
fn not_even_the_owner_can_cause_a_reboot_loop() {
    let mut bench = Bench::with(&[share("anna", &[REBOOT, STATUS])]);
    for boot in 1..=3 {
        bench.restart_with(three_an_hour());
        running(&mut bench, if boot == 2 { "ole" } else { "anna" }, REBOOT);
        assert_eq!(bench.started.len(), 1, "boot {boot}");
        bench.pass(60);
        bench.reading.boot = Bytes([boot; 16]);
        bench.reading.uptime = 1;
    }
    bench.restart_with(three_an_hour());
    for person in ["anna", "ole"] {
        assert_eq!(bench.ask(person, REBOOT), "interlock");
    }
    assert_eq!(bench.ask("anna", STATUS), "done");
    // The wall clock does not matter: an hour of uptime has to pass.
    bench.reading.system = bench.reading.system.plus(30 * DAY);
    assert_eq!(bench.ask("ole", REBOOT), "interlock");
    bench.reading.system = Timestamp(bench.reading.system.0 - 30 * DAY);
    bench.reading.boot = Bytes([4; 16]);
    bench.restart_with(three_an_hour());
    assert_eq!(bench.ask("ole", REBOOT), "interlock");
    bench.pass(3600);
    assert_eq!(bench.ask("ole", REBOOT), "done");
}

#[test]
fn reboots_are_part_of_the_snapshot_in_a_new_log_segment() {
    let mut bench = Bench::with(&[]);
    let settings = || CoreConfig {
        segment: 1,
        ..three_an_hour()
    };
    for _ in 0..3 {
        bench.restart_with(settings());
        assert_eq!(bench.ask("ole", REBOOT), "done");
    }
    let snapshot = |record: &doorward_protocol::event_log::record::Record| matches!(&record.event, Event::Snapshot(it) if it.reboots.as_ref().is_some_and(|it| it.len() == 3));
    while !bench.disk.log.last().is_some_and(snapshot) {
        assert_eq!(bench.ask("ole", STATUS), "done");
        let from = bench.disk.log.iter().rposition(snapshot);
        if let Some(from) = from {
            bench.disk.log.drain(..from);
            break;
        }
        assert!(bench.disk.log.len() < 1000);
    }
    bench.restart_with(settings());
    assert_eq!(bench.ask("ole", REBOOT), "interlock");
}

#[test]
fn an_operation_that_must_be_completed_stays_open_until_it_is() {
    let settings = || CoreConfig {
        resumable: vec![operation(INSTALL)],
        in_memory_reads: Vec::new(),
        ..settings()
    };
    let mut bench = Bench::with(&[share("anna", &[INSTALL])]);
    bench.deliver(&signed(&release(9, 3)));
    let version = Map::new([(Text::new("version").unwrap(), Value::Int(9))]);
    let mut command = bench.command(INSTALL);
    command.body.args = version;
    let command = sign(&command, &key("anna"));
    bench.deliver(&command);
    let permit = bench.started.last().unwrap();
    assert_eq!(permit.release().unwrap().body.version, 9);
    for (boot, booted) in [(0xb0, false), (0xb1, true), (0xb1, true)] {
        bench.reading.boot = Bytes([boot; 16]);
        bench.restart_with(settings());
        let [(intent, since)] = &bench.resumed[..] else {
            panic!("{:?}", bench.resumed);
        };
        assert_eq!((intent.version, *since), (Some(9), booted));
        assert!(
            bench
                .published
                .iter()
                .all(|(topic, _)| *topic == ReplyTopic::State)
        );
    }
    bench.input(Input::Finished(
        hash(&command),
        OperationResult::done(Map::default()),
    ));
    let (_, last) = bench.published.last().unwrap();
    assert_eq!(receipt(last).body.outcome, Outcome::Done);
    bench.restart_with(settings());
    assert!(bench.resumed.is_empty());
}
