//! Replacement of statements, with the boundary of every comparison.

use doorward_protocol::event_log::record::Event;
use doorward_protocol::gate::{Code, MAX_RELEASES, Origin};
use doorward_protocol::wire::*;
use doorward_testkit::*;

/// The same bytes with an invalid signature.
fn forged(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    bytes
}

#[test]
fn a_forged_successor_of_a_stored_statement_is_refused() {
    let anna = share("anna", &[STATUS]);
    let mut bench = Bench::with(std::slice::from_ref(&anna));
    bench.deliver(&signed(&revocations(1, &[])));
    let mut registration = registration();
    (registration.body.seq, registration.body.demo) = (2, true);
    bench.deliver(&forged(&signed(&revocations(2, &[&anna]))));
    bench.deliver(&forged(&signed(&registration)));
    let mut longer = anna.clone();
    longer.body.version = 2;
    longer.exp = longer.exp.plus(DAY);
    bench.deliver(&forged(&signed(&longer)));
    assert_eq!(bench.counted(Code::BadSignature), 3);
    assert_eq!(bench.ask("anna", STATUS), "done");
    assert_eq!(bench.core.statements().share(&anna.cti), Some(&anna));
}

#[test]
fn an_extension_leaves_the_other_shares_of_its_holder_unchanged() {
    let (status, reboot) = (share("anna", &[STATUS]), share("anna", &[REBOOT]));
    let mut bench = Bench::with(&[status.clone(), reboot]);
    let mut longer = status;
    longer.body.version = 2;
    longer.exp = longer.exp.plus(DAY);
    bench.deliver(&signed(&longer));
    assert_eq!(bench.ask("anna", STATUS), "done");
    assert_eq!(bench.ask("anna", REBOOT), "done");
}

#[test]
fn another_account_or_another_key_of_the_owner_is_another_owner() {
    let mut account = registration();
    (account.body.seq, account.iat) = (2, Timestamp(NOON));
    let mut key_alone = account.clone();
    account.sub = id("nora");
    key_alone.cnf = Confirmation(key("nora").public());
    for changed in [account, key_alone] {
        let mut bench = Bench::with(&[share("anna", &[STATUS])]);
        bench.deliver(&signed(&changed));
        assert_eq!(bench.counted(Code::BadGrant), 1);
        assert_eq!(bench.ask("ole", STATUS), "done");
    }
}

#[test]
fn adding_a_key_to_a_role_ends_no_share() {
    let mut bench = Bench::with(&[share("anna", &[STATUS])]);
    let next = rotated(&issuers(), Role::Shares, &["shares", "shares-2"], 1);
    bench.deliver(&signed_by(&next, &["root"]));
    assert_eq!(bench.core.statements().issuers().body.version, 2);
    assert_eq!(bench.ask("anna", STATUS), "done");
}

#[test]
fn shares_that_end_with_a_key_are_deleted_from_the_cache_too() {
    let mut bench = Bench::with(&[share("anna", &[STATUS])]);
    bench.deliver(&signed(&release(9, 5)));
    assert_eq!(bench.disk.cache.len(), 2);
    let two = rotated(&issuers(), Role::Shares, &["new"], 1);
    let three = rotated(&two, Role::Firmware, &["fw"], 1);
    bench.deliver(&signed_by(&two, &["root"]));
    assert_eq!(bench.disk.cache.len(), 1);
    bench.deliver(&signed_by(&three, &["root"]));
    assert_eq!(bench.disk.cache.len(), 0);
}

#[test]
fn new_issuers_are_stored_with_each_signature_once() {
    let two = rotated(&issuers(), Role::Root, &["root", "root-a", "root-b"], 2);
    let mut bench = Bench::with(&[]);
    bench.deliver(&signed_by(&two, &["root", "root-a", "root-a", "root-b"]));
    let kept = bench.disk.issuers.clone().unwrap();
    let bundle = Bundle::parse(&kept).unwrap();
    let signers: Vec<_> = bundle
        .statements
        .iter()
        .map(|s| s.as_ref().unwrap().signer)
        .collect();
    let names = ["root", "root-a", "root-b"].map(|name| key(name).public());
    assert_eq!(signers.len(), 3);
    assert!(names.iter().all(|name| signers.contains(name)));
}

#[test]
fn a_new_key_may_sign_for_the_same_second_as_the_old_one() {
    let anna = share("anna", &[STATUS]);
    let mut bench = Bench::with(std::slice::from_ref(&anna));
    bench.deliver(&signed(&revocations(5, &[])));
    let next = rotated(&issuers(), Role::Revocations, &["revocations", "new"], 1);
    bench.deliver(&signed_by(&next, &["root"]));
    bench.deliver(&sign(&revocations(1, &[&anna]), &key("new")));
    assert_eq!(bench.ask("anna", STATUS), "revoked");
}

#[test]
fn a_repeated_release_changes_nothing_and_the_oldest_ones_are_evicted() {
    let mut bench = Bench::with(&[]);
    bench.deliver(&signed(&release(9, 5)));
    bench.deliver(&signed(&release(9, 5)));
    assert_eq!(bench.counted(Code::BadImage), 0);
    // Before its registration a device stores releases of every model.
    let mut bench = Bench::provisioned();
    for version in 10..10 + MAX_RELEASES as u32 {
        bench.deliver(&signed(&release(version, 5)));
    }
    let mut other = release(10, 5);
    other.body.model = Text::new("Smart-UPS 3000").unwrap();
    for refused in [release(9, 5), other] {
        bench.deliver(&signed(&refused));
        let held = bench
            .core
            .statements()
            .release(&refused.body.model, refused.body.version);
        assert!(held.is_none());
    }
    assert_eq!(bench.counted(Code::SlotsFull), 2);
    bench.deliver(&signed(&release(100, 5)));
    let model = release(100, 5).body.model;
    assert!(bench.core.statements().release(&model, 100).is_some());
    assert!(bench.core.statements().release(&model, 10).is_none());
}

#[test]
fn firmware_may_be_installed_on_exactly_the_version_that_it_needs() {
    let mut bench = Bench::with(&[share("anna", &["firmware.install"])]);
    bench.deliver(&signed(&release(9, 7)));
    let nine = Value::Int(9);
    assert_eq!(
        bench.ask_with("anna", "firmware.install", "version", nine),
        "done"
    );
}

#[test]
fn the_log_contains_the_audience_and_the_group_of_a_statement() {
    let mut site = share("anna", &[STATUS]);
    site.aud = Audience::Site(id("north"));
    let bench = Bench::with(&[site, group_share(&[STATUS])]);
    let applied: Vec<_> = bench
        .disk
        .log
        .iter()
        .filter_map(|record| match &record.event {
            Event::Statement(applied) => Some((applied.audience.clone(), applied.group)),
            _ => None,
        })
        .collect();
    assert_eq!(
        applied,
        [
            (Some(device()), None),
            (Some(Audience::Site(id("north"))), None),
            (Some(device()), Some(key("tzbv").public())),
        ]
    );
}

#[test]
fn commands_exactly_at_the_age_limit_and_at_the_clock_tolerance_are_accepted() {
    let mut strict = registration();
    strict.body.seq = 2;
    strict.body.ages = Some(Map::new([(Class::Read, 30)]));
    let mut bench = Bench::with(&[share("anna", &[STATUS])]);
    bench.deliver(&signed(&strict));
    let command = bench.command(STATUS);
    bench.pass(30);
    assert_eq!(bench.send(&command, "anna"), "done");
    let mut early = bench.command(STATUS);
    early.iat = bench.reading.system.plus(120);
    early.exp = early.iat.plus(60);
    assert_eq!(bench.send(&early, "anna"), "done");
}

#[test]
fn when_the_log_is_full_for_holders_the_owner_can_still_read() {
    let first = Bench::with(&[share("anna", &[STATUS])]);
    let small = doorward::core::CoreConfig {
        log_limit: 20_000,
        ..settings()
    };
    let mut bench = Bench::start(first.disk, first.reading, small);
    while bench.ask("anna", STATUS) == "done" {}
    assert_eq!(bench.ask("anna", STATUS), "log_full");
    assert_eq!(bench.ask("ole", STATUS), "done");
    assert_eq!(Origin::Cloud.name(), "cloud");
    assert_eq!(Origin::Local.name(), "local");
}
