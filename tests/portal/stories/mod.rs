//! The stories of the three products that are the models, from the first to the last page: the
//! real service, broker, mail server and devices.

use doorward_testkit::site;

mod environment;

use environment::{Town, share_id};
use serde_json::{Value, json};

const DAY: u64 = 86400;

/// APC: an owner shares a UPS by mail and code.
#[test]
fn s02_s16_s20_s52_five_people_share_a_ups_by_mail_and_the_plan_falls_and_rises() {
    let mut town = Town::new();
    town.device("ups-7", None);
    let allowed = ["status.read", "device.reboot"];
    let mut shares = Vec::new();
    for name in ["anna", "ben", "cleo", "dora", "emil"] {
        let made = town.share(
            &["ups-7"],
            &format!("{name}@example.org"),
            &allowed,
            30 * DAY,
        );
        assert_eq!(made["invitation"]["mailed"], true);
        let share = share_id(&made, "ups-7");
        assert_eq!(town.status(&share), "pending");
        assert_eq!(town.send("ole", "ups-7", "status.read"), "done");
        town.accept_letter(name);
        town.has_status(&share, "active_on_device");
        town.comes_to(name, "ups-7", "device.reboot", "done");
        shares.push(share);
    }
    let (subject, _) = town.letter("anna@example.org");
    assert_eq!(subject, "ole shares devices with you");
    let made = town.share(&["ups-7"], "fred@example.org", &allowed, 30 * DAY);
    assert_eq!(made["each"][0]["refused"]["code"], "slots_full");
    // The plan falls: what it lacks rests, and is back with the next plan, without sharing anew.
    town.plan("ups-7", "basic");
    town.comes_to("anna", "ups-7", "device.reboot", "plan");
    assert_eq!(town.send("anna", "ups-7", "status.read"), "done");
    town.has_status(&shares[0], "suspended_by_plan");
    town.plan("ups-7", "advanced");
    town.comes_to("anna", "ups-7", "device.reboot", "done");
    town.has_status(&shares[0], "active_on_device");
    // One is cancelled; when the device has said so, there is a place for the sixth.
    let ending = json!({ "shares": [shares[4]] });
    town.ask("ole", "POST", "/v1/cancellations", &ending)
        .unwrap();
    town.has_status(&shares[4], "cancelled");
    assert_eq!(town.send("emil", "ups-7", "status.read"), "revoked");
    town.share(&["ups-7"], "fred@example.org", &allowed, 30 * DAY);
    town.accept_letter("fred");
    town.comes_to("fred", "ups-7", "status.read", "done");
    // A recipient gives it up; nobody else notices.
    let path = format!("/v1/shares/{}/pass", shares[1]);
    town.ask("ben", "DELETE", &path, &Value::Null).unwrap();
    town.comes_to("ben", "ups-7", "status.read", "revoked");
    assert_eq!(town.status(&shares[1]), "relinquished");
    assert_eq!(town.send("anna", "ups-7", "status.read"), "done");
    let kinds = town.get("ole", "/v1/alerts");
    assert!(
        kinds
            .as_array()
            .unwrap()
            .iter()
            .any(|alert| alert["kind"] == "new_share")
    );
}

/// Zaptec: an installer's team asks for a whole site by a link.
#[test]
fn s30_s31_s36_a_team_is_let_in_by_its_link_and_later_chargers_and_members_follow() {
    let mut town = Town::new();
    town.device("ev-1", Some("depot"));
    town.device("ev-2", Some("depot"));
    for name in ["tess", "anna", "ben"] {
        town.account(
            name,
            if name == "tess" {
                "group_admin"
            } else {
                "user"
            },
        );
    }
    town.doorkey(&["key", "new", "tzbv.key"]);
    let key = std::fs::read_to_string(town.path("tzbv.pub")).unwrap();
    let group = json!({
        "group": "tzbv", "lookup_key": "TZBV", "name": "Test Zonnepanelen BV",
        "key": key.trim(), "hosts": ["portal.tzbv.example"],
    });
    town.ask("tess", "POST", "/v1/groups", &group).unwrap();
    let roster = |town: &Town, number: &str, members: &[&str]| {
        let members: Vec<String> = members
            .iter()
            .map(|name| format!("{name}={name}.pub"))
            .collect();
        let mut args = vec![
            "group", "roster", "tzbv", "--key", "tzbv.key", "--number", number,
        ];
        args.extend(["--out", "roster.cwt"]);
        args.extend(members.iter().map(String::as_str));
        town.doorkey(&args);
        let bytes = std::fs::read(town.path("roster.cwt")).unwrap();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        town.ask("tess", "POST", "/v1/rosters", &json!({ "roster": hex }))
            .unwrap();
    };
    roster(&town, "1", &["anna"]);
    let page = town.page("/access/request/TZBV?lang=fr&installationId=depot");
    assert!(
        page.contains("Autoriser") && page.contains("Test Zonnepanelen BV"),
        "{page}"
    );
    assert!(page.contains("--site depot"));
    let evil = town.page("/access/request/TZBV?returnUrl=https://evil.example/");
    assert!(evil.starts_with("HTTP/1.1 400"), "{evil}");
    assert!(
        town.page("/access/request/NONE")
            .starts_with("HTTP/1.1 404")
    );
    let listed = town.doorkey(&[
        "--json", "access", "TZBV", "--as", "ole", "--key", "ole.key",
    ]);
    assert_eq!(listed["sites"], json!(["depot"]));
    let decided = town.doorkey(&[
        "--json",
        "access",
        "TZBV",
        "--as",
        "ole",
        "--key",
        "ole.key",
        "--site",
        "depot",
        "--approve",
        "--return-url",
        "https://portal.tzbv.example/done",
    ]);
    assert_eq!(
        decided["return_to"],
        "https://portal.tzbv.example/done?success=true&installationId=depot"
    );
    for charger in ["ev-1", "ev-2"] {
        town.comes_to("anna", charger, "device.reboot", "done");
    }
    town.device("ev-3", Some("depot"));
    town.comes_to("anna", "ev-3", "device.reboot", "done");
    assert_ne!(town.send("ben", "ev-3", "device.reboot"), "done");
    roster(&town, "2", &["ben"]);
    town.comes_to("ben", "ev-1", "device.reboot", "done");
    // Nobody knows her there any longer, so nobody answers her.
    let answer = town.send("anna", "ev-1", "device.reboot");
    assert_eq!(answer, "silence");
    let seen = town.get("ben", "/v1/sites/depot/groups");
    assert_eq!(seen[0]["lookup_key"], "TZBV");
    assert_eq!(
        town.ask("anna", "GET", "/v1/sites/depot/groups", &Value::Null),
        Err("unknown".into())
    );
}

/// Milesight: several devices are shared at once, for a time and with chosen permissions.
#[test]
fn s46_s54_s60_s61_several_gateways_are_shared_extended_added_to_and_ended() {
    let mut town = Town::new();
    for name in ["gw-1", "gw-2", "gw-3", "gw-4"] {
        town.device(name, None);
    }
    let made = town.share(
        &["gw-1", "gw-2", "gw-3", "no-such"],
        "maya@example.org",
        &["view"],
        3 * DAY,
    );
    assert_eq!(made["each"][3]["refused"]["code"], "unknown");
    town.accept_letter("maya");
    let first = share_id(&made, "gw-1");
    for gateway in ["gw-1", "gw-2", "gw-3"] {
        town.has_status(&share_id(&made, gateway), "active_on_device");
        town.comes_to("maya", gateway, "status.read", "done");
    }
    assert_eq!(town.send("maya", "gw-1", "device.reboot"), "not_granted");
    // The service keeps the log of a device whose owner lets it, and tells what is in it.
    let key = std::fs::read_to_string(town.path("collector.pub")).unwrap();
    let body = json!({
        "targets": ["gw-1"], "permissions": ["history.acknowledge"], "seconds": DAY,
        "with": { "account": { "account": "collector", "key": key.trim() } },
    });
    town.ask("ole", "POST", "/v1/shares", &body).unwrap();
    site::wait_until("the log has told of maya", || {
        let alerts = town.get("ole", "/v1/alerts");
        let review = town.get("ole", "/v1/review");
        let mut review = review.as_array().unwrap().iter();
        let used =
            review.any(|line| line["share"]["id"] == first && line["share"]["used"].is_u64());
        let mut alerts = alerts.as_array().unwrap().iter();
        used && alerts.any(|alert| {
            alert["kind"] == "first_use" && alert["words"].as_str().unwrap().starts_with("maya")
        })
    });
    let ends = |share: &str| {
        let listed = town.get("ole", "/v1/shares");
        let mut listed = listed.as_array().unwrap().iter();
        listed.find(|s| s["id"] == share).unwrap()["ends"]
            .as_u64()
            .unwrap()
    };
    let before = ends(&first);
    let path = format!("/v1/shares/{first}/extension");
    town.ask("ole", "POST", &path, &json!({ "seconds": 7 * DAY }))
        .unwrap();
    assert_eq!(ends(&first), before + 7 * DAY);
    town.has_status(&first, "active_on_device");
    let path = format!("/v1/shares/{first}/devices");
    let added = town
        .ask("ole", "POST", &path, &json!({ "target": "gw-4" }))
        .unwrap();
    let added = added["id"].as_str().unwrap();
    assert_eq!(ends(added), before + 7 * DAY, "the same end");
    town.comes_to("maya", "gw-4", "status.read", "done");
    let with_me = |town: &Town| {
        town.get("maya", "/v1/shares/with-me")
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(with_me(&town), 4);
    let some = json!({ "shares": [share_id(&made, "gw-2")] });
    town.ask("ole", "POST", "/v1/cancellations", &some).unwrap();
    town.comes_to("maya", "gw-2", "status.read", "revoked");
    assert_eq!(town.send("maya", "gw-1", "status.read"), "done");
    assert_eq!(with_me(&town), 3);
    let rest = json!({ "shares": [first, share_id(&made, "gw-3"), added] });
    let lists = town.ask("ole", "POST", "/v1/cancellations", &rest).unwrap();
    assert_eq!(
        lists.as_array().unwrap().len(),
        3,
        "one result for each device"
    );
    for gateway in ["gw-1", "gw-3", "gw-4"] {
        town.comes_to("maya", gateway, "status.read", "revoked");
    }
    assert_eq!(with_me(&town), 0);
    for share in [&first, &share_id(&made, "gw-2"), &share_id(&made, "gw-3")] {
        town.has_status(share, "cancelled");
    }
}
