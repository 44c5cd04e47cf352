//! TLS between the device, people and a real broker: what works, and in which words the rest
//! is refused.

use doorward_testkit::site;
use doorward_testkit::test_ca;

#[allow(dead_code, unreachable_pub, reason = "not every test uses everything")]
#[allow(dead_code, unreachable_pub, reason = "not every test uses everything")]
use std::path::{Path, PathBuf};

use doorward_transport::MqttClient;
use doorward_transport::{Broker, BrokerUrl, Tls};
use site::{COUNT, Mosquitto, Site, block_on, free_port, wait_until};
use test_ca::{Authority, DAY, Files, today};

/// The lines for one more listener of mosquitto, with TLS.
fn listener(port: u16, ca: &Path, (certificate, key): &(PathBuf, PathBuf), both: bool) -> String {
    format!(
        "listener {port} 127.0.0.1\ncafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate {both}\n",
        ca.display(),
        certificate.display(),
        key.display()
    )
}

fn connect(broker: &Broker) -> Result<(), String> {
    block_on(async {
        let caller = MqttClient::connect(broker)
            .await
            .map_err(|e| e.to_string())?;
        let topic = "doorward/v1/x/command".to_owned();
        caller
            .publish(topic, b"x".to_vec(), false)
            .await
            .map_err(|e| e.to_string())
    })
}

#[test]
fn a_broker_or_client_that_is_not_who_it_should_be_is_refused_with_the_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let files = Files(directory.path().to_owned());
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let ca = files.write("ours.pem", &ours.pem);
    let wrong_ca = files.write("theirs.pem", &theirs.pem);
    let good = files.pair("good", ours.sign("localhost", today()));
    let expired = files.pair("old", ours.sign("localhost", today() - 30 * DAY));
    let early = files.pair("early", ours.sign("localhost", today() + 30 * DAY));
    let other = files.pair("other", ours.sign("elsewhere.example", today()));
    let client = files.pair("client", ours.sign("ups-7", today()));
    let stranger = files.pair("stranger", theirs.sign("ups-7", today()));
    let late = files.pair("late", ours.sign("ups-7", today() - 30 * DAY));
    let ports: [u16; 5] = std::array::from_fn(|_| free_port());
    let mut mosquitto = Mosquitto::start(directory.path(), "broker");
    mosquitto.stop();
    mosquitto.more = [
        listener(ports[0], &ca, &good, false),
        listener(ports[1], &ca, &expired, false),
        listener(ports[2], &ca, &early, false),
        listener(ports[3], &ca, &other, false),
        listener(ports[4], &ca, &good, true),
    ]
    .concat();
    mosquitto.again();

    let trusting = Tls {
        ca: Some(ca.clone()),
        ..Tls::default()
    };
    let showing = |(certificate, key): &(PathBuf, PathBuf)| Tls {
        certificate: Some(certificate.clone()),
        key: Some(key.clone()),
        ..trusting.clone()
    };
    let by_name = Tls {
        server_name: Some("elsewhere.example".into()),
        ..trusting.clone()
    };
    let mistrusting = Tls {
        ca: Some(wrong_ca),
        ..Tls::default()
    };
    let missing = Tls {
        ca: Some(directory.path().join("nowhere.pem")),
        ..Tls::default()
    };
    let no_authority = Tls {
        ca: Some(client.1.clone()),
        ..Tls::default()
    };
    let mut mixed = showing(&client);
    mixed.key = Some(stranger.1.clone());
    let open = showing(&files.pair("open", ours.sign("ups-7", today())));
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(open.key.as_ref().unwrap(), mode).unwrap();

    let cases: &[(&str, u16, Tls, &str)] = &[
        ("localhost", ports[0], trusting.clone(), ""),
        ("localhost", ports[3], by_name, ""),
        ("localhost", ports[4], showing(&client), ""),
        ("localhost", ports[0], Tls::default(), "set tls.ca"),
        ("localhost", ports[0], mistrusting, "set tls.ca"),
        ("localhost", ports[0], missing, "nowhere.pem: No such file"),
        (
            "localhost",
            ports[0],
            no_authority,
            "client.key: it holds no certificate",
        ),
        ("localhost", ports[1], trusting.clone(), "has expired, 20"),
        (
            "localhost",
            ports[1],
            trusting.clone(),
            "set the clock if that is wrong",
        ),
        ("localhost", ports[2], trusting.clone(), "is valid from 20"),
        (
            "localhost",
            ports[3],
            trusting.clone(),
            "is for elsewhere.example, not for localhost",
        ),
        (
            "127.0.0.1",
            ports[0],
            trusting.clone(),
            "is for localhost, not for 127.0.0.1",
        ),
        (
            "localhost",
            ports[4],
            trusting.clone(),
            "set tls.certificate and tls.key",
        ),
        (
            "localhost",
            ports[4],
            showing(&stranger),
            "get one from the authority",
        ),
        (
            "localhost",
            ports[4],
            showing(&late),
            "our certificate has expired",
        ),
        (
            "localhost",
            ports[4],
            mixed,
            "stranger.key: it does not fit the certificate",
        ),
        ("localhost", ports[4], open, "chmod o-rwx"),
        (
            "localhost",
            mosquitto.port,
            trusting.clone(),
            "does not speak TLS",
        ),
        ("localhost", free_port(), trusting, "is it running"),
    ];
    for (host, port, tls, says) in cases {
        let url: BrokerUrl = format!("mqtts://{host}:{port}").parse().unwrap();
        let broker = Broker {
            tls: tls.clone(),
            ..url.into()
        };
        match (connect(&broker), *says) {
            (Ok(()), "") => {}
            (Err(why), says) if !says.is_empty() && why.contains(says) => {}
            (came, says) => panic!("{broker} {tls:?}: {came:?}, not {says:?}"),
        }
    }
}

#[test]
fn the_device_takes_new_certificates_without_a_restart_and_never_talks_without_tls() {
    let mut site = Site::new(COUNT);
    site.ready();
    site.share("anna", "device.reboot");
    site.kill();
    let files = Files(site.path().to_owned());
    let (first, second) = (Authority::new("first"), Authority::new("second"));
    let ca = files.write("ca.pem", &first.pem);
    let broker = files.pair("broker", first.sign("localhost", today()));
    let (certificate, key) = files.pair("device", first.sign("ups-7", today()));
    let port = free_port();
    site.cloud.stop();
    site.cloud.more = listener(port, &ca, &broker, true);
    site.cloud.again();
    let link = format!(
        "url = \"mqtts://localhost:{port}\"\n[links.cloud.tls]\nca = \"{}\"\n\
         certificate = \"{}\"\nkey = \"{}\"",
        ca.display(),
        certificate.display(),
        key.display()
    );
    site.write_config_with(&link, COUNT);
    site.start();
    let is_up = |site: &Site| site.status()["links"]["cloud"]["up"] == true;
    let says = |site: &Site, text: &str| {
        let status = site.status();
        status["links"]["cloud"]["why"]
            .as_str()
            .is_some_and(|why| why.contains(text))
    };
    wait_until("the device is connected", || is_up(&site));
    assert_eq!(site.send("anna", "device.reboot", 10)["outcome"], "done");

    // Somebody else takes the broker's place.
    site.cloud.stop();
    files.pair("broker", second.sign("localhost", today()));
    site.cloud.again();
    wait_until("the device refuses the other one", || {
        says(&site, "set tls.ca")
    });

    // No: it is the broker, with a new authority; the device's own certificate is the old one.
    files.write("ca.pem", &second.pem);
    site.cloud.stop();
    site.cloud.again();
    wait_until("the broker refuses the old certificate", || {
        says(&site, "get one from the authority")
    });
    files.pair("device", second.sign("ups-7", today()));
    wait_until("the device is connected again", || is_up(&site));
    assert_eq!(site.send("anna", "device.reboot", 10)["outcome"], "done");
    assert_eq!(site.reboots(), 2);

    // The port now answers without TLS.
    site.cloud.stop();
    site.cloud.more = format!("listener {port} 127.0.0.1\n");
    site.cloud.again();
    wait_until("the device does not fall back", || {
        says(&site, "does not speak TLS")
    });
}
