//! The system tier: the real programs over Debian's mosquitto.

use doorward_testkit::site;

#[allow(dead_code, unreachable_pub, reason = "not every test uses everything")]
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
            .any(|t| t.contains("anna asks for device.reboot"))
    );
    assert!(
        texts("denied")
            .iter()
            .any(|t| t.contains("bob asks for device.reboot"))
    );
    let verified = site.doorward(&["events", "verify", "--state", "state"]);
    assert!(
        String::from_utf8(verified.stdout)
            .unwrap()
            .contains("unbroken")
    );
}

#[test]
fn the_broker_is_stopped_and_started_and_the_device_comes_back() {
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
fn a_sender_whose_broker_goes_meanwhile_finds_it_again_and_gets_the_word() {
    let mut site = Site::new(&format!("{COUNT}\nexec /bin/sleep 2"));
    site.ready();
    let url = site.cloud.url();
    let line = [
        "--issuer",
        "issuer",
        "send",
        "ups-7",
        "device.reboot",
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
    wait_until("it has begun", || site.reboots() == 1);
    site.cloud.kill();
    site.cloud.again();
    let out = sender.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success() && said.starts_with("done"), "{out:?}");
    let told = String::from_utf8_lossy(&out.stderr);
    assert!(told.contains("waiting for it to come back"), "{told}");
    assert_eq!(
        site.reboots(),
        1,
        "the same command again is not another one"
    );
}

#[test]
fn a_cancellation_is_obeyed_before_the_command_that_was_queued_behind_it() {
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
fn a_forged_receipt_is_passed_over_and_a_forged_state_is_named() {
    let mut site = Site::new(COUNT);
    site.ready();
    site.share("anna", "status.read");
    assert_eq!(site.send("anna", "status.read", 10)["outcome"], "done");
    let holder = HolderKey::open(&site.path().join("anna.key")).unwrap();
    let device = Id::new("ups-7").unwrap();
    let answers = topics::receipts(&device, &holder.public());
    let broker = site.cloud.broker();
    // The device is gone; what answers in its place knows the very command, but not the key.
    site.kill();
    let forger = SecretKey::from_seed(b"TEST KEY of somebody on the way.");
    let sent = std::thread::scope(|scope| {
        let asking = scope.spawn(|| site.try_send("anna", "status.read", 2));
        block_on(async {
            let mut caller = MqttClient::connect(&broker).await.unwrap();
            caller
                .subscribe(vec![topics::command(&device), topics::state(&device)])
                .await
                .unwrap();
            let (mut command, mut state) = (None, None);
            while command.is_none() || state.is_none() {
                let (topic, payload) = caller.next(Duration::from_secs(10)).await.unwrap().unwrap();
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
            caller
                .publish(answers, sign(&receipt, &forger), false)
                .await
                .unwrap();
            let state = sign(&state, &forger);
            caller
                .publish(topics::state(&device), state, true)
                .await
                .unwrap();
        });
        asking.join().unwrap()
    });
    assert_eq!(
        sent.status.code(),
        Some(69),
        "the forged receipt is nothing"
    );
    let sent = site.try_send("anna", "status.read", 2);
    assert_eq!(sent.status.code(), Some(65));
    let text = String::from_utf8(sent.stderr).unwrap();
    assert!(text.contains("not signed by its key"), "{text}");
}

#[test]
fn bad_input_from_the_network_is_survived_and_counted() {
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
        let caller = MqttClient::connect(&broker).await.unwrap();
        let publish = |payload: Vec<u8>, retain| caller.publish(command.into(), payload, retain);
        publish(b"reboot please".to_vec(), false).await.unwrap();
        publish(Vec::new(), false).await.unwrap();
        publish(vec![0x9f; 60_000], false).await.unwrap();
        for length in (1..good.len()).step_by(7) {
            publish(good[..length].to_vec(), false).await.unwrap();
        }
        // The broker was told the largest packet that the device takes, and drops this one.
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
    // A real command, recorded by somebody who then asks the broker to keep it.
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
fn a_command_that_the_broker_delivers_hours_late_is_refused_and_its_twin_gets_the_same_word() {
    let mut site = Site::new(COUNT);
    site.ready();
    site.kill();
    let holder = HolderKey::open(&site.path().join("ole.key")).unwrap();
    let device = Id::new("ups-7").unwrap();
    let wish = wish("device.reboot", Map::default());
    let broker = site.cloud.broker();
    let receipts = topics::receipts(&device, &holder.public());
    let said = block_on(async {
        let mut owner = MqttClient::connect(&broker).await.unwrap();
        let state = topics::state(&device);
        owner.subscribe(vec![state, receipts]).await.unwrap();
        let (_, state) = owner.next(Duration::from_secs(5)).await.unwrap().unwrap();
        let state: State = Envelope::parse(&state).unwrap().claims().unwrap();
        // What was signed three hours ago has waited at the broker for the device.
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
        let mut said = Vec::new();
        while said.len() < 2 {
            let (topic, payload) = owner.next(Duration::from_secs(20)).await.unwrap().unwrap();
            if topic.contains("/receipts/") {
                let receipt: Receipt = Envelope::parse(&payload).unwrap().claims().unwrap();
                // Others are sent again after a start.
                if receipt.body.command == name {
                    said.push(receipt.body.code.unwrap().to_string());
                }
            }
        }
        said
    });
    assert_eq!(said, ["late", "late"]);
    assert_eq!(site.reboots(), 0);
}

#[test]
fn a_lock_that_outlives_the_daemon_for_a_moment_is_waited_for() {
    let mut site = Site::new(COUNT);
    site.ready();
    site.kill();
    // As a program does that the daemon was just starting when it was killed.
    let mut child = std::process::Command::new("flock")
        .args(["state/lock", "-c", "echo held; sleep 0.3"])
        .current_dir(site.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = [0; 4];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut said).unwrap();
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
fn a_lost_cache_is_asked_for_again_and_said_in_the_status() {
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
    wait_until("it says what it lacks", || {
        let out = site.run(DOORWARD, &["status", "--state", "state", "--json"]);
        serde_json::from_slice(&out.stdout).is_ok_and(|status: serde_json::Value| {
            let notes = status["since_start"].to_string();
            status["owner"] == "ole"
                && status["missing"].to_string().contains("ups-7")
                && notes.contains("the cache of statements was gone")
        })
    });
    // The broker has kept what it lacks.
    site.cloud.again();
    wait_until("it has its list again", || {
        site.status()["missing"] == serde_json::json!([])
    });
    assert_eq!(site.send("bob", "device.reboot", 10)["outcome"], "done");
    assert_eq!(site.send("anna", "device.reboot", 10)["code"], "revoked");
    assert_eq!(site.reboots(), 2);
}

#[test]
fn a_lost_log_is_a_new_epoch_with_the_same_owner_and_said_in_the_status() {
    let mut site = Site::new(COUNT);
    site.ready();
    site.share("anna", "device.reboot");
    assert_eq!(site.send("anna", "device.reboot", 10)["outcome"], "done");
    let (before, broker) = (site.status(), site.cloud.broker());
    let device = Id::new("ups-7").unwrap();
    let holder = HolderKey::open(&site.path().join("anna.key")).unwrap();
    // A command that was signed before, and never arrived.
    let old = block_on(async {
        let mut caller = MqttClient::connect(&broker).await.unwrap();
        caller
            .subscribe(vec![topics::state(&device)])
            .await
            .unwrap();
        let (_, state) = caller.next(Duration::from_secs(10)).await.unwrap().unwrap();
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
            .contains("the event log was gone")
    );
    let refused = after["refused"]["epoch"].as_u64();
    block_on(async {
        let caller = MqttClient::connect(&broker).await.unwrap();
        caller
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
        "a new one is not"
    );
}

#[test]
fn n04_whoever_cancels_can_wait_for_the_signed_word_of_the_device() {
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
        let said: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        (out.status.code().unwrap(), said["devices"]["ups-7"].clone())
    };
    let (exit, applied) = cancel(&site, "10", &[&share]);
    assert_eq!(exit, 0);
    assert!(applied.as_str().unwrap().starts_with("20"), "{applied}");
    assert_eq!(site.send("anna", "status.read", 10)["code"], "revoked");
    // Switched off, it says nothing, and nobody else can say it for the device.
    site.kill();
    let topic = topics::state(&Id::new("ups-7").unwrap());
    block_on(async {
        let mut caller = MqttClient::connect(&site.cloud.broker()).await.unwrap();
        caller.subscribe(vec![topic.clone()]).await.unwrap();
        let (_, kept) = caller.next(Duration::from_secs(5)).await.unwrap().unwrap();
        let mut state: State = Envelope::parse(&kept).unwrap().claims().unwrap();
        let lists = state.body.standing.revocations.iter();
        let lists = lists.map(|(audience, _)| (audience.clone(), 99));
        state.body.standing.revocations = Map::new(lists.collect::<Vec<_>>());
        let forger = SecretKey::from_seed(b"TEST KEY of somebody on the way.");
        let forged = sign(&state, &forger);
        caller.publish(topic, forged, true).await.unwrap();
    });
    let (exit, applied) = cancel(&site, "1", &[]);
    assert_eq!((exit, applied), (69, serde_json::Value::Null));
    // When it is back, it has the list that the broker kept.
    site.start();
    let (exit, _) = cancel(&site, "10", &[]);
    assert_eq!(exit, 0);
}

#[test]
fn status_says_how_the_links_are_what_to_do_and_the_same_for_prometheus() {
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
    wait_until("the loss is noticed and explained", || {
        let why = link(&site)["why"].to_string();
        why.contains("is it running, and is the port right?")
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
fn n03_what_is_carried_on_a_stick_reaches_a_device_that_hears_nothing() {
    let mut site = Site::new(COUNT);
    site.ready();
    let share = site.share("anna", "status.read");
    assert_eq!(site.send("anna", "status.read", 10)["outcome"], "done");
    // The site's broker is there, the issuer's word does not reach it.
    site.doorkey(&["cancel", "ups-7", &share]);
    for number in 0..9 {
        site.person(&format!("guest{number}"));
        let (name, key) = (format!("guest{number}"), format!("guest{number}.pub"));
        let mut args = vec!["share", "ups-7", "--to", &name, "--key", &key];
        args.extend(["--allow", "status.read", "--for", "3d"]);
        let out = site.run(DOORKEY, &args);
        // As many as the device has slots for: anna's counts until the device says that it obeys.
        assert_eq!(out.status.success(), number < 4, "{number}");
    }
    assert_eq!(site.send("anna", "status.read", 10)["outcome"], "done");
    site.doorkey(&["bundle", "ups-7", "--out", "stick"]);
    let import = |site: &Site| {
        let args = ["import", "stick", "--state", "state", "--json"];
        let out = site.run(DOORWARD, &args);
        let said: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap_or_default();
        (out.status.code(), said)
    };
    let (exit, said) = import(&site);
    // Issuers, registration, the list, four shares.
    assert_eq!((exit, &said["statements"]), (Some(0), &7.into()), "{said}");
    assert_eq!(site.send("anna", "status.read", 10)["code"], "revoked");
    let stick = site.path().join("stick");
    let bytes = std::fs::read(&stick).unwrap();
    std::fs::write(&stick, bytes.repeat(3)).unwrap();
    let (exit, said) = import(&site);
    assert_eq!((exit, &said["statements"]), (Some(0), &21.into()), "{said}");
    // What nobody has signed is named, and what is no statement is not even tried.
    site.doorkey(&["cancel", "ups-7", "--out", "stick"]);
    let mut forged = std::fs::read(&stick).unwrap();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    std::fs::write(&stick, forged).unwrap();
    let (exit, said) = import(&site);
    assert_eq!(
        (exit, &said["refused"]["bad_signature"]),
        (Some(77), &1.into())
    );
    std::fs::write(&stick, "hello").unwrap();
    assert_eq!(import(&site).0, Some(65));
    std::fs::write(&stick, bytes).unwrap();
    site.kill();
    assert_eq!(import(&site).0, Some(69));
}

#[test]
fn the_broker_says_that_a_device_is_gone_however_it_went() {
    let mut site = Site::new(COUNT);
    site.ready();
    let topic = topics::link(&Id::new("ups-7").unwrap(), "cloud");
    let broker = site.cloud.broker();
    let says = |word: &str| {
        wait_until(word, || {
            block_on(async {
                let mut caller = MqttClient::connect(&broker).await.unwrap();
                caller.subscribe(vec![topic.clone()]).await.unwrap();
                let kept = caller.next(Duration::from_millis(500)).await.unwrap();
                kept.is_some_and(|(_, text)| text == word.as_bytes())
            })
        });
    };
    says("up");
    site.kill();
    says("down");
    site.start();
    says("up");
    // A goodbye is one too.
    let pid = site.daemon.as_ref().unwrap().0.id().to_string();
    let ended = std::process::Command::new("kill").arg(pid).status();
    assert!(ended.unwrap().success());
    says("down");
    assert!(site.daemon.as_mut().unwrap().0.wait().unwrap().success());
}
