//! The rules of `docs/requirements.md` on the device, by number.

use doorward_protocol::event_log::record::Event;
use doorward_protocol::gate::{Code, Origin};
use doorward_protocol::wire::*;
use doorward_testkit::*;

const ALL: [&str; 3] = ["status.read", "config.write", "device.reboot"];

#[test]
fn s01_a_share_cannot_contain_operations_reserved_for_the_owner() {
    let mut bench = Bench::with(&[share("anna", &["status.read"])]);
    let before = bench.disk.registration.clone();
    bench.deliver(&signed(&share("anna", &["status.read", "share.create"])));
    assert_eq!(bench.counted(Code::Malformed), 1);
    assert_eq!(bench.ask("anna", "share.create"), "owner_only");
    assert_eq!(bench.disk.registration, before);
}

#[test]
fn s02_a_sixth_user_is_refused() {
    let people = ["a", "b", "c", "d", "e", "f"];
    let mut shares: Vec<Share> = people
        .iter()
        .zip(0..)
        .map(|(name, age)| {
            let mut share = share(name, &["status.read"]);
            share.iat = share.iat.plus(age);
            share
        })
        .collect();
    // The order of arrival makes no difference.
    shares.reverse();
    let mut bench = Bench::with(&shares);
    assert_eq!(bench.ask("f", "status.read"), "slots_full");
    for name in &people[..5] {
        assert_eq!(bench.ask(name, "status.read"), "done", "{name}");
    }
    bench.deliver(&signed(&share("a", &["device.reboot"])));
    assert_eq!(bench.ask("a", "device.reboot"), "done", "no new slot for a");
    assert_eq!(bench.ask("e", "status.read"), "done", "and e keeps a slot");
    let first = shares.last().unwrap();
    let second = share("a", &["device.reboot"]);
    bench.deliver(&signed(&revocations(1, &[first, &second])));
    assert_eq!(
        bench.ask("f", "status.read"),
        "done",
        "a slot is free again"
    );
}

#[test]
fn s03_a_shared_user_can_monitor_and_a_stranger_gets_no_answer() {
    let mut bench = Bench::with(&[share("anna", &["status.read"])]);
    assert_eq!(bench.ask("anna", "status.read"), "done");
    assert_eq!(bench.ask("eve", "status.read"), "silence");
    assert_eq!(bench.counted(Code::NoGrant), 1);
}

#[test]
fn s12_only_the_owner_may_delete_the_device() {
    let mut bench = Bench::with(&[share("anna", &ALL)]);
    assert_eq!(bench.ask("anna", "device.delete"), "owner_only");
    let denied =
        |event: &Event| matches!(event, Event::Denied(asked, _) if asked.person == id("anna"));
    assert!(bench.disk.log.iter().any(|record| denied(&record.event)));
}

#[test]
fn s13_every_command_of_a_known_sender_is_logged_with_its_outcome() {
    let mut bench = Bench::with(&[share("anna", &["status.read"])]);
    for wanted in [
        "status.read",
        "device.reboot",
        "status.read",
        "config.write",
    ] {
        bench.ask("anna", wanted);
    }
    let count =
        |matches: fn(&Event) -> bool| bench.disk.log.iter().filter(|r| matches(&r.event)).count();
    assert_eq!(count(|e| matches!(e, Event::Intent(_))), 2);
    assert_eq!(count(|e| matches!(e, Event::Outcome(_))), 2);
    assert_eq!(count(|e| matches!(e, Event::Denied(..))), 2);
}

fn with_plan(seq: u64, name: &str, end: Option<u64>) -> Registration {
    let mut registration = registration();
    registration.iat = Timestamp(NOON - 40 * DAY + seq);
    registration.body.seq = seq;
    registration.body.plan = Plan {
        name: id(name),
        end: end.map(Timestamp),
    };
    registration
}

#[test]
fn s19_no_new_share_is_valid_on_a_plan_without_sharing() {
    let mut bench = Bench::with(&[]);
    bench.deliver(&signed(&with_plan(2, "basic", None)));
    bench.deliver(&signed(&share("anna", &["status.read"])));
    assert_eq!(bench.ask("anna", "status.read"), "plan");
    // Issued in the same second as the registration, or before it under the plan of that time.
    let basic = with_plan(2, "basic", None);
    for (issued, expected) in [(basic.iat.0, "plan"), (basic.iat.0 - 1, "done")] {
        let mut anna = share("anna", &["status.read"]);
        (anna.iat, anna.nbf) = (Timestamp(issued), Timestamp(issued));
        anna.body.lease = None;
        let mut bench = Bench::with(&[]);
        bench.deliver(&signed(&basic));
        bench.deliver(&signed(&anna));
        bench.deliver(&signed(&revocations(1, &[])));
        assert_eq!(bench.ask("anna", "status.read"), expected);
    }
    // Issued after the plan ended; its valid signature makes no difference.
    let mut bench = Bench::with(&[]);
    bench.deliver(&signed(&with_plan(2, "advanced", Some(NOON - 7200))));
    bench.deliver(&signed(&share("anna", &["status.read"])));
    assert_eq!(bench.ask("anna", "status.read"), "plan");
}

#[test]
fn s20_when_the_plan_ends_the_share_stays_and_operations_outside_basic_are_suspended() {
    let mut bench = Bench::with(&[share("anna", &ALL)]);
    bench.deliver(&signed(&with_plan(2, "advanced", Some(NOON + 60))));
    bench.pass(59);
    assert_eq!(bench.ask("anna", "device.reboot"), "done");
    bench.pass(1);
    assert_eq!(bench.ask("anna", "device.reboot"), "plan");
    assert_eq!(bench.ask("anna", "status.read"), "done");
    bench.deliver(&signed(&with_plan(3, "advanced", None)));
    assert_eq!(bench.ask("anna", "device.reboot"), "done", "the same share");
    assert_eq!(
        bench.ask("ole", "device.reboot"),
        "done",
        "plans limit sharing, not the owner"
    );
}

#[test]
fn s22_an_operation_that_the_model_lacks_is_unsupported_not_denied() {
    let mut bench = Bench::with(&[share("anna", &["power.outlet.cycle:8"])]);
    assert_eq!(bench.ask("anna", "power.outlet.cycle:8"), "unsupported");
    assert_eq!(bench.ask("anna", "power.outlet.cycle:9"), "not_granted");
}

#[test]
fn s43_a_share_of_another_platform_is_refused() {
    let mut bench = Bench::with(&[]);
    let mut foreign = share("anna", &["status.read"]);
    foreign.iss = id("umbrella");
    bench.deliver(&signed(&foreign));
    bench.deliver(&sign(
        &share("anna", &["status.read"]),
        &key("another root"),
    ));
    assert_eq!(bench.counted(Code::UnknownIssuer), 2);
    assert_eq!(bench.ask("anna", "status.read"), "silence");
}

#[test]
fn s44_a_recipient_cannot_share_with_others() {
    let mut bench = Bench::with(&[share("anna", &ALL)]);
    bench.deliver(&sign(&share("bob", &["status.read"]), &key("anna")));
    assert_eq!(bench.counted(Code::UnknownIssuer), 1);
    assert_eq!(bench.ask("bob", "status.read"), "silence");
}

#[test]
fn s45_a_demonstration_device_cannot_be_shared() {
    let mut demo = with_plan(2, "advanced", None);
    demo.body.demo = true;
    let mut bench = Bench::with(&[share("anna", &["status.read"])]);
    bench.deliver(&signed(&demo));
    assert_eq!(bench.ask("anna", "status.read"), "demo");
}

#[test]
fn s48_an_operation_that_is_not_in_the_share_is_not_granted() {
    let mut bench = Bench::with(&[share("anna", &["status.read"])]);
    assert_eq!(bench.ask("anna", "device.reboot"), "not_granted");
}

#[test]
fn s49_a_share_with_the_same_id_and_other_content_is_refused() {
    let first = share("anna", &["status.read"]);
    let mut other = share("anna", &ALL);
    other.cti = first.cti;
    other.body.version = 2;
    let mut bench = Bench::with(&[first]);
    bench.deliver(&signed(&other));
    assert_eq!(bench.counted(Code::BadGrant), 1);
    assert_eq!(bench.ask("anna", "device.reboot"), "not_granted");
}

#[test]
fn s49_a_share_with_one_changed_byte_is_malformed_or_has_a_bad_signature() {
    let good = signed(&share("anna", &["status.read"]));
    for at in 0..good.len() {
        let mut bench = Bench::with(&[]);
        let mut bad = good.clone();
        bad[at] ^= 1;
        bench.deliver(&bad);
        assert_eq!(bench.ask("anna", "status.read"), "silence", "byte {at}");
    }
}

#[test]
fn s50_one_second_after_its_end_a_share_has_expired_after_a_restart_too() {
    let mut bench = Bench::with(&[share("anna", &["status.read"])]);
    bench.deliver(&signed(&revocations(1, &[])));
    bench.pass(30 * DAY - 1);
    assert_eq!(bench.ask("anna", "status.read"), "done");
    bench.pass(1);
    assert_eq!(bench.ask("anna", "status.read"), "expired");
    bench.restart();
    // An expired share is not even loaded from the cache at a start.
    assert_eq!(bench.ask("anna", "status.read"), "silence");
}

#[test]
fn s60_an_extension_moves_the_end_and_only_forward() {
    let first = share("anna", &["status.read"]);
    let mut longer = first.clone();
    longer.body.version = 2;
    longer.iat = Timestamp(NOON - 60);
    longer.exp = first.exp.plus(7 * DAY);
    let mut shorter = longer.clone();
    shorter.body.version = 3;
    shorter.exp = first.exp;
    let mut bench = Bench::with(std::slice::from_ref(&first));
    bench.deliver(&signed(&longer));
    bench.deliver(&signed(&first));
    bench.deliver(&signed(&shorter));
    assert_eq!(bench.counted(Code::BadGrant), 1, "the shorter one");
    let mut list = revocations(1, &[]);
    bench.pass(33 * DAY);
    list.iat = bench.reading.system;
    bench.deliver(&signed(&list));
    assert_eq!(bench.ask("anna", "status.read"), "done");
}

#[test]
fn s62_cancelling_some_shares_leaves_the_others() {
    let view = share("anna", &["status.read"]);
    let bob = share("bob", &["status.read"]);
    let mut bench = Bench::with(&[view.clone(), bob]);
    bench.deliver(&signed(&revocations(1, &[&view])));
    assert_eq!(bench.ask("anna", "status.read"), "revoked");
    assert_eq!(bench.ask("bob", "status.read"), "done");
}

#[test]
fn s65_two_shares_of_one_person_add_up_and_end_separately() {
    let view = share("anna", &["status.read"]);
    let reboot = share("anna", &["device.reboot"]);
    let mut bench = Bench::with(&[view.clone(), reboot]);
    assert_eq!(bench.ask("anna", "status.read"), "done");
    assert_eq!(bench.ask("anna", "device.reboot"), "done");
    bench.deliver(&signed(&revocations(1, &[&view])));
    assert_eq!(bench.ask("anna", "device.reboot"), "done");
    // The reason is that of the share that passed the most checks.
    assert_eq!(bench.ask("anna", "status.read"), "not_granted");
}

#[test]
fn n02_without_a_recent_list_a_share_goes_stale_by_class_and_a_new_list_restores_it() {
    let mut bench = Bench::with(&[share("anna", &ALL)]);
    bench.pass(7 * DAY - 3600);
    assert_eq!(
        bench.ask("anna", "device.reboot"),
        "done",
        "the last moment"
    );
    bench.pass(1);
    assert_eq!(bench.ask("anna", "device.reboot"), "stale");
    assert_eq!(
        bench.ask("anna", "status.read"),
        "done",
        "reads have 30 days"
    );
    let mut list = revocations(1, &[]);
    list.iat = bench.reading.system;
    bench.deliver(&signed(&list));
    assert_eq!(bench.ask("anna", "device.reboot"), "done");
}

#[test]
fn n02_a_share_can_shorten_its_own_lease() {
    let mut short = share("anna", &ALL);
    short.body.lease = Some(7200);
    let mut bench = Bench::with(&[short]);
    assert_eq!(bench.ask("anna", "status.read"), "done");
    bench.pass(3601);
    assert_eq!(bench.ask("anna", "status.read"), "stale");
}

#[test]
fn n03_any_persons_command_can_deliver_the_list_that_ends_another_persons_share() {
    let anna = share("anna", &["status.read"]);
    let mut bench = Bench::with(&[anna.clone(), share("bob", &["status.read"])]);
    let command = bench.command("status.read");
    let bundle = [
        signed(&revocations(1, &[&anna])),
        sign(&command, &key("bob")),
    ]
    .concat();
    assert_eq!(bench.send_bytes(&bundle), "done");
    assert_eq!(bench.ask("anna", "status.read"), "revoked");
}

#[test]
fn n03_a_share_can_be_sent_with_its_first_command() {
    let mut bench = Bench::with(&[]);
    let command = bench.command("status.read");
    let bundle = [
        signed(&share("anna", &["status.read"])),
        sign(&command, &key("anna")),
    ];
    assert_eq!(bench.send_bytes(&bundle.concat()), "done");
}

#[test]
fn n06_a_clock_set_back_restores_no_share_within_the_same_boot() {
    let mut bench = Bench::with(&[share("anna", &["status.read"])]);
    bench.pass(30 * DAY);
    assert_eq!(bench.ask("anna", "status.read"), "expired");
    let now = bench.reading.system;
    let command = bench.command("status.read");
    bench.reading.system = Timestamp(now.0 - 365 * DAY);
    assert_eq!(bench.send(&command, "anna"), "expired");
}

#[test]
fn n06_a_clock_set_back_over_a_restart_stops_at_the_last_signed_time() {
    let anna = share("anna", &["status.read"]);
    let mut bench = Bench::with(std::slice::from_ref(&anna));
    let mut list = revocations(1, &[]);
    list.iat = Timestamp(anna.exp.0 + 5);
    bench.pass(30 * DAY + 5);
    bench.deliver(&signed(&list));
    bench.reading.system = Timestamp(NOON - 10 * DAY);
    bench.reading.boot = Bytes([0xb1; 16]);
    bench.restart();
    bench.deliver(&signed(&anna));
    let facts = bench.core.status(&bench.reading);
    assert_eq!(facts.now.estimate, list.iat);
    assert_eq!(facts.now.quality, 1, "such a clock is not trusted");
    assert_eq!(facts.shares, 0, "an expired share is not stored");
}

#[test]
fn n06_without_a_clock_a_reboot_needs_a_limit_in_uptime() {
    let mut bench = Bench::provisioned();
    bench.reading.system = Timestamp(0);
    bench.restart();
    bench.deliver(&signed(&registration()));
    bench.deliver(&signed(&share("anna", &ALL)));
    let mut command = bench.command("device.reboot");
    (command.iat, command.exp) = (Timestamp(NOON), Timestamp(NOON + 60));
    assert_eq!(bench.send(&command, "anna"), "no_time");
    let limited = |uptime, boot| Some(BootTime { uptime, boot });
    command.body.counter = 50;
    command.body.until = limited(bench.reading.uptime, bench.reading.boot);
    assert_eq!(bench.send(&command, "anna"), "done");
    command.body.counter = 51;
    command.body.until = limited(bench.reading.uptime - 1, bench.reading.boot);
    assert_eq!(bench.send(&command, "anna"), "late");
    command.body.counter = 52;
    command.body.until = limited(bench.reading.uptime, Bytes([0; 16]));
    assert_eq!(bench.send(&command, "anna"), "late", "another boot");
    let mut read = bench.command("status.read");
    (read.iat, read.exp) = (Timestamp(NOON), Timestamp(NOON + 60));
    assert_eq!(
        bench.send(&read, "anna"),
        "done",
        "a read is not disruptive"
    );
}

#[test]
fn n07_a_command_is_valid_once_on_one_device_and_within_its_lifetime() {
    let mut bench = Bench::with(&[share("anna", &ALL)]);
    let first = bench.command("device.reboot");
    assert_eq!(bench.send(&first, "anna"), "done");
    assert_eq!(
        bench.send(&first, "anna"),
        "done",
        "the receipt of the first copy"
    );
    assert_eq!(bench.started.len(), 1);
    let mut same_counter = bench.command("device.reboot");
    same_counter.body.counter = first.body.counter;
    same_counter.cti = Bytes([8; 16]);
    assert_eq!(bench.send(&same_counter, "anna"), "replay");
    let mut late = bench.command("device.reboot");
    bench.pass(119);
    late.body.counter = 20;
    assert_eq!(bench.send(&late, "anna"), "done", "the last second");
    late.body.counter = 21;
    bench.pass(1);
    assert_eq!(bench.send(&late, "anna"), "late");
    let mut early = bench.command("device.reboot");
    early.iat = bench.reading.system.plus(121);
    early.exp = early.iat.plus(60);
    assert_eq!(bench.send(&early, "anna"), "early");
    let mut long = bench.command("device.reboot");
    long.exp = long.iat.plus(301);
    assert_eq!(bench.send(&long, "anna"), "ttl_too_long");
    let mut old = bench.command("device.reboot");
    old.body.epoch = Bytes([0; 16]);
    assert_eq!(bench.send(&old, "anna"), "epoch");
    let mut other = bench.command("device.reboot");
    other.aud = Audience::Device(id("ups-8"));
    assert_eq!(bench.send(&other, "anna"), "silence");
    assert_eq!(bench.counted(Code::WrongDevice), 1);
    assert_eq!(bench.started.len(), 2);
}

#[test]
fn a_share_is_refused_before_its_start() {
    let mut later = share("anna", &["status.read"]);
    later.nbf = Timestamp(NOON + 10);
    let mut bench = Bench::with(&[later]);
    assert_eq!(bench.ask("anna", "status.read"), "not_yet");
    bench.pass(10);
    assert_eq!(bench.ask("anna", "status.read"), "done");
}

#[test]
fn a_site_share_is_valid_only_on_devices_of_the_site() {
    let site = |name: &str| {
        let mut share = share("anna", &["status.read"]);
        share.aud = Audience::Site(id(name));
        share
    };
    let mut bench = Bench::with(&[site("north")]);
    assert_eq!(bench.ask("anna", "status.read"), "done");
    let mut bench = Bench::with(&[site("south")]);
    assert_eq!(bench.counted(Code::WrongDevice), 1);
    assert_eq!(bench.ask("anna", "status.read"), "silence");
    let mut bench = Bench::with(&[site("north")]);
    let mut moved = with_plan(2, "advanced", None);
    moved.body.site = Some(id("south"));
    bench.deliver(&signed(&moved));
    assert_eq!(
        bench.ask("anna", "status.read"),
        "silence",
        "the device has moved"
    );
}

#[test]
fn every_table_of_a_revocation_list_ends_shares() {
    let anna = share("anna", &["status.read"]);
    let after = anna.iat.plus(1);
    type Change = fn(&mut RevocationsBody, &Share, Timestamp);
    let tables: [(&str, Change); 4] = [
        ("shares", |b, s, _| b.shares = Map::new([(s.cti, s.exp)])),
        ("holders", |b, s, t| b.holders = Map::new([(s.cnf.0, t)])),
        ("subjects", |b, s, t| {
            b.subjects = Map::new([(s.sub.clone(), t)])
        }),
        ("before", |b, _, t| b.before = t),
    ];
    for (table, change) in tables {
        let mut bench = Bench::with(std::slice::from_ref(&anna));
        let mut list = revocations(1, &[]);
        change(&mut list.body, &anna, after);
        bench.deliver(&signed(&list));
        assert_eq!(bench.ask("anna", "status.read"), "revoked", "{table}");
        if table != "shares" {
            let mut bench = Bench::with(std::slice::from_ref(&anna));
            change(&mut list.body, &anna, anna.iat);
            bench.deliver(&signed(&list));
            assert_eq!(
                bench.ask("anna", "status.read"),
                "done",
                "{table}: issued then, not before"
            );
        }
    }
}

#[test]
fn an_older_revocation_list_undoes_nothing() {
    let anna = share("anna", &["status.read"]);
    let mut bench = Bench::with(std::slice::from_ref(&anna));
    bench.deliver(&signed(&revocations(2, &[&anna])));
    bench.deliver(&signed(&revocations(1, &[])));
    bench.deliver(&signed(&revocations(2, &[])));
    assert_eq!(bench.ask("anna", "status.read"), "revoked");
    bench.restart();
    bench.deliver(&signed(&revocations(1, &[])));
    assert_eq!(bench.ask("anna", "status.read"), "revoked");
}

#[test]
fn a_statement_needs_a_key_of_its_own_role() {
    let mut bench = Bench::with(&[share("anna", &["status.read"])]);
    bench.deliver(&sign(&revocations(1, &[]), &key("shares")));
    bench.deliver(&sign(&with_plan(2, "basic", None), &key("shares")));
    bench.deliver(&sign(&share("bob", &["status.read"]), &key("registry")));
    assert_eq!(bench.counted(Code::UnknownIssuer), 3);
    let standing = bench.state();
    assert_eq!((standing.registration, standing.revocations.len()), (1, 0));
}

#[test]
fn an_unregistered_device_accepts_no_commands() {
    let mut bench = Bench::provisioned();
    bench.deliver(&signed(&share("anna", &["status.read"])));
    assert_eq!(bench.ask("anna", "status.read"), "silence");
    assert_eq!(bench.counted(Code::NotProvisioned), 1);
}

#[test]
fn arguments_that_no_operation_takes_are_refused() {
    let mut bench = Bench::with(&[share("anna", &ALL)]);
    let mut command = bench.command("device.reboot");
    command.body.args = Map::new([(Text::new("force").unwrap(), Value::Bool(true))]);
    assert_eq!(bench.send(&command, "anna"), "param");
}

#[test]
fn only_one_disruptive_operation_runs_at_a_time() {
    let mut bench = Bench::with(&[share("anna", &ALL)]);
    let first = bench.command("device.reboot");
    bench.deliver(&sign(&first, &key("anna")));
    assert_eq!(bench.started.len(), 1, "and the next one runs");
    assert_eq!(bench.ask("anna", "device.reboot"), "busy");
    assert_eq!(bench.ask("ole", "device.reboot"), "busy");
    assert_eq!(bench.ask("anna", "status.read"), "done");
}

#[test]
fn the_same_rules_apply_on_the_local_link() {
    let mut bench = Bench::with(&[share("anna", &["status.read"])]);
    let command = bench.command("status.read");
    let bytes = sign(&command, &key("anna"));
    bench.input(Bench::arrived(&bytes, Origin::Local, false));
    assert_eq!(bench.started.len(), 1);
    assert_eq!(bench.started[0].caller().origin, Origin::Local);
}
