//! Every route with every kind of sender.

use std::collections::BTreeSet;

use doorkey::http::description;
use serde_json::{Value, json};

use super::server::{ApiServer, key};

/// Senders: no session, the owner, a recipient, a stranger with a device of her own, an operator.
const SENDERS: [Option<&str>; 5] = [None, Some("ole"), Some("anna"), Some("eve"), Some("otto")];

type Row = (&'static str, &'static str, String, Option<Value>, [u16; 5]);

/// Method and route as described, request path, body, and the status for each of [`SENDERS`].
/// Destructive requests come last.
fn rows(server: &ApiServer) -> Vec<Row> {
    let (share, invitation) = (&server.share, &server.invitation);
    let hex = "00".repeat(32);
    let code = json!({ "code": "22222-22222" });
    let everybody = [401, 200, 200, 200, 200];
    let of_share = |what: &str| format!("/v1/shares/{share}{what}");
    let of_invitation = |what: &str| format!("/v1/invitations/{invitation}/{what}");
    let label = json!({ "device": "new-1", "device_key": hex, "secret": "guess", "model": "m" });
    let new_share = json!({
        "targets": ["ups-1"], "with": { "group": "tzbv" }, "permissions": ["view"], "seconds": 60,
    });
    let group = json!({
        "group": "other", "lookup_key": "OTHER", "name": "Other", "key": key("other").public().hex(),
    });
    let accepting = json!({
        "code": "22222-22222", "account": "new", "key": key("new").public().hex(), "region": "eu",
        "proof": "00".repeat(64),
    });
    let deny = json!({ "site": "depot", "approve": false });
    let signed = json!({ "account": "ole", "nonce": hex, "signature": "00".repeat(64) });
    vec![
        (
            "POST",
            "/v1/challenges",
            "/v1/challenges".into(),
            Some(json!({ "account": "ole" })),
            [201; 5],
        ),
        (
            "POST",
            "/v1/sessions",
            "/v1/sessions".into(),
            Some(signed),
            [401; 5],
        ),
        ("GET", "/v1/account", "/v1/account".into(), None, everybody),
        ("GET", "/v1/alerts", "/v1/alerts".into(), None, everybody),
        ("GET", "/v1/devices", "/v1/devices".into(), None, everybody),
        (
            "POST",
            "/v1/devices",
            "/v1/devices".into(),
            Some(label),
            [401, 403, 403, 403, 403],
        ),
        (
            "PUT",
            "/v1/devices/{device}/plan",
            "/v1/devices/ups-1/plan".into(),
            Some(json!({ "plan": "advanced" })),
            [401, 403, 403, 404, 200],
        ),
        (
            "PUT",
            "/v1/devices/{device}/site",
            "/v1/devices/ups-1/site".into(),
            Some(json!({ "site": null })),
            [401, 200, 403, 404, 404],
        ),
        (
            "PUT",
            "/v1/devices/{device}/owner",
            "/v1/devices/ups-1/owner".into(),
            Some(json!({ "account": "ole" })),
            [401, 200, 403, 404, 404],
        ),
        (
            "POST",
            "/v1/shares",
            "/v1/shares".into(),
            Some(new_share),
            [401, 201, 403, 201, 403],
        ),
        ("GET", "/v1/shares", "/v1/shares".into(), None, everybody),
        (
            "GET",
            "/v1/shares/with-me",
            "/v1/shares/with-me".into(),
            None,
            everybody,
        ),
        ("GET", "/v1/review", "/v1/review".into(), None, everybody),
        (
            "POST",
            "/v1/shares/{share}/extension",
            of_share("/extension"),
            Some(json!({ "seconds": 60 })),
            [401, 200, 404, 404, 404],
        ),
        (
            "POST",
            "/v1/shares/{share}/devices",
            of_share("/devices"),
            Some(json!({ "target": "ups-del" })),
            [401, 201, 404, 404, 404],
        ),
        (
            "GET",
            "/v1/shares/{share}/pass",
            of_share("/pass"),
            None,
            [401, 404, 200, 404, 404],
        ),
        (
            "POST",
            "/v1/invitations/{invitation}/look",
            of_invitation("look"),
            Some(code.clone()),
            [403; 5],
        ),
        // The invalid proof is detected before the code is checked.
        (
            "POST",
            "/v1/invitations/{invitation}/acceptance",
            of_invitation("acceptance"),
            Some(accepting),
            [401; 5],
        ),
        (
            "POST",
            "/v1/groups",
            "/v1/groups".into(),
            Some(group),
            [401, 409, 403, 201, 403],
        ),
        ("GET", "/v1/groups", "/v1/groups".into(), None, everybody),
        (
            "POST",
            "/v1/rosters",
            "/v1/rosters".into(),
            Some(json!({ "roster": "d83d" })),
            [401, 400, 400, 400, 400],
        ),
        ("GET", "/v1/sites", "/v1/sites".into(), None, everybody),
        (
            "GET",
            "/v1/sites/{site}/groups",
            "/v1/sites/depot/groups".into(),
            None,
            [401, 200, 404, 404, 404],
        ),
        (
            "PUT",
            "/v1/sites/{site}/admins/{account}",
            "/v1/sites/depot/admins/fay".into(),
            None,
            [401, 204, 404, 404, 404],
        ),
        (
            "GET",
            "/v1/access/{lookup_key}",
            "/v1/access/TZBV".into(),
            None,
            [200; 5],
        ),
        (
            "POST",
            "/v1/access/{lookup_key}/decision",
            "/v1/access/TZBV/decision".into(),
            Some(deny),
            [401, 200, 404, 404, 404],
        ),
        (
            "POST",
            "/v1/invitations/{invitation}/refusal",
            of_invitation("refusal"),
            Some(code),
            // It is locked by the attempts of the rows above.
            [410; 5],
        ),
        (
            "DELETE",
            "/v1/shares/{share}/pass",
            of_share("/pass"),
            None,
            [401, 404, 204, 404, 404],
        ),
        (
            "POST",
            "/v1/cancellations",
            "/v1/cancellations".into(),
            Some(json!({ "shares": [share] })),
            [401, 200, 404, 404, 404],
        ),
        (
            "DELETE",
            "/v1/devices/{device}",
            "/v1/devices/ups-del".into(),
            None,
            [401, 204, 403, 404, 404],
        ),
        (
            "DELETE",
            "/v1/sessions",
            "/v1/sessions".into(),
            None,
            [401, 204, 204, 204, 204],
        ),
    ]
}

#[test]
fn every_route_gives_every_role_the_expected_response() {
    let server = ApiServer::start(1_000_000);
    let tokens = SENDERS.map(|sender| sender.map(|sender| server.sign_in(sender)));
    // A stranger does not see the resources of others.
    for path in [
        "/v1/alerts",
        "/v1/shares",
        "/v1/shares/with-me",
        "/v1/review",
        "/v1/groups",
        "/v1/sites",
    ] {
        let (status, seen) = server.request("GET", path, tokens[3].as_deref(), None);
        assert_eq!((status, &seen), (200, &json!([])), "{path}");
    }
    let (_, seen) = server.request("GET", "/v1/devices", tokens[3].as_deref(), None);
    assert_eq!(seen.as_array().unwrap().len(), 1, "her own");
    let mut described = BTreeSet::new();
    let description = serde_json::to_value(description()).unwrap();
    for (path, methods) in description["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            described.insert((method.to_uppercase(), path.clone()));
        }
    }
    for (method, route, path, body, expected) in rows(&server) {
        let known = described.remove(&(method.to_owned(), route.to_owned()));
        assert!(known, "{method} {route} is not described, or has two rows");
        // Senders without permission come first, while the resource still exists.
        for at in [0, 3, 4, 2, 1] {
            if method == "DELETE" && route.ends_with("pass") && at == 1 {
                continue;
            }
            let (status, reply) =
                server.request(method, &path, tokens[at].as_deref(), body.as_ref());
            assert_eq!(
                status, expected[at],
                "{:?} {method} {path}: {reply}",
                SENDERS[at]
            );
            if status >= 400 {
                for part in ["code", "message", "remedy"] {
                    assert!(!reply[part].as_str().unwrap().is_empty(), "{reply}");
                }
            }
            if (method, route, at) == ("POST", "/v1/shares", 3) {
                assert_eq!(reply["each"][0]["refused"]["code"], "unknown", "{reply}");
            }
        }
    }
    assert!(described.is_empty(), "routes without a row: {described:?}");
}

#[test]
fn a_stranger_cannot_distinguish_existing_from_missing_resources() {
    let server = ApiServer::start(1_000_000);
    let eve = server.sign_in("eve");
    let request = |method: &str, path: &str, body: Option<Value>, name: &str| {
        let (status, reply) = server.request(method, path, Some(&eve), body.as_ref());
        (status, reply.to_string().replace(name, "X"))
    };
    let none = "0".repeat(32);
    for (method, there, not_there, body, names) in [
        (
            "DELETE",
            "/v1/devices/ups-1".to_owned(),
            "/v1/devices/none".to_owned(),
            None,
            ("ups-1", "none"),
        ),
        (
            "PUT",
            "/v1/devices/ups-1/plan".into(),
            "/v1/devices/none/plan".into(),
            Some(json!({ "plan": "basic" })),
            ("ups-1", "none"),
        ),
        (
            "GET",
            format!("/v1/shares/{}/pass", server.share),
            format!("/v1/shares/{none}/pass"),
            None,
            (&*server.share, &*none),
        ),
        (
            "POST",
            format!("/v1/shares/{}/extension", server.share),
            format!("/v1/shares/{none}/extension"),
            Some(json!({ "seconds": 60 })),
            (&*server.share, &*none),
        ),
        (
            "GET",
            "/v1/sites/depot/groups".into(),
            "/v1/sites/none/groups".into(),
            None,
            ("depot", "none"),
        ),
    ] {
        let first = request(method, &there, body.clone(), names.0);
        assert_eq!(
            first,
            request(method, &not_there, body, names.1),
            "{method} {there}"
        );
    }
}

#[test]
fn too_many_requests_are_rate_limited_and_guessing_costs_more() {
    let server = ApiServer::start(60);
    let code = json!({ "code": "22222-22222" });
    let path = format!("/v1/invitations/{}/look", "0".repeat(32));
    let statuses: Vec<u16> = (0..7)
        .map(|_| server.request("POST", &path, None, Some(&code)).0)
        .collect();
    assert_eq!(statuses, [410, 410, 410, 410, 410, 410, 429]);
}

#[test]
fn a_body_that_is_too_large_is_not_read() {
    let server = ApiServer::start(1_000_000);
    let long = json!({ "account": "x".repeat(70_000) });
    let (status, reply) = server.request("POST", "/v1/challenges", None, Some(&long));
    assert_eq!(status, 413, "{reply}");
}
