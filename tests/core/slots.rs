//! The assignment of slots is computed once and cached; every change that affects it takes effect at
//! the next command.

use doorward_protocol::wire::*;
use doorward_testkit::*;

const READ: &str = "status.read";

/// A share that lives for `seconds`; the lower its number, the older it is.
fn of(person: &str, age: u64, seconds: u64) -> Share {
    let mut share = share(person, &[READ]);
    share.iat = Timestamp(NOON - 1000 + age);
    share.exp = Timestamp(NOON + seconds);
    share
}

fn two_slots(seq: u64) -> Registration {
    let mut registration = registration();
    (registration.body.seq, registration.body.slots) = (seq, 2);
    registration
}

/// A device with two slots and shares for a, b and c, in this order; a first command has filled the
/// cache.
fn bench(a: u64, b: u64, c: u64) -> (Bench, [Share; 3]) {
    let shares = [of("a", 1, a), of("b", 2, b), of("c", 3, c)];
    let mut bench = Bench::with(&[]);
    bench.deliver(&signed(&two_slots(2)));
    for share in &shares {
        bench.deliver(&signed(share));
    }
    assert_eq!(words(&mut bench), ["done", "done", "slots_full"]);
    assert_eq!(words(&mut bench), ["done", "done", "slots_full"]);
    (bench, shares)
}

fn words(bench: &mut Bench) -> [String; 3] {
    ["a", "b", "c"].map(|person| bench.ask(person, READ))
}

#[test]
fn a_share_that_expires_frees_its_slot() {
    let (mut bench, _) = bench(DAY, 3600, DAY);
    bench.pass(3599);
    assert_eq!(words(&mut bench), ["done", "done", "slots_full"]);
    bench.pass(1);
    assert_eq!(words(&mut bench), ["done", "expired", "done"]);
}

#[test]
fn a_share_that_is_cancelled_frees_its_slot() {
    let (mut bench, [a, ..]) = bench(DAY, DAY, DAY);
    bench.deliver(&signed(&revocations(1, &[&a])));
    assert_eq!(words(&mut bench), ["revoked", "done", "done"]);
}

#[test]
fn a_share_that_is_ended_on_the_device_frees_its_slot() {
    let (mut bench, [_, b, _]) = bench(DAY, DAY, DAY);
    let which = Value::Bytes(b.cti.0.to_vec());
    assert_eq!(
        bench.ask_with("ole", "share.revoke", "share", which),
        "done"
    );
    assert_eq!(words(&mut bench), ["done", "revoked", "done"]);
}

#[test]
fn a_person_with_an_older_share_takes_precedence() {
    let (mut bench, _) = bench(DAY, DAY, DAY);
    bench.deliver(&signed(&of("elder", 0, DAY)));
    assert_eq!(words(&mut bench), ["done", "slots_full", "slots_full"]);
    assert_eq!(bench.ask("elder", READ), "done");
}

#[test]
fn a_changed_number_of_slots_applies_at_once() {
    let (mut bench, _) = bench(DAY, DAY, DAY);
    let mut more = two_slots(3);
    more.body.slots = 3;
    bench.deliver(&signed(&more));
    assert_eq!(words(&mut bench), ["done", "done", "done"]);
    let mut fewer = two_slots(4);
    fewer.body.slots = 1;
    bench.deliver(&signed(&fewer));
    assert_eq!(words(&mut bench), ["done", "slots_full", "slots_full"]);
}

#[test]
fn a_second_share_of_the_same_person_takes_no_second_slot_and_keeps_the_first() {
    let (mut bench, _) = bench(3600, DAY, DAY);
    let mut second = share("a", &[READ, "device.reboot"]);
    second.iat = Timestamp(NOON - 10);
    bench.deliver(&signed(&second));
    assert_eq!(words(&mut bench), ["done", "done", "slots_full"]);
    bench.pass(3600);
    // The share that held her slot has ended; her other share is newer than those of b and c.
    assert_eq!(words(&mut bench), ["slots_full", "done", "done"]);
}

#[test]
fn forged_and_outdated_statements_change_nothing() {
    let (mut bench, [a, ..]) = bench(DAY, DAY, DAY);
    bench.deliver(&sign(&of("elder", 0, DAY), &key("mallory")));
    bench.deliver(&sign(&revocations(1, &[&a]), &key("mallory")));
    assert_eq!(words(&mut bench), ["done", "done", "slots_full"]);
}
