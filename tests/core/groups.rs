//! Shares for groups and of sites: rosters, members, later devices.

use doorward_protocol::event_log::record::Event;
use doorward_protocol::gate::Code;
use doorward_protocol::wire::*;
use doorward_testkit::*;

#[test]
fn s23_s25_n29_a_group_acts_through_its_members_and_the_log_names_person_group_and_share() {
    let mut bench = Bench::with(&[group_share(&[STATUS])]);
    bench.deliver(&roster(1, &["anna"]));
    assert_eq!(bench.ask("anna", STATUS), "done");
    assert_eq!(bench.ask("bob", STATUS), "silence", "not on the roster");
    assert_eq!(
        bench.ask("tzbv", STATUS),
        "not_member",
        "the group's own key identifies no person"
    );
    let share = group_share(&[STATUS]);
    let token = signed(&share);
    let claims = hash(Envelope::parse(&token).unwrap().payload());
    let mut events = bench.disk.log.iter().map(|record| &record.event);
    assert!(
        events.any(|event| matches!(event, Event::Statement(statement)
            if statement.hash == claims && statement.group == Some(key("tzbv").public()))),
        "the record of the share names the group"
    );
    assert!(
        events.any(|event| matches!(event, Event::Intent(intent)
            if intent.asked.person == id("anna") && intent.share == Some(share.cti))),
        "the record of the command names the person and the share"
    );
}

#[test]
fn a_roster_that_arrived_before_its_share_is_requested_again() {
    let mut bench = Bench::with(&[share("anna", &[STATUS])]);
    bench.deliver(&roster(1, &["bob"]));
    assert_eq!(
        (bench.counted(Code::UnknownIssuer), bench.refreshed),
        (1, 0)
    );
    bench.deliver(&signed(&group_share(&[STATUS])));
    assert_eq!(bench.refreshed, 1);
    bench.deliver(&roster(1, &["bob"]));
    assert_eq!(bench.ask("bob", STATUS), "done");
    bench.deliver(&signed(&share("carl", &[STATUS])));
    assert_eq!(bench.refreshed, 1, "nothing is missing any more");
}

#[test]
fn s26_later_members_have_access_removed_ones_do_not_and_an_older_roster_is_refused() {
    let mut bench = Bench::with(&[group_share(&[STATUS])]);
    bench.deliver(&roster(1, &["anna"]));
    bench.deliver(&roster(3, &["bob"]));
    assert_eq!(bench.ask("bob", STATUS), "done", "joined later");
    assert_eq!(bench.ask("anna", STATUS), "silence", "removed");
    bench.deliver(&roster(2, &["anna", "bob"]));
    assert_eq!(bench.ask("anna", STATUS), "silence", "an older roster");
    bench.restart();
    assert_eq!(bench.ask("bob", STATUS), "done");
    bench.deliver(&roster(2, &["anna", "bob"]));
    assert_eq!(bench.ask("anna", STATUS), "silence", "after a restart too");
    bench.deliver(&sign(
        &Envelope::parse(&roster(4, &["eve"]))
            .unwrap()
            .claims::<Roster>()
            .unwrap(),
        &key("anna"),
    ));
    assert_eq!(
        bench.ask("eve", STATUS),
        "silence",
        "signed by a member, not the group"
    );
    let mut list = revocations(1, &[]);
    bench.pass(10 * DAY);
    list.iat = bench.reading.system;
    bench.deliver(&signed(&list));
    assert_eq!(bench.ask("bob", STATUS), "stale", "the roster has ended");
}

#[test]
fn s34_s35_s36_s37_a_site_share_covers_every_device_of_the_site_also_later_ones() {
    let mut site = share("anna", &["history.read", "config.write"]);
    site.aud = "site:north".parse().unwrap();
    let mut bench = Bench::provisioned();
    let mut elsewhere = registration();
    elsewhere.body.site = Some(id("south"));
    bench.deliver(&signed(&elsewhere));
    bench.deliver(&signed(&site));
    assert_eq!(bench.ask("anna", "history.read"), "silence", "another site");
    let mut joined = registration();
    joined.body.seq = 2;
    bench.deliver(&signed(&joined));
    bench.deliver(&signed(&site));
    assert_eq!(bench.ask("anna", "history.read"), "done");
    assert_eq!(bench.ask("anna", "config.write"), "done");
}

#[test]
fn a_revoked_member_has_no_access_until_a_roster_issued_afterwards() {
    for by_key in [true, false] {
        let mut bench = Bench::with(&[group_share(&[STATUS])]);
        bench.deliver(&roster(1, &["anna", "bob"]));
        let mut list = revocations(1, &[]);
        match by_key {
            true => list.body.holders = Map::new([(key("anna").public(), Timestamp(NOON))]),
            false => list.body.subjects = Map::new([(id("anna"), Timestamp(NOON))]),
        }
        bench.deliver(&signed(&list));
        assert_eq!(bench.ask("anna", STATUS), "revoked", "by key: {by_key}");
        assert_eq!(bench.ask("bob", STATUS), "done");
        let mut newer: Roster = Envelope::parse(&roster(2, &["anna"]))
            .unwrap()
            .claims()
            .unwrap();
        newer.iat = Timestamp(NOON);
        bench.deliver(&sign(&newer, &key("tzbv")));
        assert_eq!(bench.ask("anna", STATUS), "done");
    }
    let mut bench = Bench::with(&[group_share(&[STATUS])]);
    bench.deliver(&roster(1, &["anna"]));
    let mut list = revocations(1, &[]);
    list.body.subjects = Map::new([(id("TZBV"), Timestamp(NOON))]);
    bench.deliver(&signed(&list));
    assert_eq!(bench.ask("anna", STATUS), "revoked", "the whole group");
}
