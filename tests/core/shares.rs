//! Shares on the device, their ends, and operations of the owner there: the rules of
//! `docs/requirements.md` by number.

use doorward::core::ReplyTopic;
use doorward_protocol::event_log::record::{Change, Event};
use doorward_protocol::gate::{Code, Origin};
use doorward_protocol::wire::*;
use doorward_testkit::*;

#[test]
fn s04_settings_are_granted_by_name_and_security_settings_never() {
    let mut own = share("anna", &["config.write"]);
    let limit = ArgLimit {
        one_of: Some(vec![Value::from("ups.delay.shutdown")]),
        ..ArgLimit::default()
    };
    let args = Some(Map::new([(Text::new("key").unwrap(), limit)]));
    own.body.permissions = Map::new([(operation("config.write"), Permission { args })]);
    let mut bench = Bench::with(&[own]);
    let mut write = |key: &str| bench.ask_with("anna", "config.write", "key", Value::from(key));
    assert_eq!(write("ups.delay.shutdown"), "done");
    assert_eq!(write("identity.issuers"), "param");
    for owned in [
        "key.rotate",
        "net.config",
        "clock.set",
        "share.create",
        "factory.reset",
    ] {
        assert_eq!(bench.ask("anna", owned), "owner_only", "{owned}");
        bench.deliver(&signed(&share("anna", &[owned])));
    }
    assert_eq!(bench.counted(Code::Malformed), 5, "nor can they be shared");
}

#[test]
fn s05_firmware_needs_a_release_for_this_model_and_goes_only_forward() {
    let mut bench = Bench::with(&[share("anna", &["firmware.install"])]);
    let install = |bench: &mut Bench, version| {
        bench.ask_with("anna", "firmware.install", "version", Value::Int(version))
    };
    assert_eq!(
        install(&mut bench, 9),
        "bad_image",
        "a share alone is not enough"
    );
    bench.deliver(&sign(&release(9, 5), &key("shares")));
    assert_eq!(
        bench.counted(Code::UnknownIssuer),
        1,
        "a key of another role"
    );
    let mut foreign = release(9, 5);
    foreign.body.model = Text::new("Smart-UPS 3000").unwrap();
    bench.deliver(&signed(&foreign));
    assert_eq!(install(&mut bench, 9), "bad_image", "of another model");
    for (version, minimum) in [(7, 5), (8, 0), (9, 5), (10, 8)] {
        bench.deliver(&signed(&release(version, minimum)));
    }
    assert_eq!(
        install(&mut bench, 7),
        "downgrade",
        "version 7 is installed"
    );
    assert_eq!(install(&mut bench, 10), "bad_image", "needs 8 first");
    assert_eq!(install(&mut bench, -1), "bad_image");
    assert_eq!(install(&mut bench, 9), "done");
    let mut other = release(9, 5);
    other.body.sha256 = hash(b"another image");
    bench.deliver(&signed(&other));
    assert_eq!(bench.counted(Code::BadImage), 5, "one number, one image");
    bench.restart();
    assert_eq!(install(&mut bench, 9), "done", "the release is kept");
}

#[test]
fn s06_diagnostics_are_granted_one_by_one() {
    let mut bench = Bench::with(&[share("anna", &["diag.selftest"])]);
    assert_eq!(bench.ask("anna", "diag.selftest"), "done");
    assert_eq!(bench.ask("anna", "diag.calibrate"), "not_granted");
}

#[test]
fn s07_an_outlet_group_is_granted_by_its_number() {
    let mut bench = Bench::with(&[share("anna", &["power.outlet.cycle:1"])]);
    assert_eq!(bench.ask("anna", "power.outlet.cycle:1"), "done");
    assert_eq!(bench.ask("anna", "power.outlet.cycle:2"), "not_granted");
}

#[test]
fn s08_s09_s10_licences_reports_and_notifications_need_their_own_permission() {
    for wanted in ["licence.apply", "report.read", "notify.manage"] {
        let own = share("anna", &[wanted]);
        let mut bench = Bench::with(&[own.clone(), share("bob", &[STATUS])]);
        let ask = |bench: &mut Bench, person: &str| match wanted {
            "notify.manage" => bench.ask_with(person, wanted, "on", Value::Bool(true)),
            _ => bench.ask(person, wanted),
        };
        assert_eq!(ask(&mut bench, "anna"), "done");
        assert_eq!(ask(&mut bench, "bob"), "not_granted");
        bench.deliver(&signed(&revocations(1, &[&own])));
        assert_eq!(ask(&mut bench, "anna"), "revoked");
    }
}

#[test]
fn s11_a_second_owner_is_refused_without_a_handover() {
    let mut bench = Bench::with(&[]);
    let mut second = registration();
    second.body.seq = 2;
    second.iat = Timestamp(NOON);
    second.sub = id("mallory");
    second.cnf = Confirmation(key("mallory").public());
    bench.deliver(&signed(&second));
    assert_eq!(bench.counted(Code::BadGrant), 1);
    assert_eq!(bench.ask("mallory", STATUS), "silence");
    assert_eq!(bench.ask("ole", STATUS), "done");
}

#[test]
fn s14_s54_each_share_is_independent_of_the_others() {
    let mut elsewhere = share("anna", &[STATUS]);
    elsewhere.aud = "ups-8".parse().unwrap();
    let mut bench = Bench::with(&[elsewhere]);
    assert_eq!(bench.counted(Code::WrongDevice), 1);
    assert_eq!(bench.ask("anna", STATUS), "silence");
    bench.deliver(&signed(&share("anna", &[STATUS])));
    assert_eq!(
        bench.ask("anna", STATUS),
        "done",
        "added later, by its own token"
    );
}

#[test]
fn s15_s16_s17_only_a_statement_that_the_issuer_signed_for_a_key_gives_access() {
    let mut bench = Bench::with(&[]);
    // An e-mail address, a code or a link is not a share token.
    for text in [
        "anna@example.org",
        "483-211",
        "https://example.org/access/request/TZBV",
    ] {
        bench.deliver(text.as_bytes());
    }
    // A share token that the issuer has not signed.
    bench.deliver(&sign(&share("anna", &[STATUS]), &key("anna")));
    assert_eq!(bench.ask("anna", STATUS), "silence");
    assert_eq!(bench.disk.cache.len(), 0);
}

#[test]
fn s18_a_holder_can_give_up_only_their_own_share() {
    let (anna, bob) = (share("anna", &[STATUS]), share("bob", &[STATUS]));
    let mut bench = Bench::with(&[anna.clone(), bob.clone()]);
    let id = |share: &Share| Value::Bytes(share.cti.0.to_vec());
    assert_eq!(
        bench.ask_with("anna", "share.relinquish", "share", id(&bob)),
        "failed"
    );
    assert_eq!(bench.ask("bob", STATUS), "done");
    assert_eq!(
        bench.ask_with("anna", "share.relinquish", "share", id(&anna)),
        "done"
    );
    assert_eq!(bench.ask("anna", STATUS), "revoked");
    assert_eq!(bench.ask("bob", STATUS), "done");
    assert_eq!(
        bench.state().registration,
        1,
        "the registration is unchanged"
    );
    bench.restart();
    bench.deliver(&signed(&anna));
    assert_eq!(bench.ask("anna", STATUS), "revoked", "and it stays so");
}

#[test]
fn s21_basic_has_neither_remote_control_nor_notifications() {
    let wanted = ["notify.manage", REBOOT, "firmware.install", "diag.selftest"];
    let mut basic = registration();
    basic.body.seq = 2;
    basic.iat = Timestamp(NOON - 60);
    basic.body.plan.name = id("basic");
    let mut bench = Bench::with(&[share("anna", &wanted), share("bob", &[STATUS])]);
    bench.deliver(&signed(&basic));
    for operation in wanted {
        assert_eq!(bench.ask("anna", operation), "plan", "{operation}");
    }
    assert_eq!(bench.ask("bob", STATUS), "done");
}

#[test]
fn s32_s42_a_share_signed_without_the_right_to_share_is_refused() {
    let mut bench = Bench::with(&[share("bob", &[STATUS])]);
    for signer in ["bob", "ole", "registry", "revocations", "firmware", "root"] {
        bench.deliver(&sign(&share("anna", &[STATUS]), &key(signer)));
    }
    assert_eq!(bench.counted(Code::UnknownIssuer), 6);
    assert_eq!(bench.ask("anna", STATUS), "silence");
}

#[test]
fn s33_a_denied_request_leaves_nothing_on_the_device() {
    let mut bench = Bench::with(&[]);
    bench.deliver(&roster(1, &["anna"]));
    assert_eq!(
        bench.counted(Code::UnknownIssuer),
        1,
        "no share for that group"
    );
    assert!(bench.disk.cache.is_empty());
}

#[test]
fn s38_n01_n04_a_cancellation_is_applied_on_arrival_and_confirmed_by_a_signed_receipt() {
    let anna = share("anna", &[STATUS]);
    let mut bench = Bench::with(std::slice::from_ref(&anna));
    assert_eq!(bench.ask("anna", STATUS), "done");
    bench.published.clear();
    let list = signed(&revocations(5, &[&anna]));
    bench.input(Bench::arrived(&list, Origin::Local, false));
    let (topic, state) = bench.published.last().unwrap();
    assert_eq!(*topic, ReplyTopic::State);
    let envelope = Envelope::parse(state).unwrap();
    envelope
        .verify(&PublicKey::new(&key("device").public()).unwrap())
        .unwrap();
    let state: State = envelope.claims().unwrap();
    assert_eq!(state.body.standing.revocations.get(&device()), Some(&5));
    assert_eq!(bench.ask("anna", STATUS), "revoked");
}

#[test]
fn s47_account_names_are_compared_completely() {
    let mut bench = Bench::with(&[share("anna", &[STATUS]), share("ann", &[STATUS])]);
    let mut list = revocations(1, &[]);
    list.body.subjects = Map::new([(id("ann"), Timestamp(NOON))]);
    bench.deliver(&signed(&list));
    assert_eq!(bench.ask("ann", STATUS), "revoked");
    assert_eq!(bench.ask("anna", STATUS), "done");
}

#[test]
fn s51_s58_s59_s63_a_holder_sees_their_own_shares_with_the_descriptions() {
    let mut anna = share("anna", &[STATUS, REBOOT]);
    anna.body.description = Some(Text::new("Fix LoRa antenna, ticket 812").unwrap());
    let mut bench = Bench::with(&[anna.clone(), share("bob", &[STATUS])]);
    assert_eq!(bench.ask("anna", "share.mine"), "done");
    let result = bench.last_receipt().body.result;
    assert_eq!(result.len(), 1, "bob's share is not shown to her");
    let Some(Value::Text(text)) = result.get(anna.cti.hex().as_str()) else {
        panic!("{result:?}");
    };
    for part in ["ticket 812", STATUS, REBOOT, "2026-12-22"] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(bench.ask("anna", "share.list"), "owner_only");
    bench.deliver(&signed(&revocations(1, &[&anna])));
    assert_eq!(bench.ask("anna", "share.mine"), "revoked");
}

#[test]
fn s64_the_owner_lists_all_shares_at_the_device() {
    let anna = share("anna", &[STATUS]);
    let mut bench = Bench::with(&[anna.clone(), share("bob", &[STATUS])]);
    bench.deliver(&signed(&revocations(1, &[&anna])));
    assert_eq!(bench.ask("ole", "share.list"), "done");
    let result = bench.last_receipt().body.result;
    let texts: Vec<String> = result.iter().map(|(_, v)| v.to_string()).collect();
    assert_eq!(texts.len(), 2);
    assert!(
        texts
            .iter()
            .any(|t| t.contains("anna") && t.contains("cancelled"))
    );
    assert!(
        texts
            .iter()
            .any(|t| t.contains("bob") && !t.contains("cancelled"))
    );
}

#[test]
fn s64_a_long_list_is_truncated_and_marked_as_such() {
    let shares: Vec<Share> = (0..50)
        .map(|n| share(&format!("p{n}"), &[STATUS]))
        .collect();
    let mut bench = Bench::with(&shares);
    bench.ask("ole", "share.list");
    let result = bench.last_receipt().body.result;
    assert_eq!(
        (result.len(), result.get("more")),
        (41, Some(&Value::Int(10)))
    );
}

#[test]
fn s56_the_same_person_with_the_key_of_another_enterprise_is_a_stranger() {
    let mut bench = Bench::with(&[share("anna", &[STATUS])]);
    assert_eq!(bench.ask("anna at enterprise B", STATUS), "silence");
}

#[test]
fn s57_a_share_of_another_region_is_not_valid() {
    let mut us = share("anna", &[STATUS]);
    us.body.region = id("us");
    let mut bench = Bench::with(&[us]);
    assert_eq!(bench.ask("anna", STATUS), "wrong_region");
}

#[test]
fn s61_all_shares_of_a_recipient_end_with_one_entry() {
    let (view, reboot) = (share("anna", &[STATUS]), share("anna", &[REBOOT]));
    let mut bench = Bench::with(&[view.clone(), reboot, share("bob", &[STATUS])]);
    let mut list = revocations(1, &[]);
    list.body.holders = Map::new([(view.cnf.0, view.iat.plus(1))]);
    bench.deliver(&signed(&list));
    assert_eq!(bench.ask("anna", STATUS), "revoked");
    assert_eq!(bench.ask("anna", REBOOT), "revoked");
    assert_eq!(bench.ask("bob", STATUS), "done");
}

#[test]
fn n05_the_owner_ends_a_share_at_the_device_and_no_issuer_can_restore_it() {
    let anna = share("anna", &[STATUS]);
    let mut bench = Bench::with(std::slice::from_ref(&anna));
    let which = || Value::Bytes(anna.cti.0.to_vec());
    assert_eq!(
        bench.ask_with("anna", "share.revoke", "share", which()),
        "owner_only"
    );
    assert_eq!(
        bench.ask_with("ole", "share.revoke", "share", which()),
        "done"
    );
    assert_eq!(bench.ask("anna", STATUS), "revoked");
    bench.deliver(&signed(&revocations(1, &[])));
    bench.deliver(&signed(&anna));
    bench.restart();
    assert_eq!(bench.ask("anna", STATUS), "revoked");
    let by_text = Value::Text(anna.cti.hex());
    assert_eq!(
        bench.ask_with("ole", "share.revoke", "share", by_text),
        "done"
    );
    let unknown = Value::Bytes(vec![0; 16]);
    assert_eq!(
        bench.ask_with("ole", "share.revoke", "share", unknown),
        "failed"
    );
    assert_eq!(bench.ask("ole", "share.revoke"), "param", "which one?");
}

#[test]
fn n17_a_handover_ends_every_earlier_share_and_the_old_owner() {
    let mut bench = Bench::with(&[share("anna", &[STATUS])]);
    let mut new = registration();
    new.body.seq = 2;
    (new.iat, new.body.since) = (Timestamp(NOON), Timestamp(NOON));
    new.sub = id("nora");
    new.cnf = Confirmation(key("nora").public());
    bench.deliver(&signed(&new));
    assert_eq!(bench.ask("anna", STATUS), "revoked");
    assert_eq!(bench.ask("ole", STATUS), "silence");
    assert_eq!(bench.ask("nora", STATUS), "done");
    let mut after = share("bob", &[STATUS]);
    (after.iat, after.nbf) = (Timestamp(NOON), Timestamp(NOON));
    bench.deliver(&signed(&after));
    assert_eq!(bench.ask("bob", STATUS), "done");
    // The start of ownership never moves back.
    let mut back = new.clone();
    back.body.seq = 3;
    back.body.since = Timestamp(NOON - 60 * DAY);
    bench.deliver(&signed(&back));
    assert_eq!(bench.ask("anna", STATUS), "revoked");
}

#[test]
fn n18_a_freeze_suspends_all_shares_and_they_work_again_afterwards() {
    let mut bench = Bench::with(&[share("anna", &[STATUS])]);
    assert_eq!(bench.ask("anna", "share.freeze"), "owner_only");
    assert_eq!(bench.ask("ole", "share.freeze"), "done");
    assert_eq!(bench.ask("anna", STATUS), "frozen");
    bench.restart();
    assert_eq!(bench.ask("anna", STATUS), "frozen", "after a restart too");
    assert_eq!(bench.ask("ole", STATUS), "done");
    assert_eq!(bench.ask("ole", "share.unfreeze"), "done");
    assert_eq!(bench.ask("anna", STATUS), "done", "the same share");
    let until = Value::Int((NOON + 60) as i64);
    assert_eq!(
        bench.ask_with("ole", "share.freeze", "until", until),
        "done"
    );
    bench.pass(59);
    assert_eq!(bench.ask("anna", STATUS), "frozen");
    bench.pass(1);
    assert_eq!(bench.ask("anna", STATUS), "done", "it has ended by itself");
}

#[test]
fn n19_a_dry_run_reports_the_decision_and_has_no_side_effects() {
    let limits = Limits {
        uses: Some(1),
        ..Limits::default()
    };
    let mut bench = Bench::with(&[limited("anna", &[STATUS], limits)]);
    let records = bench.disk.log.len();
    let mut dry = bench.command(REBOOT);
    dry.body.dry = Some(true);
    assert_eq!(bench.send(&dry, "anna"), "not_granted");
    let detail = bench.last_receipt().body.detail.unwrap();
    assert_eq!(detail.as_str(), "anna has status.read; owner ole");
    let mut dry = bench.command(STATUS);
    dry.body.dry = Some(true);
    for _ in 0..3 {
        assert_eq!(bench.send(&dry, "anna"), "allowed");
    }
    assert_eq!(bench.send(&dry, "eve"), "silence");
    assert_eq!((bench.started.len(), bench.disk.log.len()), (0, records));
    dry.body.dry = None;
    assert_eq!(
        bench.send(&dry, "anna"),
        "done",
        "neither counter nor use is consumed"
    );
    assert_eq!(bench.ask("anna", STATUS), "count");
}

#[test]
fn a_lost_list_of_the_device_makes_site_shares_stale_too() {
    let mut site = share("anna", &[STATUS]);
    site.aud = "site:north".parse().unwrap();
    let mut of_site = revocations(1, &[]);
    of_site.aud = site.aud.clone();
    let mut bench = Bench::with(std::slice::from_ref(&site));
    bench.deliver(&signed(&of_site));
    bench.deliver(&signed(&revocations(1, &[&site])));
    assert_eq!(bench.ask("anna", STATUS), "revoked");
    bench.disk.cache.remove("revocations/ups-7").unwrap();
    bench.restart();
    assert_eq!(bench.ask("anna", STATUS), "stale");
}

#[test]
fn releases_of_other_models_are_not_stored_and_the_newest_ones_are_kept() {
    let mut bench = Bench::with(&[]);
    let mut other = release(9, 5);
    other.body.model = Text::new("Smart-UPS 3000").unwrap();
    bench.deliver(&signed(&other));
    assert_eq!(bench.counted(Code::WrongDevice), 1);
    for version in 1..=70 {
        bench.deliver(&signed(&release(version, 0)));
    }
    let model = release(1, 0).body.model;
    let known = |version| bench.core.statements().release(&model, version).is_some();
    let versions: Vec<u32> = (1..=70).filter(|version| known(*version)).collect();
    assert_eq!(versions, (7..=70).collect::<Vec<_>>());
    assert_eq!(bench.disk.cache.len(), 64);
}

#[test]
fn when_a_holder_has_filled_the_log_the_owner_can_still_end_the_share() {
    let mut small = settings();
    small.log_limit = 20_000;
    let anna = share("anna", &[STATUS]);
    let bench = Bench::with(std::slice::from_ref(&anna));
    let mut bench = Bench::start(bench.disk, bench.reading, small);
    for _ in 0..100 {
        bench.ask("anna", STATUS);
    }
    assert_eq!(bench.ask("anna", STATUS), "log_full");
    let which = Value::Bytes(anna.cti.0.to_vec());
    assert_eq!(
        bench.ask_with("ole", "share.revoke", "share", which),
        "done"
    );
    assert_eq!(bench.ask("anna", STATUS), "revoked");
}

#[test]
fn a_share_that_has_ended_cannot_be_extended() {
    let anna = share("anna", &[STATUS]);
    let mut bench = Bench::with(std::slice::from_ref(&anna));
    bench.pass(30 * DAY);
    let mut longer = anna.clone();
    longer.body.version = 2;
    longer.exp = anna.exp.plus(7 * DAY);
    bench.deliver(&signed(&longer));
    assert_eq!(bench.counted(Code::BadGrant), 1);
    assert_eq!(bench.ask("anna", STATUS), "expired");
}

#[test]
fn an_older_registration_changes_nothing() {
    let mut upgraded = registration();
    upgraded.body.seq = 3;
    let mut older = registration();
    older.body.seq = 2;
    older.body.plan.name = id("basic");
    let mut bench = Bench::with(&[share("anna", &[REBOOT])]);
    bench.deliver(&signed(&upgraded));
    for _ in 0..2 {
        bench.deliver(&signed(&older));
        assert_eq!(bench.state().registration, 3);
        assert_eq!(bench.ask("anna", REBOOT), "done");
        bench.restart();
    }
}

#[test]
fn changes_on_the_device_are_in_the_log_with_their_author() {
    let anna = share("anna", &[STATUS]);
    let mut bench = Bench::with(std::slice::from_ref(&anna));
    let which = Value::Bytes(anna.cti.0.to_vec());
    bench.ask_with("ole", "share.revoke", "share", which);
    let ended = |event: &Event| match event {
        Event::Outcome(verdict) => verdict.change == Some(Change::Ended(anna.cti, anna.exp)),
        _ => false,
    };
    assert!(bench.disk.log.iter().any(|record| ended(&record.event)));
}

#[test]
fn an_interrupted_freeze_command_has_either_taken_effect_or_not() {
    let mut bench = Bench::with(&[share("anna", &[STATUS])]);
    let command = sign(&bench.command("share.freeze"), &key("ole"));
    bench.deliver(&command);
    let whole = bench.disk.log.clone();
    for kept in 0..=whole.len() {
        bench.disk.log = whole[..kept].to_vec();
        bench.restart();
        let frozen = bench.ask("anna", STATUS) == "frozen";
        assert_eq!(frozen, kept == whole.len(), "{kept} records");
    }
}
