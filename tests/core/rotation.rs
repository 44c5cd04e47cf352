//! Rotation of the issuer's keys: thresholds, chains of versions, lost keys.

use doorward_protocol::wire::*;
use doorward_testkit::*;

#[test]
fn issuers_rotate_one_version_at_a_time_with_the_thresholds_of_both() {
    let two = rotated(&issuers(), Role::Root, &["root-a", "root-b", "root-c"], 2);
    let three = rotated(&two, Role::Shares, &["shares-2"], 1);
    let mut bench = Bench::with(&[share("anna", &[STATUS])]);
    let version = |bench: &Bench| bench.core.statements().issuers().body.version;
    for not_enough in [
        vec!["root"],
        vec!["root", "root-a"],
        vec!["root-a", "root-b"],
        vec!["root", "root-a", "root-a"],
        vec!["root", "root-a", "eve"],
    ] {
        bench.deliver(&signed_by(&two, &not_enough));
        assert_eq!(version(&bench), 1, "{not_enough:?}");
    }
    bench.deliver(&signed_by(&three, &["root-a", "root-b"]));
    assert_eq!(version(&bench), 1, "not 3 before 2");
    bench.deliver(&signed_by(&two, &["root", "root-a", "root-c"]));
    assert_eq!(version(&bench), 2);
    bench.deliver(&signed_by(&issuers(), &["root"]));
    assert_eq!(version(&bench), 2, "never back");
    assert_eq!(bench.ask("anna", STATUS), "done");
    bench.deliver(&signed_by(&three, &["root-b", "root-c"]));
    assert_eq!(version(&bench), 3);
    assert_eq!(
        bench.ask("anna", STATUS),
        "silence",
        "signed by a removed key"
    );
    bench.restart();
    assert_eq!(version(&bench), 3);
    assert_eq!(bench.ask("anna", STATUS), "silence");
    bench.deliver(&sign(&share("anna", &[STATUS]), &key("shares-2")));
    assert_eq!(bench.ask("anna", STATUS), "done");
}

#[test]
fn a_device_offline_for_years_accepts_the_chain_in_one_bundle() {
    let two = rotated(&issuers(), Role::Revocations, &["revocations-2"], 1);
    let three = rotated(&two, Role::Firmware, &["fw-a", "fw-b"], 2);
    let mut bench = Bench::with(&[]);
    let chain = [signed_by(&two, &["root"]), signed_by(&three, &["root"])];
    bench.deliver(&chain.concat());
    assert_eq!(bench.core.statements().issuers().body.version, 3);
    // Firmware now needs a threshold of two keys.
    bench.deliver(&signed_by(&release(9, 5), &["fw-a"]));
    assert!(
        bench
            .core
            .statements()
            .release(&release(9, 5).body.model, 9)
            .is_none()
    );
    bench.deliver(&signed_by(&release(9, 5), &["fw-a", "fw-b"]));
    assert!(
        bench
            .core
            .statements()
            .release(&release(9, 5).body.model, 9)
            .is_some()
    );
    bench.restart();
    assert!(
        bench
            .core
            .statements()
            .release(&release(9, 5).body.model, 9)
            .is_some()
    );
}

#[test]
fn new_keys_of_a_role_restart_the_numbering_and_accepted_statements_stay() {
    let anna = share("anna", &[STATUS]);
    let mut bench = Bench::with(&[anna.clone(), share("bob", &[STATUS])]);
    bench.deliver(&signed(&revocations(900, &[&anna])));
    let two = rotated(&issuers(), Role::Revocations, &["revocations-2"], 1);
    let three = rotated(&two, Role::Registry, &["registry-2"], 1);
    bench.deliver(&signed_by(&two, &["root"]));
    bench.deliver(&signed_by(&three, &["root"]));
    bench.restart();
    assert_eq!(
        bench.ask("anna", STATUS),
        "revoked",
        "the old list is still in force"
    );
    assert_eq!(bench.ask("ole", STATUS), "done", "the old registration too");
    bench.deliver(&signed(&revocations(901, &[])));
    assert_eq!(
        bench.ask("anna", STATUS),
        "revoked",
        "a lost key restores no share"
    );
    let first = revocations(1, &[&share("bob", &[STATUS])]);
    bench.deliver(&sign(&first, &key("revocations-2")));
    assert_eq!(bench.ask("bob", STATUS), "revoked");
}

#[test]
fn adding_a_key_to_a_role_makes_no_older_list_acceptable() {
    let anna = share("anna", &[STATUS]);
    let mut older = revocations(56, &[]);
    older.iat = Timestamp(NOON - 60);
    let mut bench = Bench::with(std::slice::from_ref(&anna));
    bench.deliver(&signed(&revocations(57, &[&anna])));
    let two = rotated(
        &issuers(),
        Role::Revocations,
        &["revocations", "revocations-2"],
        1,
    );
    bench.deliver(&signed_by(&two, &["root"]));
    bench.deliver(&signed(&older));
    assert_eq!(bench.ask("anna", STATUS), "revoked");
}

#[test]
fn an_unverified_signature_keeps_no_share_valid() {
    // The thief of the old key adds an invalid signature that names the next key.
    let mut unsigned = sign(&share("anna", &[STATUS]), &key("shares-2"));
    *unsigned.last_mut().unwrap() ^= 1;
    let stolen = signed(&share("anna", &[STATUS]));
    let two = rotated(&issuers(), Role::Shares, &["shares-2"], 1);
    let mut bench = Bench::with(&[]);
    bench.deliver(&[unsigned, stolen.clone()].concat());
    assert_eq!(bench.ask("anna", STATUS), "done");
    let kept: Vec<_> = bench.disk.cache.values().cloned().collect();
    assert_eq!(kept, [stolen], "only verified signatures are stored");
    bench.deliver(&signed_by(&two, &["root"]));
    assert_eq!(bench.ask("anna", STATUS), "silence");
}

#[test]
fn a_threshold_of_two_needs_two_keys_and_a_removed_key_ends_its_shares() {
    let two = rotated(&issuers(), Role::Shares, &["a", "b"], 2);
    let three = rotated(&two, Role::Shares, &["a", "c"], 2);
    let mut bench = Bench::with(&[]);
    bench.deliver(&signed_by(&two, &["root"]));
    let anna = share("anna", &[STATUS]);
    bench.deliver(&signed_by(&anna, &["a"]));
    assert_eq!(bench.ask("anna", STATUS), "silence", "one of two");
    bench.deliver(&signed_by(&anna, &["a", "b"]));
    assert_eq!(bench.ask("anna", STATUS), "done");
    bench.deliver(&signed_by(&three, &["root"]));
    assert_eq!(bench.ask("anna", STATUS), "silence", "b has left");
}

#[test]
fn times_in_the_future_signed_by_a_lost_key_are_discarded_with_the_key() {
    let far = Timestamp(NOON + 70 * 365 * DAY);
    let anna = share("anna", &[STATUS]);
    for role in [Role::Revocations, Role::Registry, Role::Root] {
        let mut bench = Bench::with(std::slice::from_ref(&anna));
        let mut version = issuers();
        match role {
            Role::Registry => {
                let mut later = registration();
                (later.iat, later.body.seq) = (far, 9);
                bench.deliver(&signed(&later));
            }
            Role::Revocations => {
                let mut later = revocations(9, &[]);
                later.iat = far;
                bench.deliver(&signed(&later));
            }
            _ => {
                version = rotated(&version, Role::Firmware, &["fw"], 1);
                version.iat = far;
                bench.deliver(&signed_by(&version, &["root"]));
            }
        }
        assert_eq!(bench.ask("anna", STATUS), "late", "{role:?}");
        bench.restart();
        assert_eq!(bench.ask("ole", STATUS), "late", "{role:?}, on disk");
        // The root keys remove the key, and with it the time that it has signed.
        let next = match role {
            Role::Root => rotated(&version, Role::Firmware, &["fw-2"], 1),
            role => rotated(&version, role, &["new"], 1),
        };
        bench.deliver(&signed_by(&next, &["root"]));
        assert!(
            bench.refreshed > 0,
            "deleted statements are requested again"
        );
        bench.deliver(&signed(&anna));
        assert_eq!(bench.ask("anna", STATUS), "done", "{role:?} discarded");
        bench.restart();
        assert_eq!(bench.ask("anna", STATUS), "done", "{role:?}, on disk");
        // A list of the new key is accepted, although its time is earlier.
        if role == Role::Revocations {
            bench.deliver(&sign(&revocations(1, &[&anna]), &key("new")));
            assert_eq!(bench.ask("anna", STATUS), "revoked");
        }
        if role == Role::Registry {
            let mut handover = registration();
            (handover.iat, handover.body.since) = (Timestamp(NOON), Timestamp(NOON));
            handover.sub = id("nora");
            handover.cnf = Confirmation(key("nora").public());
            bench.deliver(&sign(&handover, &key("new")));
            assert_eq!(bench.ask("nora", STATUS), "done");
        }
    }
}

#[test]
fn a_discarded_list_from_the_future_does_not_make_shares_fresh() {
    let anna = share("anna", &["device.reboot"]);
    let mut bench = Bench::with(std::slice::from_ref(&anna));
    let mut later = revocations(9, &[]);
    later.iat = Timestamp(NOON + 70 * 365 * DAY);
    bench.deliver(&signed(&later));
    let next = rotated(&issuers(), Role::Revocations, &["new"], 1);
    bench.deliver(&signed_by(&next, &["root"]));
    bench.restart();
    assert_eq!(bench.ask("anna", "device.reboot"), "done");
    bench.pass(8 * DAY);
    assert_eq!(bench.ask("anna", "device.reboot"), "stale");
}

#[test]
fn a_late_rotation_does_not_set_the_time_back() {
    let mut anna = share("anna", &[STATUS]);
    anna.exp = Timestamp(NOON + 10);
    let mut bench = Bench::with(std::slice::from_ref(&anna));
    let mut list = revocations(1, &[]);
    list.iat = Timestamp(NOON + 20);
    bench.deliver(&signed(&list));
    // The old keys stay in their roles, so the times they signed stay valid.
    let next = rotated(&issuers(), Role::Revocations, &["revocations", "new"], 1);
    bench.deliver(&signed_by(&next, &["root"]));
    bench.restart();
    assert_eq!(bench.ask("anna", STATUS), "silence", "the share has ended");
}
