//! A UPS behind Debian's upsd and its real driver: allowed commands reach the serial line, and refused
//! ones send not one byte.

use doorward_testkit::hostile_inputs;
use doorward_testkit::site;

mod powered;
mod secured;
mod simulated;

use std::time::Duration;

use doorward_client::HolderKey;
use doorward_client::{SendParams, send};
use doorward_protocol::wire::{Bytes, Map, Outcome, PublicKey, Text, Value};
use hostile_inputs::hostile;
use powered::Powered;
use site::{block_on, wait_until, wish};

#[test]
fn allowed_commands_reach_the_ups_and_refused_ones_send_not_one_byte() {
    let powered = Powered::new();
    let site = &powered.site;
    site.share("anna", "diag.selftest,ups.read");
    let read = powered.send("anna", "ups.read", &[]);
    assert_eq!(read["result"]["ups.status"], "OL", "{read}");
    assert_eq!(powered.wire(), Vec::<String>::new());
    for (operation, code) in [
        ("power.shutdown.return", "not_granted"),
        ("power.load.off", "not_granted"),
        ("config.write:ups.delay.shutdown", "not_granted"),
    ] {
        assert_eq!(
            powered.send("anna", operation, &[])["code"],
            code,
            "{operation}"
        );
    }
    assert_eq!(
        powered.send("ole", "power.outlet.cycle:1", &[])["code"],
        "unsupported"
    );
    assert_eq!(powered.wire(), Vec::<String>::new(), "not one byte");
    let done = powered.send("anna", "diag.selftest", &[]);
    assert_eq!(done["outcome"], "done", "{done}");
    assert_eq!(done["result"]["accepted"], true);
    assert!(done["result"]["tracking"].is_string(), "{done}");
    wait_until("the test reaches the UPS", || powered.wire() == ["T"]);
    let done = powered.send("ole", "power.shutdown.return", &[]);
    assert_eq!(done["outcome"], "done", "{done}");
    wait_until("the shutdown reaches the UPS", || {
        powered.wire() == ["T", "S.5R0003"]
    });
}

#[test]
fn s04_a_setting_of_the_ups_is_written_within_its_range_and_read_back() {
    let powered = Powered::new();
    powered
        .site
        .share("anna", "config.write:ups.delay.shutdown");
    let operation = "config.write:ups.delay.shutdown";
    let written = powered.send("anna", operation, &["value=60"]);
    assert_eq!(written["outcome"], "done", "{written}");
    assert_eq!(written["result"]["ups.delay.shutdown"], "60");
    for value in ["value=5", "value=601", "value=x", "other=60"] {
        assert_eq!(
            powered.send("anna", operation, &[value])["code"],
            "param",
            "{value}"
        );
    }
    assert_eq!(powered.send("anna", operation, &[])["code"], "param");
    let read = powered.send("ole", "ups.read", &[]);
    assert_eq!(read["result"]["ups.delay.shutdown"], "60");
}

#[test]
fn n21_on_battery_no_self_test_is_started_and_upsds_own_refusals_are_reported_with_the_remedy() {
    let powered = Powered::new();
    std::fs::write(powered.nut("tty.mains-lost"), "OB").unwrap();
    wait_until("upsd knows that it is on battery", || {
        powered.send("ole", "ups.read", &[])["result"]["ups.status"] == "OB"
    });
    let refused = powered.send("ole", "diag.selftest", &[]);
    assert_eq!(refused["code"], "interlock", "{refused}");
    assert_eq!(powered.wire(), Vec::<String>::new());
    std::fs::remove_file(powered.nut("tty.mains-lost")).unwrap();
    wait_until("upsd knows that the mains are back", || {
        powered.send("ole", "ups.read", &[])["result"]["ups.status"] == "OL"
    });
    assert_eq!(powered.send("ole", "diag.selftest", &[])["outcome"], "done");
    let refused = powered.send("ole", "power.load.off", &[]);
    assert_eq!(refused["outcome"], "failed");
    let detail = refused["detail"].as_str().unwrap();
    assert!(
        detail.contains("ACCESS-DENIED") && detail.contains("upsd.users"),
        "{detail}"
    );
    std::fs::write(powered.nut("password"), "wrong").unwrap();
    let refused = powered.send("ole", "power.shutdown.return", &[]);
    assert!(
        refused["detail"]
            .as_str()
            .unwrap()
            .contains("ACCESS-DENIED"),
        "{refused}"
    );
    assert_eq!(powered.wire(), ["T"]);
}

#[test]
fn a_stopped_upsd_and_a_lost_ups_are_reported_as_such() {
    let mut powered = Powered::new();
    // First the UPS is disconnected, then upsd is stopped.
    drop(powered.processes.remove(0));
    wait_until("the driver has lost the UPS", || {
        let read = powered.send("ole", "ups.read", &[]);
        let detail = read["detail"].as_str().unwrap_or_default();
        detail.contains("the driver has lost the UPS")
    });
    drop(powered.processes.pop());
    let read = powered.send("ole", "ups.read", &[]);
    assert_eq!(read["outcome"], "failed", "{read}");
    assert!(
        read["detail"].as_str().unwrap().contains("refused"),
        "{read}"
    );
}

#[test]
fn two_hundred_hostile_texts_are_data_or_refused() {
    let operations = r#"
[operations."ups.read"]
class = "read"
handler = "nut"
read = ["ups.status"]
[operations."config.write:ups.id"]
class = "change"
handler = "nut"
variable = "ups.id"
read = ["ups.id"]
args.value = { type = "text" }
[operations."print"]
class = "change"
handler = "exec"
argv = ["/usr/bin/printf", "[%s]", "{value}"]
args.value = { type = "text" }
[settings.motd]
value = { type = "text" }
get = ["/bin/sh", "-c", "cat motd 2>/dev/null || echo nothing"]
set = ["/bin/sh", "-c", "printf %s \"$1\" > motd", "sh", "{value}"]
confirm_s = 0
[operations."config.write"]
class = "change"
handler = "builtin"
"#;
    let lines = "driver = dummy-ups\nport = {}/device.dev\nmode = dummy-once\n";
    let powered = Powered::with("dummy-ups", lines, operations);
    let site = &powered.site;
    let broker = site.cloud.broker();
    let holder = HolderKey::open(&site.path().join("ole.key")).unwrap();
    let device_key = PublicKey::new(&Bytes::from_hex(&site.device_key).unwrap()).unwrap();
    let send_text = |operation: &str, text: &str| {
        let value = (Text::new("value").unwrap(), Value::from(text));
        let key = (Text::new("key").unwrap(), Value::from("motd"));
        let key = (operation == "config.write").then_some(key);
        let wish = wish(operation, Map::new([value].into_iter().chain(key)));
        let request = SendParams {
            wait: Duration::from_secs(10),
            ..SendParams::new(&broker, &device_key, &holder, &wish)
        };
        let receipt = block_on(send(&request)).unwrap().receipt;
        let silence = || panic!("silence to {operation} {text:?}: {}", site.status());
        receipt.unwrap_or_else(silence).body
    };
    let texts = hostile();
    assert_eq!(texts.len(), 200);
    let mut accepted = 0;
    for text in &texts {
        let invalid = text.starts_with('-') || text.chars().any(char::is_control);
        for (operation, result, expected) in [
            ("config.write:ups.id", "ups.id", text.clone()),
            ("print", "output", format!("[{text}]")),
            ("config.write", "motd", text.trim_end().to_owned()),
        ] {
            let body = send_text(operation, text);
            let invalid = invalid
                || operation == "config.write:ups.id"
                    && (text.contains(['"', '\\', '#']) || !text.is_ascii());
            if invalid {
                let code = body.code.map(|code| code.to_string());
                assert_eq!(code.as_deref(), Some("param"), "{operation} {text:?}");
                continue;
            }
            // The UPS has its own length limits.
            let detail = body.detail.as_ref().map_or("", |detail| detail.as_str());
            if operation == "config.write:ups.id" && detail.contains("TOO-LONG") {
                continue;
            }
            assert_eq!(
                body.outcome,
                Outcome::Done,
                "{operation} {text:?} {:?}",
                body.detail
            );
            assert_eq!(
                body.result.get(result),
                Some(&Value::Text(expected)),
                "{operation}"
            );
            accepted += 1;
        }
    }
    assert!(accepted > 180, "{accepted}");
    assert_eq!(
        powered.send("ole", "ups.read", &[])["result"]["ups.status"],
        "OL"
    );
}
