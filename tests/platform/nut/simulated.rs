//! Functions that the UPS on the serial line lacks, with a simulated driver behind Debian's upsd.

use std::sync::mpsc::channel;
use std::time::Duration;

use doorward_protocol::wire::{Bytes, Envelope, Notice, PublicKey, Value};
use doorward_transport::MqttClient;

use super::powered::{Powered, SIMULATED};
use doorward_testkit::site::{block_on, wait_until};

const OPERATIONS: &str = r#"
[operations."ups.read"]
class = "read"
handler = "nut"
read = ["ups.status", "outlet.1.status", "outlet.2.status"]
[operations."power.outlet.cycle:1"]
class = "interrupt"
handler = "nut"
command = "outlet.1.load.cycle"
read = ["outlet.1.status"]
[operations."power.outlet.cycle:2"]
class = "interrupt"
handler = "nut"
command = "outlet.2.load.cycle"
read = ["outlet.2.status"]
[operations."diag.calibrate"]
class = "interrupt"
handler = "nut"
command = "calibrate.start"
read = ["ups.status"]
interlocks = ["on_battery", "calibrating"]
[operations."slow"]
class = "interrupt"
handler = "nut"
command = "test.battery.start.deep"
[operations."failing"]
class = "change"
handler = "nut"
command = "test.panel.start"
[operations."silent"]
class = "change"
handler = "nut"
command = "beeper.mute"
timeout_s = 2
[settings."ups.delay.shutdown"]
variable = "ups.delay.shutdown"
value = { type = "int", min = 12, max = 600 }
confirm_s = 2
[settings."patient"]
variable = "ups.delay.shutdown"
value = { type = "int", min = 12, max = 600 }
confirm_s = 60
[operations."config.read"]
class = "read"
handler = "builtin"
[operations."config.write"]
class = "change"
handler = "builtin"
"#;

fn powered() -> Powered {
    Powered::with(
        SIMULATED,
        "driver = doorward-sim\nport = none\n",
        OPERATIONS,
    )
}

#[test]
fn s07_a_share_of_one_outlet_switches_only_that_one_and_its_state_is_reported() {
    let powered = powered();
    powered.site.share("anna", "power.outlet.cycle:1,ups.read");
    assert_eq!(
        powered.send("anna", "power.outlet.cycle:2", &[])["code"],
        "not_granted"
    );
    assert_eq!(
        powered.send("anna", "diag.calibrate", &[])["code"],
        "not_granted"
    );
    assert_eq!(powered.wire(), Vec::<String>::new(), "not one byte");
    let done = powered.send("anna", "power.outlet.cycle:1", &[]);
    assert_eq!(done["outcome"], "done", "{done}");
    assert_eq!(done["result"]["accepted"], true);
    assert_eq!(done["result"]["outlet.1.status"], "off");
    assert_eq!(powered.wire(), ["INSTCMD outlet.1.load.cycle"]);
    let read = powered.send("anna", "ups.read", &[]);
    assert_eq!(read["result"]["outlet.2.status"], "on");
}

#[test]
fn s06_n21_no_second_calibration_is_started_while_one_runs() {
    let powered = powered();
    let done = powered.send("ole", "diag.calibrate", &[]);
    assert_eq!(done["outcome"], "done", "{done}");
    assert_eq!(done["result"]["ups.status"], "OL CAL");
    assert_eq!(
        powered.send("ole", "diag.calibrate", &[])["code"],
        "interlock"
    );
    assert_eq!(powered.wire(), ["INSTCMD calibrate.start"]);
}

#[test]
fn slow_failing_silent_and_stale_drivers_are_distinguished() {
    let powered = powered();
    let (slow, busy) = std::thread::scope(|scope| {
        let slow = scope.spawn(|| powered.send("ole", "slow", &[]));
        wait_until("the slow operation has started", || {
            !powered.wire().is_empty()
        });
        let busy = powered.send("ole", "power.outlet.cycle:1", &[]);
        (slow.join().unwrap(), busy)
    });
    assert_eq!(slow["outcome"], "done", "{slow}");
    assert_eq!(busy["code"], "busy", "one disruptive operation at a time");
    let failing = powered.send("ole", "failing", &[]);
    assert_eq!(failing["outcome"], "failed", "{failing}");
    assert!(
        failing["detail"].as_str().unwrap().contains("FAILED"),
        "{failing}"
    );
    let silent = powered.send("ole", "silent", &[]);
    assert_eq!(silent["outcome"], "unknown", "{silent}");
    std::fs::write(powered.nut("wire.stale"), "").unwrap();
    wait_until("upsd knows that the driver has lost the UPS", || {
        let read = powered.send("ole", "ups.read", &[]);
        read["detail"]
            .as_str()
            .unwrap_or_default()
            .contains("DATA-STALE")
    });
    let refused = powered.send("ole", "diag.calibrate", &[]);
    assert_eq!(
        refused["code"], "interlock",
        "an unknown state blocks the operation: {refused}"
    );
    std::fs::remove_file(powered.nut("wire.stale")).unwrap();
    wait_until("the driver has found the UPS again", || {
        powered.send("ole", "ups.read", &[])["outcome"] == "done"
    });
    let lines = powered.wire();
    let expected = ["test.battery.start.deep", "test.panel.start", "beeper.mute"];
    assert_eq!(lines, expected.map(|command| format!("INSTCMD {command}")));
}

#[test]
fn s04_n20_a_setting_of_the_ups_is_rolled_back_unless_its_change_is_confirmed() {
    let powered = powered();
    powered.site.share("anna", "config.read,config.write");
    powered.site.share("bob", "config.write");
    let read = || {
        powered.send("anna", "config.read", &["key=ups.delay.shutdown"])["result"]
        ["ups.delay.shutdown"].clone()
    };
    let write_to = |person: &str, key: &str, value: &str| {
        let (key, value) = (format!("key={key}"), format!("value={value}"));
        powered.send(person, "config.write", &[&key, &value])
    };
    let write = |person: &str, value: &str| write_to(person, "ups.delay.shutdown", value);
    let write_slow = |person: &str, value: &str| write_to(person, "patient", value);
    assert_eq!(read(), "20");
    for value in ["11", "601", "x", "true"] {
        assert_eq!(write("anna", value)["code"], "param", "{value}");
    }
    let other = powered.send("anna", "config.write", &["key=identity", "value=1"]);
    assert_eq!(other["code"], "param");
    assert_eq!(powered.wire(), Vec::<String>::new());
    let lost = write("anna", "60");
    assert_eq!(lost["outcome"], "failed", "{lost}");
    assert!(
        lost["detail"].as_str().unwrap().contains("is 20 again"),
        "{lost}"
    );
    assert_eq!(read(), "20");
    let kept = std::thread::scope(|scope| {
        let first = scope.spawn(|| write_slow("anna", "90"));
        wait_until("the change waits for confirmation", || {
            let status = powered.site.status();
            status["underway"][0]["progress"]["confirm_within_s"] == 60
        });
        assert_eq!(read(), "90");
        // Another user with the permission cannot confirm, and no other change is possible meanwhile.
        assert_eq!(write_slow("bob", "90")["code"], "busy");
        assert_eq!(write_slow("anna", "91")["code"], "busy");
        assert_eq!(write("anna", "90")["code"], "busy");
        let confirmed = write_slow("anna", "90");
        assert_eq!(confirmed["result"]["confirmed"], true, "{confirmed}");
        first.join().unwrap()
    });
    assert_eq!(kept["outcome"], "done", "{kept}");
    assert_eq!(
        (&kept["result"]["old"], &kept["result"]["patient"]),
        (&"20".into(), &"90".into())
    );
    assert_eq!(read(), "90");
    assert_eq!(write("anna", "90")["code"], "no_effect");
    let values = powered.wire();
    assert_eq!(
        values,
        ["60", "20", "90"].map(|value| format!("SET ups.delay.shutdown {value}"))
    );
}

#[test]
fn s10_a_subscriber_gets_notifications_of_the_ups_until_the_share_ends() {
    let powered = powered();
    let share = powered.site.share("anna", "notify.manage");
    let done = powered.send("anna", "notify.manage", &["on=true"]);
    assert_eq!(done["outcome"], "done", "{done}");
    let key = std::fs::read_to_string(powered.site.path().join("anna.pub")).unwrap();
    let topic = format!("doorward/v1/ups-7/notices/{}", key.trim());
    let (sender, notifications) = channel();
    let broker = powered.site.cloud.broker();
    std::thread::spawn(move || {
        block_on(async move {
            let mut client = MqttClient::connect(&broker).await.unwrap();
            client.subscribe(vec![topic]).await.unwrap();
            sender.send(Vec::new()).unwrap();
            while let Ok(Some((_, notice))) = client.next(Duration::from_secs(60)).await {
                if sender.send(notice).is_err() {
                    return;
                }
            }
        });
    });
    assert_eq!(
        notifications.recv().unwrap(),
        Vec::<u8>::new(),
        "it is subscribed"
    );
    // The device has read the UPS once, so that the next change causes a notification.
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(
        powered.send("ole", "diag.calibrate", &[])["outcome"],
        "done"
    );
    let notice = notifications.recv_timeout(Duration::from_secs(20)).unwrap();
    let envelope = Envelope::parse(&notice).unwrap();
    let device = Bytes::from_hex(&powered.site.device_key).unwrap();
    envelope.verify(&PublicKey::new(&device).unwrap()).unwrap();
    let notice: Notice = envelope.claims().unwrap();
    assert_eq!(notice.body.share.unwrap().hex(), share);
    let status = notice.body.values.get("ups.status");
    assert_eq!(status, Some(&Value::from("OL CAL")));
    let url = powered.site.cloud.url();
    powered
        .site
        .doorkey(&["cancel", "ups-7", &share, "--broker", &url]);
    std::fs::write(powered.nut("wire.stale"), "").unwrap();
    wait_until("the device knows that the driver has lost the UPS", || {
        powered.send("ole", "ups.read", &[])["outcome"] == "failed"
    });
    let more = notifications.recv_timeout(Duration::from_secs(8));
    assert!(more.is_err(), "nothing more is sent");
}

#[test]
fn n20_a_change_not_confirmed_before_a_stop_is_rolled_back_whatever_the_log_contains() {
    let mut powered = powered();
    for log_is_lost in [false, true] {
        let change = ["key=patient", "value=90"];
        std::thread::scope(|scope| {
            scope.spawn(|| {
                powered
                    .site
                    .try_send_with("ole", "config.write", &change, 1)
            });
            wait_until("the change waits for confirmation", || {
                let status = powered.site.status();
                status["underway"][0]["progress"]["confirm_within_s"] == 60
            });
        });
        powered.site.kill();
        if log_is_lost {
            std::fs::remove_dir_all(powered.site.path().join("state/log")).unwrap();
        }
        powered.site.start();
        powered.site.ready();
        wait_until("the old value is restored", || {
            let read = powered.send("ole", "config.read", &["key=patient"]);
            read["result"]["patient"] == "20"
        });
        let undo = powered.site.path().join("state/undo.json");
        wait_until("the rollback is complete", || !undo.exists());
        let failed = |event: &serde_json::Value| {
            let text = event["text"].as_str().unwrap();
            text.contains("before the change was confirmed; patient is 20 again")
        };
        if !log_is_lost {
            wait_until("the rollback is in the log", || {
                powered.site.events().iter().any(failed)
            });
        }
    }
    // The next change is possible.
    let (key, value) = ("key=patient", "value=30");
    let sent = powered
        .site
        .try_send_with("ole", "config.write", &[key, value], 1);
    let sent: serde_json::Value = serde_json::from_slice(&sent.stdout).unwrap();
    assert_eq!(sent["outcome"], "executing", "{sent}");
}
