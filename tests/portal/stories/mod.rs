//! The sharing stories of the three model products from beginning to end, with the real service,
//! broker, mail server and devices.

use doorward_testkit::site;

mod environment;

use environment::{Environment, share_id};
use serde_json::{Value, json};

const DAY: u64 = 86400;

/// APC: an owner shares a UPS by e-mail and code.
#[test]
fn s02_s16_s20_s52_five_people_share_a_ups_by_mail_and_the_plan_falls_and_rises() {
    let mut env = Environment::new();
    env.device("ups-7", None);
    let allowed = ["status.read", "device.reboot"];
    let mut shares = Vec::new();
    for name in ["anna", "ben", "cleo", "dora", "emil"] {
        let made = env.share(
            &["ups-7"],
            &format!("{name}@example.org"),
            &allowed,
            30 * DAY,
        );
        assert_eq!(made["invitation"]["mailed"], true);
        let share = share_id(&made, "ups-7");
        assert_eq!(env.status(&share), "pending");
        assert_eq!(env.send("ole", "ups-7", "status.read"), "done");
        env.accept_email(name);
        env.wait_for_status(&share, "active_on_device");
        env.wait_for_outcome(name, "ups-7", "device.reboot", "done");
        shares.push(share);
    }
    let (subject, _) = env.email("anna@example.org");
    assert_eq!(subject, "ole shares devices with you");
    let made = env.share(&["ups-7"], "fred@example.org", &allowed, 30 * DAY);
    assert_eq!(made["each"][0]["refused"]["code"], "slots_full");
    // After a downgrade the operations outside the plan are suspended; an upgrade restores them without
    // a new share.
    env.plan("ups-7", "basic");
    env.wait_for_outcome("anna", "ups-7", "device.reboot", "plan");
    assert_eq!(env.send("anna", "ups-7", "status.read"), "done");
    env.wait_for_status(&shares[0], "suspended_by_plan");
    env.plan("ups-7", "advanced");
    env.wait_for_outcome("anna", "ups-7", "device.reboot", "done");
    env.wait_for_status(&shares[0], "active_on_device");
    // One share is cancelled; after the confirmation of the device there is a slot for the sixth person.
    let ending = json!({ "shares": [shares[4]] });
    env.request("ole", "POST", "/v1/cancellations", &ending)
        .unwrap();
    env.wait_for_status(&shares[4], "cancelled");
    assert_eq!(env.send("emil", "ups-7", "status.read"), "revoked");
    env.share(&["ups-7"], "fred@example.org", &allowed, 30 * DAY);
    env.accept_email("fred");
    env.wait_for_outcome("fred", "ups-7", "status.read", "done");
    // A recipient gives up a share; the others are not affected.
    let path = format!("/v1/shares/{}/pass", shares[1]);
    env.request("ben", "DELETE", &path, &Value::Null).unwrap();
    env.wait_for_outcome("ben", "ups-7", "status.read", "revoked");
    assert_eq!(env.status(&shares[1]), "relinquished");
    assert_eq!(env.send("anna", "ups-7", "status.read"), "done");
    let kinds = env.get("ole", "/v1/alerts");
    assert!(
        kinds
            .as_array()
            .unwrap()
            .iter()
            .any(|alert| alert["kind"] == "new_share")
    );
}

/// Zaptec: an installer's team requests access to a site by a link.
#[test]
fn s30_s31_s36_a_team_gets_access_by_its_link_and_later_chargers_and_members_follow() {
    let mut env = Environment::new();
    env.device("ev-1", Some("depot"));
    env.device("ev-2", Some("depot"));
    for name in ["tess", "anna", "ben"] {
        env.account(
            name,
            if name == "tess" {
                "group_admin"
            } else {
                "user"
            },
        );
    }
    env.doorkey(&["key", "new", "tzbv.key"]);
    let key = std::fs::read_to_string(env.path("tzbv.pub")).unwrap();
    let group = json!({
        "group": "tzbv", "lookup_key": "TZBV", "name": "Test Zonnepanelen BV",
        "key": key.trim(), "hosts": ["portal.tzbv.example"],
    });
    env.request("tess", "POST", "/v1/groups", &group).unwrap();
    let roster = |env: &Environment, number: &str, members: &[&str]| {
        let members: Vec<String> = members
            .iter()
            .map(|name| format!("{name}={name}.pub"))
            .collect();
        let mut args = vec![
            "group", "members", "tzbv", "--key", "tzbv.key", "--number", number,
        ];
        args.extend(["--out", "roster.cwt"]);
        args.extend(members.iter().map(String::as_str));
        env.doorkey(&args);
        let bytes = std::fs::read(env.path("roster.cwt")).unwrap();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        env.request("tess", "POST", "/v1/rosters", &json!({ "roster": hex }))
            .unwrap();
    };
    roster(&env, "1", &["anna"]);
    let page = env.page("/access/request/TZBV?lang=fr&installationId=depot");
    assert!(
        page.contains("Autoriser") && page.contains("Test Zonnepanelen BV"),
        "{page}"
    );
    assert!(page.contains("--site depot"));
    let evil = env.page("/access/request/TZBV?returnUrl=https://evil.example/");
    assert!(evil.starts_with("HTTP/1.1 400"), "{evil}");
    assert!(env.page("/access/request/NONE").starts_with("HTTP/1.1 404"));
    let listed = env.doorkey(&[
        "access",
        "TZBV",
        "--account",
        "ole",
        "--key",
        "ole.key",
        "--json",
    ]);
    assert_eq!(listed["sites"], json!(["depot"]));
    let decided = env.doorkey(&[
        "access",
        "TZBV",
        "--json",
        "--account",
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
        env.wait_for_outcome("anna", charger, "device.reboot", "done");
    }
    env.device("ev-3", Some("depot"));
    env.wait_for_outcome("anna", "ev-3", "device.reboot", "done");
    assert_ne!(env.send("ben", "ev-3", "device.reboot"), "done");
    roster(&env, "2", &["ben"]);
    env.wait_for_outcome("ben", "ev-1", "device.reboot", "done");
    // The device does not know her any more, so it does not answer.
    let answer = env.send("anna", "ev-1", "device.reboot");
    assert_eq!(answer, "silence");
    let seen = env.get("ben", "/v1/sites/depot/groups");
    assert_eq!(seen[0]["lookup_key"], "TZBV");
    assert_eq!(
        env.request("anna", "GET", "/v1/sites/depot/groups", &Value::Null),
        Err("unknown".into())
    );
}

/// Milesight: several devices are shared at once, for a time and with chosen permissions.
#[test]
fn s46_s54_s60_s61_several_gateways_are_shared_extended_added_to_and_ended() {
    let mut env = Environment::new();
    for name in ["gw-1", "gw-2", "gw-3", "gw-4"] {
        env.device(name, None);
    }
    let made = env.share(
        &["gw-1", "gw-2", "gw-3", "no-such"],
        "maya@example.org",
        &["view"],
        3 * DAY,
    );
    assert_eq!(made["each"][3]["refused"]["code"], "unknown");
    env.accept_email("maya");
    let first = share_id(&made, "gw-1");
    for gateway in ["gw-1", "gw-2", "gw-3"] {
        env.wait_for_status(&share_id(&made, gateway), "active_on_device");
        env.wait_for_outcome("maya", gateway, "status.read", "done");
    }
    assert_eq!(env.send("maya", "gw-1", "device.reboot"), "not_granted");
    // The service collects the log of a device whose owner allows it, and evaluates it.
    let key = std::fs::read_to_string(env.path("collector.pub")).unwrap();
    let body = json!({
        "targets": ["gw-1"], "permissions": ["history.acknowledge"], "seconds": DAY,
        "with": { "account": { "account": "collector", "key": key.trim() } },
    });
    env.request("ole", "POST", "/v1/shares", &body).unwrap();
    site::wait_until("the log shows a use by maya", || {
        let alerts = env.get("ole", "/v1/alerts");
        let review = env.get("ole", "/v1/review");
        let mut review = review.as_array().unwrap().iter();
        let used =
            review.any(|line| line["share"]["id"] == first && line["share"]["used"].is_u64());
        let mut alerts = alerts.as_array().unwrap().iter();
        used && alerts.any(|alert| {
            alert["kind"] == "first_use" && alert["words"].as_str().unwrap().starts_with("maya")
        })
    });
    let ends = |share: &str| {
        let listed = env.get("ole", "/v1/shares");
        let mut listed = listed.as_array().unwrap().iter();
        listed.find(|s| s["id"] == share).unwrap()["ends"]
            .as_u64()
            .unwrap()
    };
    let before = ends(&first);
    let path = format!("/v1/shares/{first}/extension");
    env.request("ole", "POST", &path, &json!({ "seconds": 7 * DAY }))
        .unwrap();
    assert_eq!(ends(&first), before + 7 * DAY);
    env.wait_for_status(&first, "active_on_device");
    let path = format!("/v1/shares/{first}/devices");
    let added = env
        .request("ole", "POST", &path, &json!({ "target": "gw-4" }))
        .unwrap();
    let added = added["id"].as_str().unwrap();
    assert_eq!(ends(added), before + 7 * DAY, "the same end");
    env.wait_for_outcome("maya", "gw-4", "status.read", "done");
    let with_me = |env: &Environment| {
        env.get("maya", "/v1/shares/with-me")
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(with_me(&env), 4);
    let some = json!({ "shares": [share_id(&made, "gw-2")] });
    env.request("ole", "POST", "/v1/cancellations", &some)
        .unwrap();
    env.wait_for_outcome("maya", "gw-2", "status.read", "revoked");
    assert_eq!(env.send("maya", "gw-1", "status.read"), "done");
    assert_eq!(with_me(&env), 3);
    let rest = json!({ "shares": [first, share_id(&made, "gw-3"), added] });
    let lists = env
        .request("ole", "POST", "/v1/cancellations", &rest)
        .unwrap();
    assert_eq!(
        lists.as_array().unwrap().len(),
        3,
        "one result for each device"
    );
    for gateway in ["gw-1", "gw-3", "gw-4"] {
        env.wait_for_outcome("maya", gateway, "status.read", "revoked");
    }
    assert_eq!(with_me(&env), 0);
    for share in [&first, &share_id(&made, "gw-2"), &share_id(&made, "gw-3")] {
        env.wait_for_status(share, "cancelled");
    }
}
