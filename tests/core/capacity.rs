//! Tables at their capacity: the next entry is refused with its code, and space becomes free again.

use doorward_protocol::event_log::record::{Event, Recent, Record, Snapshot};
use doorward_protocol::gate::{Code, MAX_PENDING, MAX_ROSTERS, MAX_SHARES, Origin};
use doorward_protocol::wire::*;
use doorward_testkit::*;

fn numbered(number: usize, end: u64) -> Share {
    let mut share = share("anna", &[STATUS]);
    share.cti = Bytes(hash(&number.to_be_bytes()).0[..16].try_into().unwrap());
    share.exp = Timestamp(end);
    share
}

#[test]
fn a_share_above_the_cap_is_refused_until_another_has_expired() {
    let mut bench = Bench::with(&[]);
    for number in 1..MAX_SHARES {
        bench.deliver(&signed(&numbered(number, NOON + DAY)));
    }
    bench.deliver(&signed(&numbered(0, NOON + 60)));
    let stored = |bench: &mut Bench| bench.core.status(&bench.reading).shares;
    assert_eq!(stored(&mut bench), MAX_SHARES);
    let one_more = signed(&share("bob", &[STATUS]));
    bench.deliver(&one_more);
    assert_eq!(bench.counted(Code::SlotsFull), 1);
    assert_eq!(bench.ask("bob", STATUS), "silence");
    assert_eq!(
        bench.ask("anna", STATUS),
        "done",
        "the others are still valid"
    );
    // A change of a stored share needs no space.
    let mut longer = numbered(1, NOON + 2 * DAY);
    longer.body.version = 2;
    bench.deliver(&signed(&longer));
    assert_eq!(bench.core.statements().share(&longer.cti), Some(&longer));
    bench.pass(60);
    bench.deliver(&one_more);
    assert_eq!(bench.ask("bob", STATUS), "done");
    assert_eq!(bench.disk.cache.len(), MAX_SHARES, "on disk too");
}

/// A share for a group of its own, and the roster of that group.
fn group(number: usize, members: usize) -> (Share, Vec<u8>) {
    let name = format!("group-{number}");
    let mut share = share(&name, &[STATUS]);
    share.body.group = Some(id(&name));
    let roster = Roster {
        sub: id(&name),
        exp: Timestamp(NOON + 10 * DAY),
        iat: Timestamp(NOON - 60),
        body: RosterBody {
            format: 1,
            seq: 1,
            members: Map::new((0..members).map(|member| {
                let person = format!("member-{number}-{member}");
                (key(&person).public(), id(&person))
            })),
        },
    };
    (share, sign(&roster, &key(&name)))
}

#[test]
fn a_roster_above_the_cap_is_refused_until_a_group_has_no_share_left() {
    let mut bench = Bench::with(&[]);
    let mut registration = registration();
    (registration.body.seq, registration.body.slots) = (2, 200);
    bench.deliver(&signed(&registration));
    for number in 0..MAX_ROSTERS {
        let (mut share, roster) = group(number, if number == 0 { 256 } else { 1 });
        if number == 1 {
            share.exp = Timestamp(NOON + 60);
        }
        bench.deliver(&signed(&share));
        bench.deliver(&roster);
    }
    assert_eq!(bench.ask("member-0-255", STATUS), "done");
    let (share, roster) = group(MAX_ROSTERS, 257);
    bench.deliver(&signed(&share));
    bench.deliver(&roster);
    assert_eq!(bench.counted(Code::Malformed), 1, "more than 256 members");
    let (_, roster) = group(MAX_ROSTERS, 1);
    bench.deliver(&roster);
    assert_eq!(bench.counted(Code::SlotsFull), 1);
    assert_eq!(bench.ask("member-64-0", STATUS), "silence");
    assert_eq!(bench.ask("member-1-0", STATUS), "done");
    bench.pass(60);
    bench.deliver(&roster);
    assert_eq!(bench.ask("member-64-0", STATUS), "done");
    assert_eq!(bench.ask("member-1-0", STATUS), "silence");
    let rosters = bench
        .disk
        .cache
        .keys()
        .filter(|name| name.starts_with("roster"));
    assert_eq!(rosters.count(), MAX_ROSTERS, "on disk too");
}

#[test]
fn a_revocation_list_above_the_cap_is_refused_and_before_ends_what_did_not_fit() {
    let anna = share("anna", &[STATUS]);
    let mut bench = Bench::with(std::slice::from_ref(&anna));
    let entry = |number: u32| {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        (Bytes(id), Timestamp(NOON))
    };
    let mut list = revocations(1, &[]);
    list.body.shares = Map::new((0..1025).map(entry));
    bench.deliver(&signed(&list));
    assert_eq!(bench.counted(Code::Malformed), 1);
    list.body.shares = Map::new((0..1024).map(entry));
    list.body.before = Timestamp(NOON);
    bench.deliver(&signed(&list));
    assert_eq!(bench.ask("anna", STATUS), "revoked");
}

#[test]
fn a_command_above_the_cap_is_busy_until_one_has_ended() {
    let mut bench = Bench::with(&[share("anna", &[STATUS])]);
    let running: Vec<_> = (0..MAX_PENDING)
        .map(|_| {
            let command = sign(&bench.command(STATUS), &key("anna"));
            bench.input(Bench::arrived(&command, Origin::Cloud, false));
            hash(&command)
        })
        .collect();
    assert_eq!(bench.started.len(), MAX_PENDING);
    assert_eq!(bench.ask("anna", STATUS), "busy");
    bench.finish(running[7]);
    assert_eq!(bench.ask("anna", STATUS), "done");
}

/// A device whose snapshot contains the given numbers of use counts and rates of other shares.
fn device_with_usage(uses: u128, rates: u128) -> Bench {
    let name = |number: u128| Bytes(number.to_be_bytes());
    let snapshot = Snapshot {
        epoch: Bytes([9; 16]),
        uses: Map::new((0..uses).map(|number| (name(number), 1))),
        recent: (0..rates)
            .map(|number| Recent {
                share: name(number),
                operation: operation(REBOOT),
                times: vec![Timestamp(NOON)],
            })
            .collect(),
        ..Snapshot::default()
    };
    let disk = Disk {
        log: vec![Record {
            seq: 0,
            previous: Bytes([0; 32]),
            at: Timestamp(NOON),
            quality: 2,
            event: Event::Snapshot(snapshot),
        }],
        ..Disk::default()
    };
    let mut bench = Bench::start(disk, Bench::provisioned().reading, settings());
    let (uses, rate) = (
        Some(9),
        Some(Rate {
            count: 9,
            seconds: 60,
        }),
    );
    let limits = Limits::default();
    let counted = Limits {
        uses,
        ..limits.clone()
    };
    let timed = Limits {
        rate,
        ..limits.clone()
    };
    bench.deliver(&signed(&registration()));
    bench.deliver(&signed(&limited("anna", &[REBOOT], counted)));
    bench.deliver(&signed(&limited("bob", &[REBOOT], timed)));
    bench.deliver(&signed(&limited("carl", &[REBOOT], limits)));
    bench
}

#[test]
fn above_the_caps_of_uses_and_rates_shares_that_need_another_one_are_refused() {
    let asks = ["anna", "bob", "carl"];
    for (uses, rates, expected) in [
        (9_998, 1023, ["done", "done", "done"]),
        (10_000, 0, ["count", "count", "done"]),
        (0, 1024, ["done", "rate", "done"]),
    ] {
        let mut bench = device_with_usage(uses, rates);
        let outcomes = asks.map(|person| bench.ask(person, REBOOT));
        assert_eq!(outcomes, expected, "{uses} {rates}");
    }
}
