//! The main job and its failures: the real programs with Debian's mosquitto.

use doorward_testkit::site;

use std::time::Duration;

use doorward_client::{CommandRequest, HolderKey};
use doorward_protocol::wire::topics;
use doorward_protocol::wire::{
    Bundle, Envelope, Id, Map, Operation, Outcome, Receipt, ReceiptBody, SecretKey, State,
    Timestamp, hash, sign,
};
use doorward_transport::MqttClient;
use site::{COUNT, DOORKEY, DOORWARD, Site, block_on, wait_until, wish};

#[test]
fn provision_share_command_receipt() {
    let site = Site::new(COUNT);
    site.ready();
    site.share("anna", "status.read,device.reboot");
    site.share("bob", "status.read");
    site.person("eve");
    let done = site.try_send("anna", "device.reboot", 10);
    assert_eq!(done.status.code(), Some(0));
    assert_eq!(site.reboots(), 1);
    let denied = site.try_send("bob", "device.reboot", 10);
    assert_eq!(denied.status.code(), Some(77));
    let denied: serde_json::Value = serde_json::from_slice(&denied.stdout).unwrap();
    assert_eq!(denied["code"], "not_granted");
    assert!(denied["remedy"].as_str().unwrap().contains("owner"));
    let silence = site.try_send("eve", "device.reboot", 1);
    assert_eq!(silence.status.code(), Some(69));
    assert_eq!(site.reboots(), 1);
    let events = site.events();
    let texts = |kind: &str| -> Vec<String> {
        let of_kind = events.iter().filter(|e| e["event"] == kind);
        of_kind.map(|e| e["text"].to_string()).collect()
    };
    assert!(
        texts("intent")
            .iter()
            .any(|t| t.contains("anna requested device.reboot"))
    );
    assert!(
        texts("denied")
            .iter()
            .any(|t| t.contains("bob requested device.reboot"))
    );
    let verified = site.doorward(&["events", "verify", "--state", "state"]);
    assert!(
        String::from_utf8(verified.stdout)
            .unwrap()
            .contains("unbroken")
    );
}

#[test]
fn the_device_reconnects_after_a_restart_of_the_broker() {
    let mut site = Site::new(COUNT);
    site.ready();
    site.share("anna", "device.reboot");
    for round in 1..=3 {
        site.cloud.stop();
        let unreachable = site.try_send("anna", "device.reboot", 1);
        assert_eq!(unreachable.status.code(), Some(69));
        site.cloud.again();
        site.ready();
        assert_eq!(site.send("anna", "device.reboot", 10)["outcome"], "done");
        assert_eq!(site.reboots(), round);
    }
}

#[test]
fn a_sender_reconnects_after_a_restart_of_the_broker_and_gets_the_receipt() {
    let mut site = Site::new(&format!("{COUNT}\nexec /bin/sleep 2"));
    site.ready();
    let url = site.cloud.url();
    let line = [
        "send",
        "ups-7",
        "device.reboot",
        "--issuer",
        "issuer",
        "--key",
        "ole.key",
    ];
    let sender = std::process::Command::new(site::DOORKEY)
        .args(line)
        .args(["--broker", &url, "--wait", "30"])
        .current_dir(site.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    wait_until("the operation has started", || site.reboots() == 1);
    site.cloud.kill();
    site.cloud.again();
    let out = sender.wait_with_output().unwrap();
    let stdout = String::from_utf8_lossy(&out.stdout);
    assert!(
        out.status.success() && stdout.starts_with("done"),
        "{out:?}"
    );
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(stderr.contains("waiting for the broker"), "{stderr}");
    assert_eq!(site.reboots(), 1, "the repeated command did not run again");
}

#[test]
fn a_cancellation_is_applied_before_a_command_that_was_queued_behind_it() {
    let mut site = Site::new(COUNT);
    site.ready();
    let share = site.share("anna", "device.reboot");
    assert_eq!(site.send("anna", "device.reboot", 10)["outcome"], "done");
    site.kill();
    let url = site.cloud.url();
    site.doorkey(&["cancel", "ups-7", &share, "--broker", &url]);
    assert_eq!(site.send("anna", "device.reboot", 1)["outcome"], "silence");
    site.start();
    site.ready();
    assert_eq!(site.reboots(), 1);
    let events = site.events();
    let denied = |text: &str| text.contains("anna") && text.contains("revoked");
    wait_until("the queued command is refused", || {
        events
            .iter()
            .chain(&site.events())
            .any(|e| denied(&e["text"].to_string()))
    });
    assert_eq!(site.send("anna", "device.reboot", 10)["code"], "revoked");
}

#[test]
fn a_forged_receipt_is_ignored_and_a_forged_state_is_reported() {
    let mut site = Site::new(COUNT);
    site.ready();
    site.share("anna", "status.read");
    assert_eq!(site.send("anna", "status.read", 10)["outcome"], "done");
    let holder = HolderKey::open(&site.path().join("anna.key")).unwrap();
    let device = Id::new("ups-7").unwrap();
    let receipts = topics::receipts(&device, &holder.public());
    let broker = site.cloud.broker();
    // The device is stopped; an attacker answers instead, with the command but without the key.
    site.kill();
    let forger = SecretKey::from_seed(b"TEST KEY of a network attacker 1");
    let sent = std::thread::scope(|scope| {
        let sender = scope.spawn(|| site.try_send("anna", "status.read", 2));
        block_on(async {
            let mut client = MqttClient::connect(&broker).await.unwrap();
            client
                .subscribe(vec![topics::command(&device), topics::state(&device)])
                .await
                .unwrap();
            let (mut command, mut state) = (None, None);
            while command.is_none() || state.is_none() {
                let (topic, payload) = client.next(Duration::from_secs(10)).await.unwrap().unwrap();
                if topic == topics::state(&device) {
                    let envelope = Envelope::parse(&payload).unwrap();
                    state = Some(envelope.claims::<State>().unwrap());
                } else {
                    let bundle = Bundle::parse(&payload).unwrap();
                    command = bundle.command.map(|envelope| envelope.hash());
                }
            }
            let (command, state) = (command.unwrap(), state.unwrap());
            let receipt = Receipt {
                iss: device.clone(),
                iat: state.iat,
                body: ReceiptBody {
                    format: 1,
                    command,
                    outcome: Outcome::Done,
                    code: None,
                    detail: None,
                    result: Map::default(),
                    standing: state.body.standing.clone(),
                    log: state.body.log,
                },
            };
            client
                .publish(receipts, sign(&receipt, &forger), false)
                .await
                .unwrap();
            let state = sign(&state, &forger);
            client
                .publish(topics::state(&device), state, true)
                .await
                .unwrap();
        });
        sender.join().unwrap()
    });
    assert_eq!(
        sent.status.code(),
        Some(69),
        "the forged receipt is ignored"
    );
    let sent = site.try_send("anna", "status.read", 2);
    assert_eq!(sent.status.code(), Some(65));
    let text = String::from_utf8(sent.stderr).unwrap();
    assert!(text.contains("not signed by its key"), "{text}");
}

#[test]
fn bad_input_from_the_network_is_counted_and_the_daemon_keeps_serving() {
    let site = Site::new(COUNT);
    site.ready();
    site.share("anna", "status.read,device.reboot");
    let pid = site.daemon.as_ref().unwrap().0.id();
    let broker = site.cloud.broker();
    let good = {
        let standing = site.send("anna", "status.read", 10);
        assert_eq!(standing["outcome"], "done");
        std::fs::read(site.path().join("anna.pass")).unwrap()
    };
    let command = "doorward/v1/ups-7/command";
    block_on(async {
        let client = MqttClient::connect(&broker).await.unwrap();
        let publish = |payload: Vec<u8>, retain| client.publish(command.into(), payload, retain);
        publish(b"reboot please".to_vec(), false).await.unwrap();
        publish(Vec::new(), false).await.unwrap();
        publish(vec![0x9f; 60_000], false).await.unwrap();
        for length in (1..good.len()).step_by(7) {
            publish(good[..length].to_vec(), false).await.unwrap();
        }
        // The broker knows the maximum packet size of the device, and drops this one.
        let _ = publish(vec![0xd8; 1 << 20], false).await;
    });
    assert_eq!(site.send("anna", "device.reboot", 10)["outcome"], "done");
    let status = site.send("ole", "status.read", 10);
    assert!(
        status["result"]["refused.malformed"].as_i64().unwrap() > 10,
        "{status}"
    );
    assert_eq!(site.daemon.as_ref().unwrap().0.id(), pid);
    assert_eq!(site.reboots(), 1);
}

#[test]
fn a_retained_command_is_refused_when_it_is_sent_and_at_every_reconnection() {
    let mut site = Site::new(COUNT);
    site.ready();
    site.share("anna", "device.reboot");
    let out = site.run(DOORKEY, &["key", "show", "anna.key"]);
    assert!(out.status.success());
    // An attacker records a valid command and publishes it as retained.
    let topic = "doorward/v1/ups-7/command";
    let broker = site.cloud.broker();
    let recorded = block_on(async {
        let mut spy = MqttClient::connect(&broker).await.unwrap();
        spy.subscribe(vec![topic.to_owned()]).await.unwrap();
        site.kill();
        assert_eq!(site.send("anna", "device.reboot", 1)["outcome"], "silence");
        let (_, payload) = spy.next(Duration::from_secs(5)).await.unwrap().unwrap();
        spy.publish(topic.to_owned(), payload.clone(), true)
            .await
            .unwrap();
        payload
    });
    assert!(!recorded.is_empty());
    site.start();
    site.ready();
    // The queued original ran once; the retained copy did not.
    wait_until("the queued command has run", || site.reboots() == 1);
    for _ in 0..2 {
        site.kill();
        site.start();
        site.ready();
    }
    assert_eq!(site.reboots(), 1);
}

#[test]
fn a_command_delivered_hours_late_is_refused_and_its_duplicate_gets_the_same_receipt() {
    let mut site = Site::new(COUNT);
    site.ready();
    site.kill();
    let holder = HolderKey::open(&site.path().join("ole.key")).unwrap();
    let device = Id::new("ups-7").unwrap();
    let wish = wish("device.reboot", Map::default());
    let broker = site.cloud.broker();
    let receipts = topics::receipts(&device, &holder.public());
    let codes = block_on(async {
        let mut owner = MqttClient::connect(&broker).await.unwrap();
        let state = topics::state(&device);
        owner.subscribe(vec![state, receipts]).await.unwrap();
        let (_, state) = owner.next(Duration::from_secs(5)).await.unwrap().unwrap();
        let state: State = Envelope::parse(&state).unwrap().claims().unwrap();
        // A command that was signed three hours ago has waited at the broker.
        let then = Timestamp(doorward_transport::clock::system().0 - 3 * 3600);
        let counter = holder.next_counter().unwrap();
        let command = holder.command(&wish, counter, &state.body.standing, then, None);
        let command = command.unwrap();
        let name = hash(&command);
        for _ in 0..2 {
            let publish = owner.publish(topics::command(&device), command.clone(), false);
            publish.await.unwrap();
        }
        site.start();
        let mut codes = Vec::new();
        while codes.len() < 2 {
            let (topic, payload) = owner.next(Duration::from_secs(20)).await.unwrap().unwrap();
            if topic.contains("/receipts/") {
                let receipt: Receipt = Envelope::parse(&payload).unwrap().claims().unwrap();
                // Receipts of other commands may be sent again after a start.
                if receipt.body.command == name {
                    codes.push(receipt.body.code.unwrap().to_string());
                }
            }
        }
        codes
    });
    assert_eq!(codes, ["late", "late"]);
    assert_eq!(site.reboots(), 0);
}

#[test]
fn a_start_waits_for_a_lock_that_briefly_outlives_the_previous_daemon() {
    let mut site = Site::new(COUNT);
    site.ready();
    site.kill();
    // A child process inherits the lock if the daemon is killed while it starts the child.
    let mut child = std::process::Command::new("flock")
        .args(["state/lock", "-c", "echo held; sleep 0.3"])
        .current_dir(site.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = [0; 4];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut output).unwrap();
    site.start();
    site.ready();
    child.wait().unwrap();
}

#[test]
fn a_second_daemon_on_the_same_state_is_refused() {
    let site = Site::new(COUNT);
    site.ready();
    let out = site.run(site::DOORWARD, &["run", "--config", "doorward.toml"]);
    assert_eq!(out.status.code(), Some(74));
    assert!(
        String::from_utf8(out.stderr)
            .unwrap()
            .contains("another process")
    );
}

#[test]
fn a_lost_cache_is_requested_again_and_shown_in_the_status() {
    let mut site = Site::new(COUNT);
    site.ready();
    let share = site.share("anna", "device.reboot");
    site.share("bob", "device.reboot");
    let url = site.cloud.url();
    site.doorkey(&["cancel", "ups-7", &share, "--broker", &url]);
    assert_eq!(site.send("bob", "device.reboot", 10)["outcome"], "done");
    let before = site.status();
    assert_eq!(
        (before["store"].as_str(), before["owner"].as_str()),
        (Some("works"), Some("ole"))
    );
    site.kill();
    site.cloud.stop();
    std::fs::remove_dir_all(site.path().join("state/cache")).unwrap();
    site.start();
    wait_until("the status shows what is missing", || {
        let out = site.run(DOORWARD, &["status", "--state", "state", "--json"]);
        serde_json::from_slice(&out.stdout).is_ok_and(|status: serde_json::Value| {
            let notes = status["since_start"].to_string();
            status["owner"] == "ole"
                && status["missing"].to_string().contains("ups-7")
                && notes.contains("the cache of statements was missing")
        })
    });
    // The broker has retained the missing statements.
    site.cloud.again();
    wait_until("the device has its list again", || {
        site.status()["missing"] == serde_json::json!([])
    });
    assert_eq!(site.send("bob", "device.reboot", 10)["outcome"], "done");
    assert_eq!(site.send("anna", "device.reboot", 10)["code"], "revoked");
    assert_eq!(site.reboots(), 2);
}

#[test]
fn a_lost_log_starts_a_new_epoch_with_the_same_owner_and_is_shown_in_the_status() {
    let mut site = Site::new(COUNT);
    site.ready();
    site.share("anna", "device.reboot");
    assert_eq!(site.send("anna", "device.reboot", 10)["outcome"], "done");
    let (before, broker) = (site.status(), site.cloud.broker());
    let device = Id::new("ups-7").unwrap();
    let holder = HolderKey::open(&site.path().join("anna.key")).unwrap();
    // A command that was signed before and has not arrived.
    let old = block_on(async {
        let mut client = MqttClient::connect(&broker).await.unwrap();
        client
            .subscribe(vec![topics::state(&device)])
            .await
            .unwrap();
        let (_, state) = client.next(Duration::from_secs(10)).await.unwrap().unwrap();
        let state: State = Envelope::parse(&state).unwrap().claims().unwrap();
        let wish = CommandRequest {
            device: device.clone(),
            operation: Operation::new("device.reboot").unwrap(),
            args: Map::default(),
            ttl: 120,
            dry: false,
        };
        let now = doorward_transport::clock::system();
        holder
            .command(
                &wish,
                holder.next_counter().unwrap(),
                &state.body.standing,
                now,
                None,
            )
            .unwrap()
    });
    site.kill();
    std::fs::remove_dir_all(site.path().join("state/log")).unwrap();
    site.start();
    site.ready();
    let after = site.status();
    assert_eq!(after["owner"], "ole");
    assert_eq!(after["device"], before["device"]);
    assert_ne!(after["epoch"], before["epoch"]);
    assert!(
        after["since_start"]
            .to_string()
            .contains("the event log was missing")
    );
    let refused = after["refused"]["epoch"].as_u64();
    block_on(async {
        let client = MqttClient::connect(&broker).await.unwrap();
        client
            .publish(topics::command(&device), old, false)
            .await
            .unwrap();
    });
    wait_until("the old command is refused", || {
        site.status()["refused"]["epoch"].as_u64() > refused
    });
    assert_eq!(site.reboots(), 1);
    assert_eq!(
        site.send("anna", "device.reboot", 10)["outcome"],
        "done",
        "a new one runs"
    );
}

#[test]
fn n04_a_cancellation_can_wait_for_the_signed_confirmation_of_the_device() {
    let mut site = Site::new(COUNT);
    site.ready();
    let share = site.share("anna", "status.read");
    let url = site.cloud.url();
    let cancel = |site: &Site, wait: &str, shares: &[&str]| {
        let mut args = vec![
            "cancel", "ups-7", "--json", "--broker", &url, "--wait", wait,
        ];
        args.extend(shares);
        let out = site.run(DOORKEY, &args);
        let output: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        (
            out.status.code().unwrap(),
            output["devices"]["ups-7"].clone(),
        )
    };
    let (exit, applied) = cancel(&site, "10", &[&share]);
    assert_eq!(exit, 0);
    assert!(applied.as_str().unwrap().starts_with("20"), "{applied}");
    assert_eq!(site.send("anna", "status.read", 10)["code"], "revoked");
    // A stopped device does not confirm, and no other key can confirm in its place.
    site.kill();
    let topic = topics::state(&Id::new("ups-7").unwrap());
    block_on(async {
        let mut client = MqttClient::connect(&site.cloud.broker()).await.unwrap();
        client.subscribe(vec![topic.clone()]).await.unwrap();
        let (_, kept) = client.next(Duration::from_secs(5)).await.unwrap().unwrap();
        let mut state: State = Envelope::parse(&kept).unwrap().claims().unwrap();
        let lists = state.body.standing.revocations.iter();
        let lists = lists.map(|(audience, _)| (audience.clone(), 99));
        state.body.standing.revocations = Map::new(lists.collect::<Vec<_>>());
        let forger = SecretKey::from_seed(b"TEST KEY of a network attacker 1");
        let forged = sign(&state, &forger);
        client.publish(topic, forged, true).await.unwrap();
    });
    let (exit, applied) = cancel(&site, "1", &[]);
    assert_eq!((exit, applied), (69, serde_json::Value::Null));
    // After a restart it receives the retained list.
    site.start();
    let (exit, _) = cancel(&site, "10", &[]);
    assert_eq!(exit, 0);
}

#[test]
fn status_shows_the_links_with_remedies_and_the_same_as_prometheus_metrics() {
    let mut site = Site::new(COUNT);
    site.ready();
    let share = site.share("anna", "status.read");
    let url = site.cloud.url();
    site.doorkey(&["cancel", "ups-7", &share, "--broker", &url, "--wait", "10"]);
    let status = site.status();
    assert_eq!(status["links"]["cloud"]["up"], true);
    assert_eq!(status["lists"]["ups-7"]["seq"], 1);
    assert!(status["lists"]["ups-7"]["age_s"].as_u64() < Some(60));
    let left = status["leases"]["danger"].as_u64().unwrap();
    assert!((86_340..=86_400).contains(&left), "{left}");
    site.cloud.stop();
    let link = |site: &Site| site.status()["links"]["cloud"].clone();
    wait_until("the loss is detected and explained", || {
        let why = link(&site)["why"].to_string();
        why.contains("check that the broker is running")
    });
    assert!(link(&site)["next_try_s"].as_u64() <= Some(60));
    assert!(link(&site)["losses"].as_u64() >= Some(1));
    let metrics = |site: &Site| {
        let out = site.doorward(&["status", "--state", "state", "--openmetrics"]);
        String::from_utf8(out.stdout).unwrap()
    };
    let down = metrics(&site);
    for line in [
        "doorward_link_up{link=\"cloud\"} 0",
        "doorward_store_up 1",
        "doorward_list_number{audience=\"ups-7\"} 1",
        "doorward_shares 1",
    ] {
        assert!(down.lines().any(|l| l == line), "{line} in\n{down}");
    }
    site.cloud.again();
    wait_until("the link is up again", || link(&site)["up"] == true);
    assert!(metrics(&site).contains("doorward_link_up{link=\"cloud\"} 1\n"));
}

#[test]
fn n03_statements_on_a_usb_drive_reach_a_device_without_a_link_to_the_issuer() {
    let mut site = Site::new(COUNT);
    site.ready();
    let share = site.share("anna", "status.read");
    assert_eq!(site.send("anna", "status.read", 10)["outcome"], "done");
    // The device is connected to its broker, but the issuer is not.
    site.doorkey(&["cancel", "ups-7", &share]);
    for number in 0..9 {
        site.person(&format!("guest{number}"));
        let (name, key) = (format!("guest{number}"), format!("guest{number}.pub"));
        let mut args = vec!["share", "ups-7", "--to", &name, "--public-key", &key];
        args.extend(["--allow", "status.read", "--for", "3d"]);
        let out = site.run(DOORKEY, &args);
        // As many as there are slots; anna keeps hers until the device confirms the cancellation.
        assert_eq!(out.status.success(), number < 4, "{number}");
    }
    assert_eq!(site.send("anna", "status.read", 10)["outcome"], "done");
    site.doorkey(&["bundle", "ups-7", "--out", "usb-drive"]);
    let import = |site: &Site| {
        let args = ["import", "usb-drive", "--state", "state", "--json"];
        let out = site.run(DOORWARD, &args);
        let report: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap_or_default();
        (out.status.code(), report)
    };
    let (exit, report) = import(&site);
    // Issuers, registration, revocation list, four shares.
    assert_eq!(
        (exit, &report["statements"]),
        (Some(0), &7.into()),
        "{report}"
    );
    assert_eq!(site.send("anna", "status.read", 10)["code"], "revoked");
    let drive = site.path().join("usb-drive");
    let bytes = std::fs::read(&drive).unwrap();
    std::fs::write(&drive, bytes.repeat(3)).unwrap();
    let (exit, report) = import(&site);
    assert_eq!(
        (exit, &report["statements"]),
        (Some(0), &21.into()),
        "{report}"
    );
    // An invalid signature is reported, and a file without statements is not sent.
    site.doorkey(&["cancel", "ups-7", "--out", "usb-drive"]);
    let mut forged = std::fs::read(&drive).unwrap();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    std::fs::write(&drive, forged).unwrap();
    let (exit, report) = import(&site);
    assert_eq!(
        (exit, &report["refused"]["bad_signature"]),
        (Some(77), &1.into())
    );
    std::fs::write(&drive, "hello").unwrap();
    assert_eq!(import(&site).0, Some(65));
    std::fs::write(&drive, bytes).unwrap();
    site.kill();
    assert_eq!(import(&site).0, Some(69));
}

#[test]
fn the_broker_reports_a_device_as_offline_however_it_stopped() {
    let mut site = Site::new(COUNT);
    site.ready();
    let topic = topics::link(&Id::new("ups-7").unwrap(), "cloud");
    let broker = site.cloud.broker();
    let wait_for = |status: &str| {
        wait_until(status, || {
            block_on(async {
                let mut client = MqttClient::connect(&broker).await.unwrap();
                client.subscribe(vec![topic.clone()]).await.unwrap();
                let kept = client.next(Duration::from_millis(500)).await.unwrap();
                kept.is_some_and(|(_, text)| text == status.as_bytes())
            })
        });
    };
    wait_for("up");
    site.kill();
    wait_for("down");
    site.start();
    wait_for("up");
    // Also after a graceful stop.
    let pid = site.daemon.as_ref().unwrap().0.id().to_string();
    let ended = std::process::Command::new("kill").arg(pid).status();
    assert!(ended.unwrap().success());
    wait_for("down");
    assert!(site.daemon.as_mut().unwrap().0.wait().unwrap().success());
}
