//! Notifications to subscribers.

use doorward::core::{Input, ReplyTopic};
use doorward_protocol::wire::*;
use doorward_testkit::*;

const NOTIFY: &str = "notify.manage";

fn on_battery() -> Input {
    let name = Text::new("ups.status").unwrap();
    Input::Notification(Map::new([(name, Value::from("OB DISCHRG"))]))
}

/// Keys of the holders that receive a notification.
fn notified(bench: &mut Bench) -> Vec<KeyBytes> {
    bench.published.clear();
    bench.input(on_battery());
    let mut keys = Vec::new();
    for (topic, bytes) in &bench.published {
        let ReplyTopic::Notifications(holder) = topic else {
            panic!("{topic:?}");
        };
        let envelope = Envelope::parse(bytes).unwrap();
        let device = PublicKey::new(&key("device").public()).unwrap();
        envelope.verify(&device).unwrap();
        let notice: Notice = envelope.claims().unwrap();
        assert_eq!(
            notice.body.values.iter().next().unwrap().1,
            &Value::from("OB DISCHRG")
        );
        keys.push(*holder);
    }
    keys
}

fn subscribe(bench: &mut Bench, person: &str, on: bool) -> String {
    bench.ask_with(person, NOTIFY, "on", Value::Bool(on))
}

#[test]
fn s10_a_subscriber_is_notified_until_the_share_is_cancelled_over_restarts_too() {
    let granted = share("anna", &[NOTIFY]);
    let mut bench = Bench::with(&[granted.clone(), share("bob", &[STATUS])]);
    assert_eq!(notified(&mut bench), []);
    assert!(!bench.watched);
    assert_eq!(subscribe(&mut bench, "bob", true), "not_granted");
    assert_eq!(subscribe(&mut bench, "anna", true), "done");
    assert!(bench.watched);
    assert_eq!(subscribe(&mut bench, "ole", true), "done");
    bench.restart();
    assert!(bench.watched);
    let mut both = [key("anna").public(), key("ole").public()];
    both.sort_unstable();
    assert_eq!(notified(&mut bench), both);
    bench.deliver(&signed(&revocations(1, &[&granted])));
    assert_eq!(
        notified(&mut bench),
        [key("ole").public()],
        "and nothing more is sent"
    );
    assert_eq!(subscribe(&mut bench, "ole", false), "done");
    assert_eq!(notified(&mut bench), []);
}

#[test]
fn s21_on_a_plan_without_notifications_only_the_owner_is_notified() {
    let mut bench = Bench::provisioned();
    let mut registration = registration();
    registration.body.plan.end = Some(Timestamp(NOON + 60));
    bench.deliver(&signed(&registration));
    bench.deliver(&signed(&share("anna", &[NOTIFY])));
    for person in ["anna", "ole"] {
        assert_eq!(subscribe(&mut bench, person, true), "done");
    }
    assert_eq!(notified(&mut bench).len(), 2);
    bench.pass(60);
    assert_eq!(notified(&mut bench), [key("ole").public()]);
}

#[test]
fn n25_at_most_64_subscribers_are_notified_and_those_with_ended_shares_are_evicted() {
    let people: Vec<String> = (0..64).map(|n| format!("member-{n}")).collect();
    let names: Vec<&str> = people.iter().map(String::as_str).collect();
    let mut bench = Bench::with(&[group_share(&[NOTIFY]), share("anna", &[NOTIFY])]);
    bench.deliver(&roster(1, &names));
    for person in &names {
        assert_eq!(subscribe(&mut bench, person, true), "done");
    }
    assert_eq!(subscribe(&mut bench, "anna", true), "failed");
    assert_eq!(
        subscribe(&mut bench, names[5], true),
        "done",
        "already subscribed"
    );
    bench.deliver(&roster(2, &names[1..]));
    assert_eq!(subscribe(&mut bench, "anna", true), "done");
    assert_eq!(notified(&mut bench).len(), 64);
}

#[test]
fn subscriptions_are_part_of_the_snapshot_in_a_new_log_segment() {
    let mut bench = Bench::with(&[share("anna", &[NOTIFY, STATUS])]);
    let settings = || doorward::core::CoreConfig {
        segment: 1,
        ..settings()
    };
    bench.restart_with(settings());
    assert_eq!(subscribe(&mut bench, "anna", true), "done");
    let snapshot = |record: &doorward_protocol::event_log::record::Record| matches!(&record.event, doorward_protocol::event_log::record::Event::Snapshot(it) if it.subscribers.is_some());
    for _ in 0..100 {
        bench.ask("anna", STATUS);
    }
    let from = bench.disk.log.iter().position(snapshot).unwrap();
    bench.disk.log.drain(..from);
    bench.restart_with(settings());
    assert_eq!(notified(&mut bench), [key("anna").public()]);
}
