//! Invalid input gets its code or is counted, and the next valid command works.

use doorward::core::{Delivery, Input};
use doorward_protocol::gate::{Code, Origin};
use doorward_protocol::wire::*;
use doorward_testkit::*;

fn bench() -> Bench {
    Bench::with(&[share("anna", &["status.read", "device.reboot"])])
}

/// Checks that a valid command still works.
fn works(bench: &mut Bench) {
    assert_eq!(bench.ask("anna", "status.read"), "done");
}

#[test]
fn input_that_is_not_an_object_is_counted_and_the_next_command_works() {
    let mut bench = bench();
    let command = bench.command("status.read");
    let good = sign(&command, &key("anna"));
    let receipt = bench.ask("anna", "status.read");
    assert_eq!(receipt, "done");
    let (_, receipt) = bench.published.last().unwrap().clone();
    let mut eddsa = good.clone();
    let alg = eddsa.iter().position(|&b| b == 0x32).unwrap();
    eddsa[alg] = 0x27;
    let mut unprotected = good.clone();
    let empty = unprotected.iter().position(|&b| b == 0xa0).unwrap();
    unprotected.splice(empty..=empty, [0xa1, 0x01, 0x32]);
    let many = signed(&revocations(1, &[])).repeat(9);
    let cases: [(&str, &[u8], Code); 12] = [
        ("nothing", b"", Code::Malformed),
        ("text", b"{\"reboot\":true}", Code::Malformed),
        ("an integer", &[0x01], Code::BadEnvelope),
        ("an array", &[0x80], Code::BadEnvelope),
        (
            "a float",
            &[0xfb, 0, 0, 0, 0, 0, 0, 0, 0],
            Code::BadEnvelope,
        ),
        ("without its tags", &good[4..], Code::BadEnvelope),
        ("another algorithm", &eddsa, Code::BadEnvelope),
        ("an unprotected header", &unprotected, Code::BadEnvelope),
        ("a receipt", &receipt, Code::WrongType),
        (
            "two commands",
            &[good.clone(), good.clone()].concat(),
            Code::WrongType,
        ),
        ("nine items", &many, Code::TooLarge),
        ("1 MiB", &vec![0xd8; 1 << 20], Code::TooLarge),
    ];
    for (what, bytes, code) in cases {
        let before = bench.counted(code);
        assert_eq!(bench.send_bytes(bytes), "silence", "{what}");
        assert_eq!(bench.counted(code), before + 1, "{what} is {code}");
        works(&mut bench);
    }
}

#[test]
fn a_command_cut_at_any_byte_is_refused() {
    let mut bench = bench();
    let command = bench.command("device.reboot");
    let good = sign(&command, &key("anna"));
    for length in 0..good.len() {
        assert_eq!(
            bench.send_bytes(&good[..length]),
            "silence",
            "{length} bytes"
        );
    }
    assert!(bench.started.is_empty());
    assert_eq!(bench.send_bytes(&good), "done");
}

#[test]
fn a_command_with_any_byte_changed_is_refused() {
    let mut bench = bench();
    let command = bench.command("device.reboot");
    let good = sign(&command, &key("anna"));
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            assert_eq!(bench.send_bytes(&bad), "silence", "byte {at} bit {bit}");
        }
        // Slowly, so that the rate limit does not apply.
        bench.pass(1);
    }
    assert_eq!(bench.counted(Code::Flood), 0);
    assert!(bench.started.is_empty());
    works(&mut bench);
}

#[test]
fn bytes_after_a_command_are_refused() {
    let mut bench = bench();
    let command = bench.command("device.reboot");
    let mut bytes = sign(&command, &key("anna"));
    bytes.push(0);
    assert_eq!(bench.send_bytes(&bytes), "silence");
    works(&mut bench);
}

#[test]
fn a_retained_command_is_never_run() {
    let mut bench = bench();
    let command = bench.command("device.reboot");
    let bytes = sign(&command, &key("anna"));
    bench.input(Bench::arrived(&bytes, Origin::Cloud, true));
    assert_eq!(bench.counted(Code::Retained), 1);
    assert!(bench.started.is_empty());
    works(&mut bench);
}

#[test]
fn a_retained_statement_is_accepted() {
    let mut bench = bench();
    let list = signed(&revocations(
        1,
        &[&share("anna", &["status.read", "device.reboot"])],
    ));
    bench.input(Bench::arrived(&list, Origin::Cloud, true));
    assert_eq!(bench.ask("anna", "status.read"), "revoked");
}

#[test]
fn an_invalid_statement_does_not_stop_the_others_in_its_bundle() {
    let mut bench = bench();
    let mut broken = signed(&share("bob", &["status.read"]));
    let last = broken.len() - 1;
    broken[last] ^= 1;
    let other_type = sign(&bench.command("status.read"), &key("anna"));
    let mut unknown = other_type.clone();
    let at = unknown.windows(7).position(|w| w == b"command").unwrap();
    unknown[at..at + 7].copy_from_slice(b"commode");
    let bundle = [
        broken,
        unknown,
        signed(&share("carl", &["status.read"])),
        other_type,
    ];
    assert_eq!(bench.send_bytes(&bundle.concat()), "done");
    assert_eq!(bench.counted(Code::BadSignature), 1);
    assert_eq!(bench.counted(Code::WrongType), 1);
    assert_eq!(bench.ask("carl", "status.read"), "done");
    assert_eq!(bench.ask("bob", "status.read"), "silence");
}

#[test]
fn bytes_that_break_the_sequence_refuse_the_complete_bundle() {
    let mut bench = bench();
    let command = bench.command("device.reboot");
    let good = sign(&command, &key("anna"));
    let share = signed(&share("carl", &["status.read"]));
    let between: [&[u8]; 6] = [
        &[0xff],
        &[0x1c],
        &[0x5f],
        &[0x9f, 0xff],
        &[0xa1],
        &[0x81, 0xff],
    ];
    for broken in between {
        let bundle = [share.as_slice(), broken, &good].concat();
        assert_eq!(bench.send_bytes(&bundle), "silence", "{broken:02x?}");
    }
    assert_eq!(bench.counted(Code::Malformed), 6);
    assert_eq!(bench.ask("carl", "status.read"), "silence");
    let bundle = [share.as_slice(), &[0x01], &good].concat();
    assert_eq!(
        bench.send_bytes(&bundle),
        "done",
        "a separate item, refused on its own"
    );
}

#[test]
fn a_signature_by_another_key_than_the_named_one_is_refused_without_an_answer() {
    let mut bench = bench();
    let command = bench.command("device.reboot");
    let forged = sign(&command, &key("eve"));
    let eve = key("eve").public().0;
    let at = forged.windows(32).position(|w| w == eve).unwrap();
    let mut forged = forged;
    forged[at..at + 32].copy_from_slice(&key("anna").public().0);
    assert_eq!(bench.send_bytes(&forged), "silence");
    assert_eq!(bench.counted(Code::BadSignature), 1);
    works(&mut bench);
}

#[test]
fn a_share_for_a_weak_key_is_not_installed() {
    let mut bench = bench();
    let mut weak = share("anna", &["status.read"]);
    weak.cti = Bytes([9; 16]);
    weak.cnf = Confirmation(Bytes([0; 32]));
    bench.deliver(&signed(&weak));
    assert_eq!(bench.counted(Code::Malformed), 1);
}

#[test]
fn objects_too_large_for_their_kind_are_refused() {
    let mut bench = bench();
    let mut command = bench.command("status.read");
    let long = Value::Text("x".repeat(1024));
    let name = |n: usize| Text::new(&format!("arg{n}")).unwrap();
    command.body.args = Map::new((0..5).map(|n| (name(n), long.clone())));
    assert_eq!(bench.send(&command, "anna"), "silence");
    assert_eq!(bench.counted(Code::TooLarge), 1);
    command.body.args = Map::new((0..17).map(|n| (name(n), Value::Int(1))));
    assert_eq!(bench.send(&command, "anna"), "silence");
    assert_eq!(bench.counted(Code::Malformed), 1);
    works(&mut bench);
}

#[test]
fn a_link_flooded_with_forgeries_is_throttled_and_the_other_one_is_not() {
    let mut bench = bench();
    // A message that names the owner's key makes the device verify a signature.
    let mut forged = sign(&bench.command("device.reboot"), &key("ole"));
    let last = forged.len() - 1;
    forged[last] ^= 1;
    bench.origin = Origin::Local;
    for _ in 0..1000 {
        bench.deliver(&forged);
    }
    assert_eq!(
        bench.counted(Code::BadSignature),
        128,
        "the others are not verified"
    );
    assert_eq!(bench.counted(Code::Flood), 872);
    assert_eq!(bench.acknowledged, 1002, "the broker need not keep them");
    assert_eq!(bench.ask("ole", "status.read"), "silence");
    bench.origin = Origin::Cloud;
    assert_eq!(bench.ask("ole", "status.read"), "done");
    assert_eq!(bench.refreshed, 0);
    bench.pass(30);
    bench.input(Input::Tick);
    assert_eq!(bench.refreshed, 1, "dropped messages are requested again");
    bench.origin = Origin::Local;
    assert_eq!(bench.ask("ole", "status.read"), "done");
}

#[test]
fn a_listener_client_is_charged_for_every_refusal_and_notified_of_dropped_messages() {
    let mut bench = bench();
    let refused = |bench: &mut Bench| {
        // A known sender without this permission: each costs a verification and a signed receipt.
        let command = sign(&bench.command("net.config"), &key("anna"));
        Input::Arrived {
            origin: Origin::Local,
            retained: false,
            delivery: Delivery {
                link: bench.client,
                number: 1,
            },
            payload: command,
        }
    };
    for _ in 0..100 {
        let input = refused(&mut bench);
        bench.input(input);
    }
    assert_eq!(bench.published.len(), 16, "answers");
    assert_eq!((bench.acknowledged, bench.unheard), (18, 84));
    // A broker has many clients, and another client of the listener has its own limit.
    bench.origin = Origin::Local;
    assert_eq!(bench.ask("ole", "status.read"), "done");
    bench.client.0 += 1;
    let input = refused(&mut bench);
    bench.input(input);
    assert_eq!(bench.unheard, 84);
    bench.pass(60);
    bench.input(Input::Tick);
    assert_eq!(
        bench.refreshed, 0,
        "messages of a client are not requested from a broker"
    );
}

#[test]
fn copies_of_a_command_are_answered_until_there_are_too_many() {
    let mut bench = bench();
    let command = sign(&bench.command("device.reboot"), &key("ole"));
    assert_eq!(bench.send_bytes(&command), "done");
    bench.published.clear();
    for _ in 0..1000 {
        bench.deliver(&command);
    }
    assert_eq!(bench.published.len(), 128);
    assert_eq!(bench.started.len(), 1);
}

#[test]
fn of_a_late_command_and_its_newly_signed_copy_only_one_runs() {
    let mut bench = bench();
    bench.reading.system = Timestamp(NOON + 400);
    bench.restart();
    // Late for a clock that is ahead; the client signs again with the device's time.
    let mut first = bench.command("device.reboot");
    (first.iat, first.exp) = (Timestamp(NOON), Timestamp(NOON + 300));
    assert_eq!(bench.send(&first, "anna"), "late");
    let mut second = first.clone();
    (second.iat, second.exp) = (Timestamp(NOON + 400), Timestamp(NOON + 520));
    assert_eq!(bench.send(&second, "anna"), "done");
    // The clock is corrected, and the first command is replayed.
    bench.reading.system = Timestamp(NOON + 10);
    bench.restart();
    assert_eq!(bench.send(&first, "anna"), "replay");
    // The reverse case.
    let mut third = bench.command("device.reboot");
    (third.iat, third.exp) = (Timestamp(NOON - 400), Timestamp(NOON - 100));
    assert_eq!(bench.send(&third, "anna"), "late");
    let mut fourth = third.clone();
    (fourth.iat, fourth.exp) = (Timestamp(NOON + 10), Timestamp(NOON + 130));
    assert_eq!(bench.send(&fourth, "anna"), "done");
    assert_eq!(bench.send(&third, "anna"), "replay");
}
