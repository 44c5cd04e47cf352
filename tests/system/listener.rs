//! The listener in the daemon: a laptop on the site gets in with no broker anywhere, and
//! whoever means harm gets nowhere.

use doorward_testkit::site;
use doorward_testkit::test_ca;

#[allow(dead_code, unreachable_pub, reason = "not every test uses everything")]
#[allow(dead_code, unreachable_pub, reason = "not every test uses everything")]
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
struct Alone {
    site: Site,
    port: u16,
}

impl Alone {
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
        let alone = Self { site, port };
        wait_until("it listens", || alone.link()["up"] == true);
        alone
    }

    fn link(&self) -> serde_json::Value {
        self.site.status()["links"]["listener"].clone()
    }

    fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// doorkey at the listener; the last arguments first.
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
            "share", "ups-7", "--to", name, "--key", &key, "--allow", allow, "--out", &pass,
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
fn a_laptop_at_the_device_does_everything_with_no_broker_anywhere() {
    let alone = Alone::new("");
    let share = alone.share("anna", "device.reboot");
    assert_eq!(alone.send("anna", "device.reboot")["outcome"], "done");
    assert_eq!(alone.send("anna", "status.read")["code"], "not_granted");
    assert_eq!(alone.send("ole", "status.read")["outcome"], "done");
    alone.site.person("stranger");
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
    let silence: serde_json::Value = serde_json::from_slice(&alone.doorkey(&args).stdout).unwrap();
    assert_eq!(silence["outcome"], "silence");
    let out = alone.doorkey(&["cancel", "ups-7", &share, "--wait", "10"]);
    assert!(out.status.success(), "{out:?}");
    assert_eq!(alone.send("anna", "device.reboot")["code"], "revoked");
    assert_eq!(alone.site.reboots(), 1);
    let events = alone.site.events();
    let origins: Vec<_> = events
        .iter()
        .filter_map(|event| event["link"].as_str())
        .filter(|link| !link.is_empty())
        .collect();
    assert!(origins.ends_with(&["local"; 4]), "{origins:?}");
}

#[test]
fn n11_what_comes_to_the_listener_is_local_and_what_comes_by_the_cloud_is_not() {
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
        "--key",
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
    wait_until("both are up", || {
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
fn receipts_are_told_to_whoever_brought_the_command_and_to_nobody_else() {
    let alone = Alone::new("");
    let holder = alone.key("ole");
    let url = alone
        .url()
        .parse::<doorward_transport::BrokerUrl>()
        .unwrap();
    let broker = Broker::from(url);
    let device = doorward_protocol::wire::Id::new("ups-7").unwrap();
    let receipts = doorward_protocol::wire::topics::receipts(&device, &holder);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut spy = runtime.block_on(MqttClient::connect(&broker)).unwrap();
    runtime.block_on(spy.subscribe(vec![receipts])).unwrap();
    for _ in 0..3 {
        assert_eq!(alone.send("ole", "status.read")["outcome"], "done");
    }
    let heard = runtime.block_on(spy.next(Duration::from_millis(500)));
    assert_eq!(heard.unwrap(), None);
}

#[test]
fn n03_whoever_has_the_issuers_files_brings_what_the_device_lacks_along_with_any_command() {
    let alone = Alone::new("");
    let share = alone.share("anna", "status.read");
    assert_eq!(alone.send("anna", "status.read")["outcome"], "done");
    let known = |alone: &Alone| alone.site.status()["lists"]["ups-7"]["seq"].clone();
    let before = known(&alone);
    // The list is made with no connection to anything.
    alone.site.doorkey(&["cancel", "ups-7", &share]);
    assert_eq!(known(&alone), before);
    assert_eq!(alone.send("ole", "status.read")["outcome"], "done");
    assert_ne!(known(&alone), before);
    assert_eq!(alone.send("anna", "status.read")["code"], "revoked");
}

/// A program that was written without us.
fn mosquitto_sub(args: &[&str]) -> Output {
    Command::new("mosquitto_sub")
        .args(["-V", "5", "-W", "10"])
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("mosquitto_sub is not installed; `tests/run` installs what tests need")
}

#[test]
fn over_tls_whoever_is_not_who_they_should_be_is_refused_and_new_certificates_need_no_restart() {
    let directory = tempfile::tempdir().unwrap();
    let files = Files(directory.path().to_owned());
    let (first, second) = (Authority::new("first"), Authority::new("second"));
    let ca = files.write("ca.pem", &first.pem);
    let other_ca = files.write("other.pem", &second.pem);
    let (certificate, key) = files.pair("listener", first.sign("localhost", today()));
    let laptop = files.pair("laptop", first.sign("laptop", today()));
    let stranger = files.pair("stranger", second.sign("laptop", today()));
    let alone = Alone::new(&format!(
        "certificate = \"{}\"\nkey = \"{}\"\nclient_ca = \"{}\"\n",
        certificate.display(),
        key.display(),
        ca.display()
    ));
    let url = format!("mqtts://localhost:{}", alone.port);
    let ask = |ca: &PathBuf, pair: Option<&(PathBuf, PathBuf)>| {
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
        let out = alone.site.run(DOORKEY, &args);
        let said = [out.stdout, out.stderr].concat();
        String::from_utf8(said).unwrap()
    };
    for (ca, pair, says) in [
        (&ca, Some(&laptop), "done"),
        (&other_ca, Some(&laptop), "set tls.ca"),
        (&ca, None, "wants a certificate of ours"),
        (&ca, Some(&stranger), "does not accept our certificate"),
    ] {
        let said = ask(ca, pair);
        assert!(said.contains(says), "{said}, not {says}");
    }
    // In the clear there is nothing.
    let out = alone.doorkey(&["send", "ups-7", "status.read", "--key", "ole.key"]);
    assert!(!out.status.success());

    // The state as Debian's own client reads it.
    let [ca_text, certificate_text, key_text] =
        [&ca, &laptop.0, &laptop.1].map(|path| path.to_str().unwrap().to_owned());
    let port = alone.port.to_string();
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

    // Another authority takes over, and the device is not restarted.
    files.pair("listener", second.sign("localhost", today()));
    assert!(ask(&ca, Some(&laptop)).contains("set tls.ca"));
    assert!(ask(&other_ca, Some(&laptop)).contains("done"));
    files.write("listener.key", "no key");
    assert!(!ask(&other_ca, Some(&laptop)).contains("done"));
    files.pair("listener", second.sign("localhost", today()));
    assert!(ask(&other_ca, Some(&laptop)).contains("done"));
}

#[test]
fn whoever_only_takes_a_place_loses_it_to_those_who_work() {
    let alone = Alone::new("");
    // Some say nothing, some begin a packet and never end it, some never read.
    let mut idle: Vec<TcpStream> = (0..40)
        .map(|_| TcpStream::connect(("127.0.0.1", alone.port)).unwrap())
        .collect();
    for stream in &mut idle[..20] {
        let _ = stream.write_all(&CONNECT[..5]);
    }
    for _ in 0..3 {
        assert_eq!(alone.send("ole", "status.read")["outcome"], "done");
    }
    assert!(alone.link()["connections"].as_u64().unwrap() <= 16);
    let mut deaf = alone.connect();
    let topic = b"doorward/v1/ups-7/state";
    let subscribe = [
        &[0x82, 6 + topic.len() as u8, 0, 1, 0, 0, topic.len() as u8][..],
        topic,
        &[0],
    ]
    .concat();
    for _ in 0..20_000 {
        if deaf.write_all(&subscribe).is_err() {
            break;
        }
        deaf.set_write_timeout(Some(Duration::from_millis(200)))
            .unwrap();
    }
    assert_eq!(alone.send("ole", "status.read")["outcome"], "done");
    drop(idle);
    drop(deaf);
    wait_until("their places are free", || alone.link()["connections"] == 0);
}

#[test]
fn what_is_no_mqtt_is_cut_off_and_the_device_goes_on() {
    let alone = Alone::new("");
    let mut noise = 7u64;
    let mut random = move || {
        noise = noise
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (noise >> 33) as u8
    };
    for round in 0..200 {
        let mut stream = match round % 2 {
            0 => TcpStream::connect(("127.0.0.1", alone.port)).unwrap(),
            _ => alone.connect(),
        };
        let bytes: Vec<u8> = (0..64).map(|_| random()).collect();
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    let mut rumqttd = TcpStream::connect(("127.0.0.1", alone.port)).unwrap();
    rumqttd.write_all(&[0x20, 2, 0, 0]).unwrap();
    assert_eq!(rumqttd.read(&mut [0; 16]).unwrap_or(0), 0);
    assert_eq!(alone.send("ole", "status.read")["outcome"], "done");
    assert!(alone.site.daemon.is_some());
}

#[test]
fn an_address_that_is_taken_is_said_and_tried_again() {
    let mut alone = Alone::new("");
    alone.site.kill();
    let taken = std::net::TcpListener::bind(("127.0.0.1", alone.port)).unwrap();
    alone.site.start();
    wait_until("it says so", || {
        let why = &alone.link()["why"];
        why.as_str()
            .is_some_and(|why| why.contains("cannot listen"))
    });
    drop(taken);
    wait_until("it listens", || alone.link()["up"] == true);
    assert_eq!(alone.send("ole", "status.read")["outcome"], "done");
}
