//! Guarantees of the core over crashes: a command runs at most once, and every allowed command gets
//! an outcome.

use doorward::core::{Action, Input, OperationResult, ReplyTopic};
use doorward_protocol::event_log::LogWrite;
use doorward_protocol::event_log::record::{Event, Record};
use doorward_protocol::gate::{Code, Origin};
use doorward_protocol::wire::*;
use doorward_testkit::*;

const ALL: [&str; 3] = ["status.read", "config.write", "device.reboot"];

/// Delivers a command and carries out its first `steps` batches; the rest is lost, as in a power cut.
/// Returns the number of started operations.
fn interrupted_after(bench: &mut Bench, command: &[u8], steps: usize) -> usize {
    let mut effects = bench.handle(Bench::arrived(command, Origin::Cloud, false));
    let mut begun = 0;
    for step in 0.. {
        begun += effects
            .actions
            .iter()
            .filter(|action| matches!(action, Action::Run(_)))
            .count();
        if step == steps || effects.batch.is_empty() {
            break;
        }
        for write in effects.batch.log {
            if let LogWrite::Append(bytes) = write {
                bench.disk.log.push(Record::decode(&bytes).unwrap());
            }
        }
        let size = bench.core.log_size();
        effects = bench.handle(Input::Durable(size));
    }
    begun
}

fn outcomes(bench: &Bench) -> Vec<(Outcome, String)> {
    bench
        .published
        .iter()
        .filter(|(topic, _)| matches!(topic, ReplyTopic::Receipts(..)))
        .map(|(_, bytes)| receipt(bytes).body)
        .map(|body| {
            (
                body.outcome,
                body.code.map_or_else(String::new, |c| c.to_string()),
            )
        })
        .collect()
}

#[test]
fn nothing_runs_and_nothing_is_acknowledged_before_its_record_is_durable() {
    let mut bench = Bench::with(&[share("anna", &ALL)]);
    let command = sign(&bench.command("device.reboot"), &key("anna"));
    let effects = bench.handle(Bench::arrived(&command, Origin::Cloud, false));
    assert!(!effects.batch.is_empty());
    assert!(effects.actions.is_empty(), "{:?}", effects.actions);
    // The record before it is durable, which is not enough.
    let size = bench.core.log_size();
    let effects = bench.handle(Input::Durable(size - 1));
    assert!(effects.actions.is_empty(), "{:?}", effects.actions);
    // The intent is durable: the command is acknowledged, but not started before the start record
    // is durable too.
    let effects = bench.handle(Input::Durable(size));
    assert!(matches!(effects.actions[..], [Action::Ack(_)]));
    let size = bench.core.log_size();
    let effects = bench.handle(Input::Durable(size));
    let [
        Action::Publish(ReplyTopic::Events, checkpoint),
        Action::Run(_),
    ] = &effects.actions[..]
    else {
        panic!("{:?}", effects.actions);
    };
    let checkpoint: Checkpoint = Envelope::parse(checkpoint).unwrap().claims().unwrap();
    assert_eq!(
        checkpoint.body.log.size, size,
        "the head may be the last one before a crash"
    );
}

#[test]
fn an_in_memory_read_starts_at_once_and_is_answered_when_its_record_is_durable() {
    let mut bench = Bench::with(&[share("anna", &ALL)]);
    let command = sign(&bench.command("status.read"), &key("anna"));
    let effects = bench.handle(Bench::arrived(&command, Origin::Cloud, false));
    assert!(!effects.batch.is_empty());
    let [Action::Run(permit)] = &effects.actions[..] else {
        panic!("{:?}", effects.actions);
    };
    // The operation finishes before any record is durable.
    let end = Input::Finished(
        permit.caller().command,
        OperationResult::done(Map::default()),
    );
    let end = bench.handle(end);
    assert!(end.actions.is_empty());
    let size = bench.core.log_size();
    let said = bench.handle(Input::Durable(size - 1));
    assert!(
        matches!(said.actions[..], [Action::Ack(_)]),
        "its outcome is not durable"
    );
    let said = bench.handle(Input::Durable(size));
    let [Action::Publish(ReplyTopic::Receipts(..), _)] = said.actions[..] else {
        panic!("{:?}", said.actions);
    };
    // A power cut before that: the command is delivered and run again, and answered once.
    let command = sign(&bench.command("status.read"), &key("anna"));
    let lost = bench.handle(Bench::arrived(&command, Origin::Cloud, false));
    assert!(matches!(lost.actions[..], [Action::Run(_)]));
    bench.restart();
    bench.published.clear();
    assert_eq!(bench.send_bytes(&command), "done");
    assert_eq!(outcomes(&bench).len(), 1);
    // The disk fails in between: no receipt is sent.
    let command = sign(&bench.command("status.read"), &key("anna"));
    let begun = bench.handle(Bench::arrived(&command, Origin::Cloud, false));
    let [Action::Run(permit)] = &begun.actions[..] else {
        panic!("{:?}", begun.actions);
    };
    bench.handle(Input::StoreFailed);
    let end = Input::Finished(
        permit.caller().command,
        OperationResult::done(Map::default()),
    );
    let end = bench.handle(end);
    assert!(end.actions.is_empty() && end.batch.is_empty());
}

#[test]
fn a_receipt_signed_during_the_log_write_is_sent_no_earlier_and_is_the_same() {
    let mut bench = Bench::with(&[share("anna", &ALL)]);
    let command = sign(&bench.command("status.read"), &key("anna"));
    let begun = bench.handle(Bench::arrived(&command, Origin::Cloud, false));
    let [Action::Run(permit)] = &begun.actions[..] else {
        panic!("{:?}", begun.actions);
    };
    let end = Input::Finished(
        permit.caller().command,
        OperationResult::done(Map::default()),
    );
    let end = bench.handle(end);
    assert!(!end.batch.is_empty() && end.actions.is_empty());
    bench.core.sign_ahead();
    let size = bench.core.log_size();
    let said = bench.handle(Input::Durable(size - 1));
    assert!(matches!(said.actions[..], [Action::Ack(_)]), "{said:?}");
    let said = bench.handle(Input::Durable(size));
    let [Action::Publish(topic, ahead)] = &said.actions[..] else {
        panic!("{:?}", said.actions);
    };
    // It is durable now, so a repeated command gets a receipt at once.
    let again = bench.handle(Bench::arrived(&command, Origin::Cloud, false));
    assert!(
        matches!(&again.actions[0], Action::Publish(to, bytes) if to == topic && bytes == ahead)
    );
    // The disk fails meanwhile: the signed receipt is not sent.
    let command = sign(&bench.command("status.read"), &key("anna"));
    let begun = bench.handle(Bench::arrived(&command, Origin::Cloud, false));
    let [Action::Run(permit)] = &begun.actions[..] else {
        panic!("{:?}", begun.actions);
    };
    let end = Input::Finished(
        permit.caller().command,
        OperationResult::done(Map::default()),
    );
    bench.handle(end);
    bench.core.sign_ahead();
    bench.handle(Input::StoreFailed);
    let late = bench.handle(Input::Durable(bench.core.log_size()));
    assert!(late.actions.is_empty(), "{late:?}");
}

#[test]
fn an_in_memory_read_is_not_started_if_the_share_has_ended_meanwhile() {
    let anna = share("anna", &ALL);
    let mut bench = Bench::with(std::slice::from_ref(&anna));
    let command = sign(&bench.command("status.read"), &key("anna"));
    let begun = bench.handle(Bench::arrived(&command, Origin::Cloud, false));
    let [Action::Run(permit)] = &begun.actions[..] else {
        panic!("{:?}", begun.actions);
    };
    let list = signed(&revocations(1, &[&anna]));
    bench.handle(Bench::arrived(&list, Origin::Cloud, false));
    // The daemon re-checks the permit immediately before it runs the operation.
    let reading = bench.reading;
    assert_eq!(bench.core.reauthorize(permit, &reading), Err(Code::Revoked));
}

#[test]
fn a_power_cut_at_any_step_runs_nothing_twice_and_leaves_one_outcome() {
    // Durable records: 0 none, 1 the intent, 2 the start of the operation.
    for (steps, expected) in [
        (0, vec![]),
        (1, vec![(Outcome::Failed, "failed".to_owned())]),
        (2, vec![(Outcome::Unknown, "unknown".to_owned())]),
    ] {
        let mut bench = Bench::with(&[share("anna", &ALL)]);
        let command = sign(&bench.command("device.reboot"), &key("anna"));
        let begun = interrupted_after(&mut bench, &command, steps);
        assert_eq!(begun, usize::from(steps == 2));
        bench.restart();
        assert_eq!(outcomes(&bench), expected, "cut after {steps} steps");
        bench.published.clear();
        // The broker delivers the command again, since it may not have been acknowledged.
        let again = bench.send_bytes(&command);
        match steps {
            0 => assert_eq!((again.as_str(), bench.started.len()), ("done", 1)),
            _ => {
                assert_eq!(bench.started.len(), 0, "never run again");
                assert_eq!(outcomes(&bench), expected, "the same answer again");
            }
        }
        let ends = |event: &Event| matches!(event, Event::Outcome(_));
        let count = bench.disk.log.iter().filter(|r| ends(&r.event)).count();
        assert_eq!(count, 1, "exactly one outcome");
    }
}

#[test]
fn a_reboot_is_done_if_the_machine_has_booted_since_and_only_then() {
    for (boot, expected) in [(0xb0, Outcome::Unknown), (0xb1, Outcome::Done)] {
        let mut bench = Bench::with(&[share("anna", &ALL)]);
        let command = sign(&bench.command("device.reboot"), &key("anna"));
        interrupted_after(&mut bench, &command, 2);
        bench.reading.boot = Bytes([boot; 16]);
        bench.restart();
        assert_eq!(outcomes(&bench)[0].0, expected);
    }
    // A reboot does not explain the end of any other operation.
    let mut bench = Bench::with(&[share("anna", &ALL)]);
    let command = sign(&bench.command("config.write"), &key("anna"));
    interrupted_after(&mut bench, &command, 2);
    bench.reading.boot = Bytes([0xb1; 16]);
    bench.restart();
    assert_eq!(outcomes(&bench)[0].0, Outcome::Unknown);
}

#[test]
fn receipts_that_may_not_have_been_sent_are_sent_again_after_a_start() {
    let mut bench = Bench::with(&[share("anna", &ALL)]);
    bench.ask("anna", "device.reboot");
    let sent = bench.published.clone();
    bench.pass(299);
    bench.restart();
    assert_eq!(bench.published, sent, "to the byte");
    bench.pass(2);
    bench.restart();
    assert!(
        bench.published.is_empty(),
        "no sender waits for it any more"
    );
}

#[test]
fn the_same_command_gets_the_same_receipt_after_a_restart_too() {
    let mut bench = Bench::with(&[share("anna", &ALL)]);
    let command = sign(&bench.command("device.reboot"), &key("anna"));
    bench.send_bytes(&command);
    let denied = sign(&bench.command("device.delete"), &key("anna"));
    bench.send_bytes(&denied);
    let before = bench.published.clone();
    assert_eq!(before.len(), 2);
    bench.pass(301);
    bench.restart();
    bench.send_bytes(&command);
    bench.send_bytes(&denied);
    assert_eq!(bench.published, before, "to the byte");
    assert!(bench.started.is_empty());
}

#[test]
fn a_command_received_twice_while_it_runs_is_run_once() {
    let mut bench = Bench::with(&[share("anna", &ALL)]);
    let command = sign(&bench.command("device.reboot"), &key("anna"));
    bench.deliver(&command);
    bench.input(Bench::arrived(&command, Origin::Local, false));
    assert_eq!((bench.started.len(), bench.acknowledged), (1, 4));
    let hash = bench.started[0].caller().command;
    bench.input(Input::Finished(hash, OperationResult::done(Map::default())));
    bench.input(Input::Finished(
        hash,
        OperationResult::failed(Code::Failed, "late"),
    ));
    assert_eq!(outcomes(&bench), [(Outcome::Done, String::new())]);
}

#[test]
fn replay_state_owner_and_shares_are_restored_after_a_restart() {
    let mut bench = Bench::with(&[share("anna", &ALL)]);
    let first = bench.command("device.reboot");
    bench.send(&first, "anna");
    let epoch = bench.state().epoch;
    bench.restart();
    assert_eq!(bench.state().epoch, epoch);
    let mut copy = bench.command("device.reboot");
    copy.body.counter = first.body.counter;
    copy.cti = Bytes([8; 16]);
    assert_eq!(bench.send(&copy, "anna"), "replay");
    assert_eq!(bench.ask("anna", "device.reboot"), "done");
    assert_eq!(bench.ask("ole", "status.read"), "done");
}

#[test]
fn a_lost_log_starts_a_new_epoch_that_invalidates_every_older_command() {
    let mut bench = Bench::with(&[share("anna", &ALL)]);
    let old = bench.command("device.reboot");
    let epoch = bench.state().epoch;
    bench.disk.log.clear();
    bench.restart();
    assert_ne!(bench.state().epoch, epoch);
    assert_eq!(bench.send(&old, "anna"), "epoch");
    assert_eq!(
        bench.ask("ole", "status.read"),
        "done",
        "the owner is still known"
    );
}

#[test]
fn a_lost_cache_makes_shares_stale_until_the_list_named_in_the_log_is_received_again() {
    let anna = share("anna", &ALL);
    let mut bench = Bench::with(std::slice::from_ref(&anna));
    let list = signed(&revocations(3, &[]));
    bench.deliver(&list);
    bench.disk.cache.clear();
    bench.restart();
    assert_eq!(
        bench.ask("anna", "status.read"),
        "silence",
        "the share is gone as well"
    );
    bench.deliver(&signed(&anna));
    assert_eq!(bench.ask("anna", "status.read"), "stale");
    bench.deliver(&signed(&revocations(2, &[])));
    assert_eq!(
        bench.ask("anna", "status.read"),
        "stale",
        "an older list is not enough"
    );
    bench.deliver(&list);
    assert_eq!(bench.ask("anna", "status.read"), "done");
}

#[test]
fn an_older_cache_does_not_restore_a_revoked_share() {
    let anna = share("anna", &ALL);
    let mut bench = Bench::with(std::slice::from_ref(&anna));
    bench.deliver(&signed(&revocations(1, &[])));
    let old = bench.disk.cache.clone();
    bench.deliver(&signed(&revocations(2, &[&anna])));
    bench.disk.cache = old;
    bench.restart();
    assert_eq!(bench.ask("anna", "status.read"), "stale");
    bench.deliver(&signed(&revocations(2, &[&anna])));
    assert_eq!(bench.ask("anna", "status.read"), "revoked");
}

#[test]
fn when_the_disk_fails_everything_is_denied_and_nothing_runs() {
    let mut bench = Bench::with(&[share("anna", &ALL)]);
    let command = sign(&bench.command("device.reboot"), &key("anna"));
    bench.handle(Bench::arrived(&command, Origin::Cloud, false));
    bench.handle(Input::StoreFailed);
    let size = bench.core.log_size();
    let effects = bench.handle(Input::Durable(size));
    assert!(
        effects.actions.is_empty(),
        "a command without a durable record is not started"
    );
    let read = sign(&bench.command("status.read"), &key("anna"));
    let effects = bench.handle(Bench::arrived(&read, Origin::Cloud, false));
    assert!(effects.batch.is_empty());
    let codes: Vec<_> = effects
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::Publish(ReplyTopic::Receipts(..), bytes) => receipt(bytes).body.code,
            _ => None,
        })
        .collect();
    assert_eq!(codes, [id("store")]);
}

#[test]
fn a_full_log_denies_every_command_of_holders() {
    let mut settings = settings();
    settings.log_limit = 12_000;
    let mut bench = Bench::with(&[share("anna", &ALL)]);
    bench = Bench::start(bench.disk, bench.reading, settings);
    let mut last = std::collections::BTreeMap::new();
    for _ in 0..100 {
        for wanted in ["device.delete", "device.reboot", "status.read"] {
            last.insert(wanted, bench.ask("anna", wanted));
        }
    }
    assert_eq!(last["device.reboot"], "log_full");
    assert_eq!(last["status.read"], "log_full");
    assert_eq!(
        last["device.delete"], "owner_only",
        "answered, but no longer recorded"
    );
    let bytes: usize = bench.disk.log.iter().map(|r| r.encode().len()).sum();
    assert!(bytes < 12_000, "{bytes} bytes");
}

#[test]
fn log_segments_begin_with_a_complete_snapshot() {
    let mut bench = Bench::with(&[share("anna", &ALL)]);
    bench.deliver(&signed(&revocations(4, &[])));
    let has_snapshot = |bench: &Bench| {
        let mut records = bench.disk.log.iter().rev().take(4);
        records.any(|record| matches!(record.event, Event::Snapshot(_)))
    };
    for _ in 0..10_000 {
        bench.ask("anna", "status.read");
        bench.published.clear();
        if has_snapshot(&bench) {
            break;
        }
    }
    assert!(has_snapshot(&bench));
    let standing = bench.state();
    let command = bench.command("status.read");
    // All records before the snapshot are deleted.
    let from = bench
        .disk
        .log
        .iter()
        .position(|r| matches!(r.event, Event::Snapshot(_)))
        .unwrap();
    bench.disk.log.drain(..from);
    bench.restart();
    assert_eq!(bench.state(), standing);
    let mut copy = command.clone();
    copy.body.counter -= 1;
    copy.cti = Bytes([8; 16]);
    assert_eq!(bench.send(&copy, "anna"), "replay");
    assert_eq!(bench.send(&command, "anna"), "done");
}

#[test]
fn damage_in_the_log_starts_a_new_epoch_and_every_readable_record_stays_in_force() {
    let mut once = share("carl", &["device.reboot"]);
    once.body.limits = Some(Limits {
        uses: Some(1),
        ..Limits::default()
    });
    let anna = share("anna", &ALL);
    let mut bench = Bench::with(&[anna.clone(), share("bob", &ALL), once]);
    let old = bench.command("device.reboot");
    let kept = bench.disk.log.len();
    let which = Value::Bytes(anna.cti.0.to_vec());
    assert_eq!(
        bench.ask_with("ole", "share.revoke", "share", which),
        "done"
    );
    assert_eq!(bench.ask("carl", "device.reboot"), "done");
    bench.deliver(&signed(&revocations(7, &[])));
    // The next record is damaged; the later ones are readable, but outside of the chain.
    bench.disk.salvaged = bench.disk.log.split_off(kept).split_off(1);
    bench.disk.damage = Some(doorward_transport::event_log::Damage::RecoveryNotRecorded);
    let epoch = bench.state().epoch;
    bench.restart();
    bench.disk.damage = None;
    bench.disk.salvaged.clear();
    for _ in 0..2 {
        assert_ne!(bench.state().epoch, epoch);
        assert_eq!(bench.send(&old, "bob"), "epoch");
        assert_eq!(bench.ask("anna", "status.read"), "revoked");
        assert_eq!(bench.ask("carl", "device.reboot"), "count");
        assert_eq!(bench.ask("bob", "status.read"), "done");
        assert_eq!(bench.state().revocations.get(&device()), Some(&7));
        bench.restart();
    }
}

#[test]
fn a_command_whose_share_is_cancelled_before_it_starts_is_not_run() {
    // A share with a use limit: also an in-memory read is recorded before it starts.
    let mut anna = share("anna", &ALL);
    anna.body.limits = Some(Limits {
        uses: Some(9),
        ..Limits::default()
    });
    // The list arrives while the intent is being written, or while the start record is.
    for (wanted, rounds) in [
        ("status.read", 0),
        ("device.reboot", 0),
        ("device.reboot", 1),
    ] {
        let mut bench = Bench::with(std::slice::from_ref(&anna));
        let command = sign(&bench.command(wanted), &key("anna"));
        let mut batches = vec![bench.handle(Bench::arrived(&command, Origin::Cloud, false))];
        for _ in 0..rounds {
            let size = bench.core.log_size();
            batches.push(bench.handle(Input::Durable(size)));
        }
        let list = signed(&revocations(1, &[&anna]));
        batches.push(bench.handle(Bench::arrived(&list, Origin::Cloud, false)));
        for effects in batches {
            bench.settle(effects);
        }
        assert!(bench.started.is_empty(), "{wanted} after {rounds}");
        assert_eq!(outcomes(&bench).last().unwrap().1, "revoked");
        assert_eq!(bench.last_receipt().body.outcome, Outcome::Denied);
        let ends = |record: &&Record| matches!(record.event, Event::Outcome(_));
        assert_eq!(bench.disk.log.iter().filter(ends).count(), 1);
        assert_eq!(
            bench.send_bytes(&command),
            "revoked",
            "the same answer again"
        );
    }
}
