//! The listener in the daemon: access for a laptop on the site without any broker, and attacks on it.

use doorward_testkit::site;
use doorward_testkit::test_ca;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use doorward_protocol::wire::{Bytes, KeyBytes};
use doorward_transport::Broker;
use doorward_transport::MqttClient;
use site::{COUNT, DOORKEY, Site, free_port, wait_until};
use test_ca::{Authority, Files, today};

/// MQTT 5, section 3.1: a clean start, 60 s, no client id.
const CONNECT: &[u8] = b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x00";

/// A registered device that can only be reached at its own listener.
struct ListenerOnly {
    site: Site,
    port: u16,
}

impl ListenerOnly {
    fn new(more: &str) -> Self {
        let mut site = Site::new(COUNT);
        site.ready();
        site.kill();
        site.cloud.stop();
        let port = free_port();
        let address = format!("address = \"127.0.0.1:{port}\"\n{more}");
        site.write_config_with(&address, COUNT);
        let path = site.path().join("doorward.toml");
        let config = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, config.replace("links.cloud", "links.listener")).unwrap();
        site.start();
        let device = Self { site, port };
        wait_until("the listener is up", || device.link()["up"] == true);
        device
    }

    fn link(&self) -> serde_json::Value {
        self.site.status()["links"]["listener"].clone()
    }

    fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// Runs doorkey with the listener as its broker.
    fn doorkey(&self, args: &[&str]) -> Output {
        let url = self.url();
        self.site
            .run(DOORKEY, &[args, &["--broker", &url]].concat())
    }

    fn send(&self, person: &str, operation: &str) -> serde_json::Value {
        let (key, pass) = (format!("{person}.key"), format!("{person}.pass"));
        let mut args = vec![
            "send", "ups-7", operation, "--json", "--key", &key, "--wait", "10",
        ];
        if self.site.path().join(&pass).exists() {
            args.extend(["--pass", &pass]);
        }
        serde_json::from_slice(&self.doorkey(&args).stdout).unwrap_or_default()
    }

    fn share(&self, name: &str, allow: &str) -> String {
        self.site.person(name);
        let (key, pass) = (format!("{name}.pub"), format!("{name}.pass"));
        let args = [
            "share",
            "ups-7",
            "--to",
            name,
            "--public-key",
            &key,
            "--allow",
            allow,
            "--out",
            &pass,
            "--json",
        ];
        let out = self.doorkey(&args);
        assert!(out.status.success(), "{out:?}");
        let share: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        share["shares"][0]["share"].as_str().unwrap().to_owned()
    }

    fn key(&self, name: &str) -> KeyBytes {
        let text = std::fs::read_to_string(self.site.path().join(format!("{name}.pub"))).unwrap();
        Bytes::from_hex(text.split_whitespace().next_back().unwrap()).unwrap()
    }

    fn connect(&self) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream.write_all(CONNECT).unwrap();
        let mut connack = [0; 2];
        stream.read_exact(&mut connack).unwrap();
        assert_eq!(connack[0], 0x20);
        let mut rest = vec![0; usize::from(connack[1])];
        stream.read_exact(&mut rest).unwrap();
        assert_eq!(rest[1], 0, "accepted");
        stream
    }
}

#[test]
fn a_laptop_at_the_device_can_do_everything_without_any_broker() {
    let device = ListenerOnly::new("");
    let share = device.share("anna", "device.reboot");
    assert_eq!(device.send("anna", "device.reboot")["outcome"], "done");
    assert_eq!(device.send("anna", "status.read")["code"], "not_granted");
    assert_eq!(device.send("ole", "status.read")["outcome"], "done");
    device.site.person("stranger");
    let args = [
        "send",
        "ups-7",
        "device.reboot",
        "--json",
        "--key",
        "stranger.key",
        "--wait",
        "1",
    ];
    let silence: serde_json::Value = serde_json::from_slice(&device.doorkey(&args).stdout).unwrap();
    assert_eq!(silence["outcome"], "silence");
    let out = device.doorkey(&["cancel", "ups-7", &share, "--wait", "10"]);
    assert!(out.status.success(), "{out:?}");
    assert_eq!(device.send("anna", "device.reboot")["code"], "revoked");
    assert_eq!(device.site.reboots(), 1);
    let events = device.site.events();
    let origins: Vec<_> = events
        .iter()
        .filter_map(|event| event["link"].as_str())
        .filter(|link| !link.is_empty())
        .collect();
    assert!(origins.ends_with(&["local"; 4]), "{origins:?}");
}

#[test]
fn n11_commands_at_the_listener_are_local_and_commands_from_the_cloud_are_not() {
    let mut site = Site::new(COUNT);
    site.ready();
    site.kill();
    let port = free_port();
    let links = format!(
        "url = \"{}\"\n[links.listener]\naddress = \"127.0.0.1:{port}\"",
        site.cloud.url()
    );
    site.write_config_with(&links, COUNT);
    site.start();
    site.person("anna");
    let cloud = site.cloud.url();
    site.doorkey(&[
        "share",
        "ups-7",
        "--to",
        "anna",
        "--public-key",
        "anna.pub",
        "--allow",
        "device.reboot",
        "--origin",
        "local",
        "--out",
        "anna.pass",
        "--broker",
        &cloud,
    ]);
    wait_until("both links are up", || {
        let links = &site.status()["links"];
        links["cloud"]["up"] == true && links["listener"]["up"] == true
    });
    let listener = format!("mqtt://127.0.0.1:{port}");
    let send = |url: &str| -> serde_json::Value {
        let out = site.run(
            DOORKEY,
            &[
                "send",
                "ups-7",
                "device.reboot",
                "--json",
                "--key",
                "anna.key",
                "--pass",
                "anna.pass",
                "--wait",
                "10",
                "--broker",
                url,
            ],
        );
        serde_json::from_slice(&out.stdout).unwrap()
    };
    assert_eq!(send(&cloud)["code"], "origin");
    assert_eq!(send(&listener)["outcome"], "done");
    assert_eq!(send(&cloud)["code"], "origin");
    assert_eq!(site.reboots(), 1);
}

#[test]
fn a_receipt_is_sent_only_to_the_client_that_brought_the_command() {
    let device = ListenerOnly::new("");
    let holder = device.key("ole");
    let url = device
        .url()
        .parse::<doorward_transport::BrokerUrl>()
        .unwrap();
    let broker = Broker::from(url);
    let device_id = doorward_protocol::wire::Id::new("ups-7").unwrap();
    let receipts = doorward_protocol::wire::topics::receipts(&device_id, &holder);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut spy = runtime.block_on(MqttClient::connect(&broker)).unwrap();
    runtime.block_on(spy.subscribe(vec![receipts])).unwrap();
    for _ in 0..3 {
        assert_eq!(device.send("ole", "status.read")["outcome"], "done");
    }
    let received = runtime.block_on(spy.next(Duration::from_millis(500)));
    assert_eq!(received.unwrap(), None);
}

#[test]
fn n03_a_command_sent_with_the_issuers_files_delivers_the_statements_that_the_device_lacks() {
    let device = ListenerOnly::new("");
    let share = device.share("anna", "status.read");
    assert_eq!(device.send("anna", "status.read")["outcome"], "done");
    let known = |device: &ListenerOnly| device.site.status()["lists"]["ups-7"]["seq"].clone();
    let before = known(&device);
    // The list is made without any connection.
    device.site.doorkey(&["cancel", "ups-7", &share]);
    assert_eq!(known(&device), before);
    assert_eq!(device.send("ole", "status.read")["outcome"], "done");
    assert_ne!(known(&device), before);
    assert_eq!(device.send("anna", "status.read")["code"], "revoked");
}

/// Debian's mosquitto_sub, an independent client.
fn mosquitto_sub(args: &[&str]) -> Output {
    Command::new("mosquitto_sub")
        .args(["-V", "5", "-W", "10"])
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("mosquitto_sub is not installed; `tests/run` installs what tests need")
}

#[test]
fn over_tls_invalid_certificates_are_refused_and_new_ones_need_no_restart() {
    let directory = tempfile::tempdir().unwrap();
    let files = Files(directory.path().to_owned());
    let (first, second) = (Authority::new("first"), Authority::new("second"));
    let ca = files.write("ca.pem", &first.pem);
    let other_ca = files.write("other.pem", &second.pem);
    let (certificate, key) = files.pair("listener", first.sign("localhost", today()));
    let laptop = files.pair("laptop", first.sign("laptop", today()));
    let stranger = files.pair("stranger", second.sign("laptop", today()));
    let device = ListenerOnly::new(&format!(
        "certificate = \"{}\"\nkey = \"{}\"\nclient_ca = \"{}\"\n",
        certificate.display(),
        key.display(),
        ca.display()
    ));
    let url = format!("mqtts://localhost:{}", device.port);
    let send = |ca: &PathBuf, pair: Option<&(PathBuf, PathBuf)>| {
        let ca = ca.to_str().unwrap();
        let mut args = vec![
            "send",
            "ups-7",
            "status.read",
            "--key",
            "ole.key",
            "--wait",
            "5",
            "--broker",
            &url,
            "--ca",
            ca,
        ];
        if let Some((certificate, key)) = pair {
            args.extend(["--certificate", certificate.to_str().unwrap()]);
            args.extend(["--certificate-key", key.to_str().unwrap()]);
        }
        let out = device.site.run(DOORKEY, &args);
        let output = [out.stdout, out.stderr].concat();
        String::from_utf8(output).unwrap()
    };
    for (ca, pair, expected) in [
        (&ca, Some(&laptop), "done"),
        (&other_ca, Some(&laptop), "set tls.ca"),
        (&ca, None, "requires a client certificate"),
        (
            &ca,
            Some(&stranger),
            "does not accept the client certificate",
        ),
    ] {
        let output = send(ca, pair);
        assert!(output.contains(expected), "{output}, not {expected}");
    }
    // Connections without TLS are refused.
    let out = device.doorkey(&["send", "ups-7", "status.read", "--key", "ole.key"]);
    assert!(!out.status.success());

    // Debian's client can read the state.
    let [ca_text, certificate_text, key_text] =
        [&ca, &laptop.0, &laptop.1].map(|path| path.to_str().unwrap().to_owned());
    let port = device.port.to_string();
    let out = mosquitto_sub(&[
        "-h",
        "localhost",
        "-p",
        &port,
        "--cafile",
        &ca_text,
        "--cert",
        &certificate_text,
        "--key",
        &key_text,
        "-t",
        "doorward/v1/ups-7/state",
        "-C",
        "1",
        "-N",
    ]);
    assert!(out.stdout.starts_with(&[0xd8, 0x3d, 0xd2, 0x84]), "{out:?}");

    // A certificate of another authority, without a restart of the device.
    files.pair("listener", second.sign("localhost", today()));
    assert!(send(&ca, Some(&laptop)).contains("set tls.ca"));
    assert!(send(&other_ca, Some(&laptop)).contains("done"));
    files.write("listener.key", "no key");
    assert!(!send(&other_ca, Some(&laptop)).contains("done"));
    files.pair("listener", second.sign("localhost", today()));
    assert!(send(&other_ca, Some(&laptop)).contains("done"));
}

#[test]
fn idle_connections_lose_their_places_to_active_clients() {
    let device = ListenerOnly::new("");
    // Some clients send nothing, some never complete a packet, some never read.
    let mut idle: Vec<TcpStream> = (0..40)
        .map(|_| TcpStream::connect(("127.0.0.1", device.port)).unwrap())
        .collect();
    for stream in &mut idle[..20] {
        let _ = stream.write_all(&CONNECT[..5]);
    }
    for _ in 0..3 {
        assert_eq!(device.send("ole", "status.read")["outcome"], "done");
    }
    assert!(device.link()["connections"].as_u64().unwrap() <= 16);
    let mut not_reading = device.connect();
    let topic = b"doorward/v1/ups-7/state";
    let subscribe = [
        &[0x82, 6 + topic.len() as u8, 0, 1, 0, 0, topic.len() as u8][..],
        topic,
        &[0],
    ]
    .concat();
    for _ in 0..20_000 {
        if not_reading.write_all(&subscribe).is_err() {
            break;
        }
        not_reading
            .set_write_timeout(Some(Duration::from_millis(200)))
            .unwrap();
    }
    assert_eq!(device.send("ole", "status.read")["outcome"], "done");
    drop(idle);
    drop(not_reading);
    wait_until("their connections are closed", || {
        device.link()["connections"] == 0
    });
}

#[test]
fn a_client_that_sends_no_mqtt_is_disconnected_and_the_device_keeps_serving() {
    let device = ListenerOnly::new("");
    let mut noise = 7u64;
    let mut random = move || {
        noise = noise
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (noise >> 33) as u8
    };
    for round in 0..200 {
        let mut stream = match round % 2 {
            0 => TcpStream::connect(("127.0.0.1", device.port)).unwrap(),
            _ => device.connect(),
        };
        let bytes: Vec<u8> = (0..64).map(|_| random()).collect();
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    let mut rumqttd = TcpStream::connect(("127.0.0.1", device.port)).unwrap();
    rumqttd.write_all(&[0x20, 2, 0, 0]).unwrap();
    assert_eq!(rumqttd.read(&mut [0; 16]).unwrap_or(0), 0);
    assert_eq!(device.send("ole", "status.read")["outcome"], "done");
    assert!(device.site.daemon.is_some());
}

#[test]
fn a_listener_address_in_use_is_reported_and_retried() {
    let mut device = ListenerOnly::new("");
    device.site.kill();
    let taken = std::net::TcpListener::bind(("127.0.0.1", device.port)).unwrap();
    device.site.start();
    wait_until("the status shows it", || {
        let why = &device.link()["why"];
        why.as_str()
            .is_some_and(|why| why.contains("cannot listen"))
    });
    drop(taken);
    wait_until("the listener is up", || device.link()["up"] == true);
    assert_eq!(device.send("ole", "status.read")["outcome"], "done");
}
