//! Windows, counts, rates, origins, approvals and arguments.

use doorward::core::Input;
use doorward_protocol::event_log::record::Event;
use doorward_protocol::gate::{Origin, UsageAccounting};
use doorward_protocol::wire::*;
use doorward_testkit::*;

fn office_hours() -> Limits {
    let window = WeeklyWindow {
        days: 0b001_1111,
        from: 8 * 60,
        until: 17 * 60,
    };
    Limits {
        windows: Some(WeeklyWindows {
            zone: Text::new("CET-1CEST,M3.5.0,M10.5.0/3").unwrap(),
            open: vec![window],
        }),
        ..Limits::default()
    }
}

#[test]
fn n08_a_share_is_not_valid_outside_its_weekly_window() {
    // Noon UTC on 22 November 2026 is a Sunday, 13:00 in Berlin.
    let mut bench = Bench::with(&[limited("cleaner", &[STATUS], office_hours())]);
    assert_eq!(bench.ask("cleaner", STATUS), "window", "Sunday");
    bench.pass(19 * 3600 - 1);
    assert_eq!(bench.ask("cleaner", STATUS), "window", "Monday, 07:59:59");
    bench.pass(1);
    assert_eq!(bench.ask("cleaner", STATUS), "done", "Monday, 08:00");
    bench.pass(9 * 3600 - 1);
    assert_eq!(bench.ask("cleaner", STATUS), "done", "Monday, 16:59:59");
    bench.pass(1);
    assert_eq!(bench.ask("cleaner", STATUS), "window", "Monday, 17:00");
    assert_eq!(
        bench.ask("ole", STATUS),
        "done",
        "limits do not apply to the owner"
    );
}

#[test]
fn n08_without_a_clock_no_window_is_open() {
    let mut always = office_hours();
    always.windows.as_mut().unwrap().open[0] = WeeklyWindow {
        days: 127,
        from: 0,
        until: 1440,
    };
    let mut bench = Bench::with(&[limited("cleaner", &[STATUS], always)]);
    assert_eq!(bench.ask("cleaner", STATUS), "done");
    let command = bench.command(STATUS);
    bench.reading.system = Timestamp(0);
    bench.restart();
    assert_eq!(bench.send(&command, "cleaner"), "window");
}

#[test]
fn n09_a_share_of_two_uses_allows_two_over_restarts_and_failures() {
    let limits = Limits {
        uses: Some(2),
        ..Limits::default()
    };
    let mut bench = Bench::with(&[limited("anna", &[REBOOT], limits)]);
    assert_eq!(bench.ask("anna", REBOOT), "done");
    // A power cut after acceptance: the use is consumed.
    let command = sign(&bench.command(REBOOT), &key("anna"));
    bench.deliver(&command);
    bench.restart();
    assert_eq!(bench.ask("anna", REBOOT), "count");
    bench.restart();
    assert_eq!(bench.ask("anna", REBOOT), "count");
}

#[test]
fn n09_a_refused_command_consumes_no_use() {
    let limits = Limits {
        uses: Some(1),
        ..Limits::default()
    };
    let mut bench = Bench::with(&[limited("anna", &[REBOOT], limits)]);
    assert_eq!(bench.ask("anna", STATUS), "not_granted");
    assert_eq!(
        bench.ask_with("anna", REBOOT, "force", Value::Bool(true)),
        "param"
    );
    assert_eq!(bench.ask("anna", REBOOT), "done");
}

#[test]
fn n09_only_the_share_that_allowed_a_command_is_charged() {
    let once = Limits {
        uses: Some(1),
        ..Limits::default()
    };
    let mut bench = Bench::with(&[limited("anna", &[REBOOT], once), share("anna", &[STATUS])]);
    assert_eq!(bench.ask("anna", STATUS), "done");
    assert_eq!(bench.ask("anna", REBOOT), "done");
    assert_eq!(bench.ask("anna", STATUS), "done");
}

#[test]
fn n10_a_rate_limits_the_number_of_runs_within_a_period() {
    let limits = Limits {
        rate: Some(Rate {
            count: 3,
            seconds: 600,
        }),
        ..Limits::default()
    };
    let both = ["power.outlet.cycle:2", STATUS];
    let mut bench = Bench::with(&[limited("anna", &both, limits)]);
    for _ in 0..3 {
        assert_eq!(bench.ask("anna", both[0]), "done");
    }
    assert_eq!(bench.ask("anna", both[0]), "rate");
    assert_eq!(
        bench.ask("anna", both[1]),
        "done",
        "each operation has its own rate"
    );
    bench.restart();
    bench.pass(599);
    assert_eq!(bench.ask("anna", both[0]), "rate", "after a restart too");
    bench.pass(1);
    assert_eq!(bench.ask("anna", both[0]), "done");
}

#[test]
fn n11_a_share_for_the_local_link_is_not_valid_through_the_cloud() {
    for (way, cloud, local) in [
        (Way::Local, "origin", "done"),
        (Way::Cloud, "done", "origin"),
    ] {
        let limits = Limits {
            origin: Some(way),
            ..Limits::default()
        };
        let mut bench = Bench::with(&[limited("anna", &[STATUS], limits)]);
        assert_eq!(bench.ask("anna", STATUS), cloud);
        let command = sign(&bench.command(STATUS), &key("anna"));
        bench.input(Bench::arrived(&command, Origin::Local, false));
        match local {
            "done" => assert_eq!(bench.started.len(), 1),
            code => assert_eq!(bench.last_receipt().body.code, Some(id(code))),
        }
    }
}

fn approval(command: &[u8], person: &str, until: u64) -> Vec<u8> {
    let approval = Approval {
        aud: device(),
        exp: Timestamp(until),
        iat: Timestamp(NOON - 60),
        body: ApprovalBody {
            format: 1,
            command: hash(command),
        },
    };
    sign(&approval, &key(person))
}

#[test]
fn n12_a_second_person_with_the_operation_must_approve_this_exact_command() {
    let two = Limits {
        approvals: Some(1),
        ..Limits::default()
    };
    let shares = [
        limited("anna", &[REBOOT], two.clone()),
        limited("bob", &[REBOOT], two),
        share("carl", &[STATUS]),
    ];
    let mut bench = Bench::with(&shares);
    let command = sign(&bench.command(REBOOT), &key("anna"));
    let mut sent = |approvals: &[Vec<u8>]| {
        let bundle = [approvals.concat(), command.clone()].concat();
        bench.send_bytes(&bundle)
    };
    assert_eq!(sent(&[]), "needs_approval");
    let ok = NOON + 60;
    assert_eq!(
        sent(&[approval(&command, "anna", ok)]),
        "needs_approval",
        "the same person"
    );
    assert_eq!(
        sent(&[approval(&command, "carl", ok)]),
        "needs_approval",
        "has no share with the operation"
    );
    assert_eq!(
        sent(&[approval(&command, "eve", ok)]),
        "needs_approval",
        "a stranger"
    );
    assert_eq!(
        sent(&[approval(b"another", "bob", ok)]),
        "needs_approval",
        "another command"
    );
    assert_eq!(
        sent(&[approval(&command, "bob", NOON)]),
        "needs_approval",
        "too late"
    );
    let mut forged = approval(&command, "bob", ok);
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(sent(&[forged]), "needs_approval");
    assert_eq!(sent(&[approval(&command, "bob", ok)]), "done");
    assert_eq!(
        sent(&[approval(&command, "bob", ok)]),
        "done",
        "the receipt again"
    );
    assert_eq!(bench.started.len(), 1);
    assert_eq!(bench.last_receipt().body.outcome, Outcome::Done);
}

#[test]
fn n12_the_owner_may_approve_and_two_keys_of_one_person_count_as_one() {
    let three = Limits {
        approvals: Some(2),
        ..Limits::default()
    };
    let mut second_key = share("bob", &[REBOOT]);
    second_key.cnf = Confirmation(key("bob's other key").public());
    second_key.cti = Bytes([5; 16]);
    let shares = [
        limited("anna", &[REBOOT], three),
        share("bob", &[REBOOT]),
        second_key,
    ];
    let mut bench = Bench::with(&shares);
    let command = sign(&bench.command(REBOOT), &key("anna"));
    let by = |person| approval(&command, person, NOON + 60);
    let bundle = [by("bob"), by("bob's other key"), command.clone()].concat();
    assert_eq!(bench.send_bytes(&bundle), "needs_approval");
    assert_eq!(
        bench.last_receipt().body.outcome,
        Outcome::Accepted,
        "not over yet"
    );
    let bundle = [by("bob"), by("ole"), command.clone()].concat();
    assert_eq!(bench.send_bytes(&bundle), "done");
}

#[test]
fn n21_an_interlock_applies_to_every_sender() {
    let outlet = "power.outlet.cycle:1";
    let mut bench = Bench::with(&[share("anna", &[outlet])]);
    bench.input(Input::Interlocks([id("own-supply")].into()));
    assert_eq!(bench.ask("anna", outlet), "interlock");
    assert_eq!(bench.ask("ole", outlet), "interlock");
    assert_eq!(bench.ask("ole", "power.outlet.cycle:2"), "done");
    bench.input(Input::Interlocks([id("mid-update")].into()));
    assert_eq!(bench.ask("anna", outlet), "done", "another condition");
}

#[test]
fn argument_limits_of_the_share_and_of_the_device_both_apply() {
    let outlet = "power.outlet.cycle:1";
    let mut own = share("anna", &[outlet]);
    let limit = ArgLimit {
        min: Some(10),
        max: Some(1000),
        one_of: None,
    };
    let args = Some(Map::new([(Text::new("delay").unwrap(), limit)]));
    own.body.permissions = Map::new([(operation(outlet), Permission { args })]);
    let mut bench = Bench::with(&[own]);
    let mut delay = |n| bench.ask_with("anna", outlet, "delay", Value::Int(n));
    assert_eq!(delay(9), "param", "the share allows 10 and more");
    assert_eq!(delay(601), "param", "the device allows up to 600");
    assert_eq!(delay(600), "done");
    assert_eq!(
        bench.ask("anna", outlet),
        "param",
        "if left out, the device would choose it"
    );
    assert_eq!(
        bench.ask("ole", outlet),
        "done",
        "the owner may leave it out"
    );
}

#[test]
fn an_age_limit_makes_older_commands_late() {
    let mut strict = registration();
    strict.body.seq = 2;
    strict.iat = Timestamp(NOON - 60);
    strict.body.ages = Some(Map::new([(Class::Interrupt, 30)]));
    let mut bench = Bench::with(&[share("anna", &[STATUS, REBOOT])]);
    bench.deliver(&signed(&strict));
    let (reboot, status) = (bench.command(REBOOT), bench.command(STATUS));
    bench.pass(31);
    assert_eq!(bench.send(&reboot, "anna"), "late");
    assert_eq!(bench.send(&status, "anna"), "done");
}

#[test]
fn listing_the_own_shares_consumes_no_use() {
    let once = Limits {
        uses: Some(1),
        rate: Some(Rate {
            count: 1,
            seconds: 60,
        }),
        ..Limits::default()
    };
    let mut bench = Bench::with(&[limited("anna", &[REBOOT], once)]);
    for _ in 0..3 {
        assert_eq!(bench.ask("anna", "share.mine"), "done");
    }
    assert_eq!(bench.ask("anna", REBOOT), "done");
}

#[test]
fn a_command_consumes_only_what_the_share_limits() {
    let limits = Limits::default();
    let (uses, rate) = (
        Some(2),
        Some(Rate {
            count: 2,
            seconds: 60,
        }),
    );
    for (limits, charged) in [
        (limits.clone(), UsageAccounting::None),
        (
            Limits {
                uses,
                ..limits.clone()
            },
            UsageAccounting::Count,
        ),
        (
            Limits {
                rate,
                ..limits.clone()
            },
            UsageAccounting::CountAndTime,
        ),
        (
            Limits {
                rate,
                uses,
                ..limits
            },
            UsageAccounting::CountAndTime,
        ),
    ] {
        let mut bench = Bench::with(&[limited("anna", &[REBOOT], limits)]);
        assert_eq!(bench.ask("anna", REBOOT), "done");
        let charges = bench
            .disk
            .log
            .iter()
            .filter_map(|record| match &record.event {
                Event::Intent(intent) => Some(intent.charged),
                _ => None,
            });
        assert_eq!(charges.collect::<Vec<_>>(), [charged]);
    }
}
