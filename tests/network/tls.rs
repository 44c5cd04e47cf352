//! TLS between the device, clients and a real broker: accepted connections, and the error messages of
//! refused ones.

use doorward_testkit::site;
use doorward_testkit::test_ca;

use std::path::{Path, PathBuf};

use doorward_transport::MqttClient;
use doorward_transport::{Broker, BrokerUrl, Tls};
use site::{COUNT, Mosquitto, Site, block_on, free_port, wait_until};
use test_ca::{Authority, DAY, Files, today};

/// Configuration lines of another mosquitto listener, with TLS.
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
        let client = MqttClient::connect(broker)
            .await
            .map_err(|e| e.to_string())?;
        let topic = "doorward/v1/x/command".to_owned();
        client
            .publish(topic, b"x".to_vec(), false)
            .await
            .map_err(|e| e.to_string())
    })
}

#[test]
fn a_broker_or_client_without_a_valid_certificate_is_refused_with_the_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let files = Files(directory.path().to_owned());
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let ca = files.write("ours.pem", &ours.pem);
    let wrong_ca = files.write("theirs.pem", &theirs.pem);
    let good = files.pair("good", ours.sign("localhost", today()));
    let expired = files.pair("old", ours.sign("localhost", today() - 30 * DAY));
    let early = files.pair("early", ours.sign("localhost", today() + 30 * DAY));
    let other = files.pair("other", ours.sign("elsewhere.example", today()));
    let client_pair = files.pair("client", ours.sign("ups-7", today()));
    let stranger = files.pair("stranger", theirs.sign("ups-7", today()));
    let expired_client = files.pair("late", ours.sign("ups-7", today() - 30 * DAY));
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

    let trusted_ca = Tls {
        ca: Some(ca.clone()),
        ..Tls::default()
    };
    let with_certificate = |(certificate, key): &(PathBuf, PathBuf)| Tls {
        certificate: Some(certificate.clone()),
        key: Some(key.clone()),
        ..trusted_ca.clone()
    };
    let by_name = Tls {
        server_name: Some("elsewhere.example".into()),
        ..trusted_ca.clone()
    };
    let untrusted_ca = Tls {
        ca: Some(wrong_ca),
        ..Tls::default()
    };
    let missing = Tls {
        ca: Some(directory.path().join("nowhere.pem")),
        ..Tls::default()
    };
    let no_authority = Tls {
        ca: Some(client_pair.1.clone()),
        ..Tls::default()
    };
    let mut mixed = with_certificate(&client_pair);
    mixed.key = Some(stranger.1.clone());
    let open = with_certificate(&files.pair("open", ours.sign("ups-7", today())));
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(open.key.as_ref().unwrap(), mode).unwrap();

    let cases: &[(&str, u16, Tls, &str)] = &[
        ("localhost", ports[0], trusted_ca.clone(), ""),
        ("localhost", ports[3], by_name, ""),
        ("localhost", ports[4], with_certificate(&client_pair), ""),
        ("localhost", ports[0], Tls::default(), "set tls.ca"),
        ("localhost", ports[0], untrusted_ca, "set tls.ca"),
        ("localhost", ports[0], missing, "nowhere.pem: No such file"),
        (
            "localhost",
            ports[0],
            no_authority,
            "client.key: it contains no CA certificate",
        ),
        ("localhost", ports[1], trusted_ca.clone(), "has expired, 20"),
        (
            "localhost",
            ports[1],
            trusted_ca.clone(),
            "set the clock if that is wrong",
        ),
        (
            "localhost",
            ports[2],
            trusted_ca.clone(),
            "is valid from 20",
        ),
        (
            "localhost",
            ports[3],
            trusted_ca.clone(),
            "is for elsewhere.example, not for localhost",
        ),
        (
            "127.0.0.1",
            ports[0],
            trusted_ca.clone(),
            "is for localhost, not for 127.0.0.1",
        ),
        (
            "localhost",
            ports[4],
            trusted_ca.clone(),
            "set tls.certificate and tls.key",
        ),
        (
            "localhost",
            ports[4],
            with_certificate(&stranger),
            "certificate authority that the broker trusts",
        ),
        (
            "localhost",
            ports[4],
            with_certificate(&expired_client),
            "the client certificate has expired",
        ),
        (
            "localhost",
            ports[4],
            mixed,
            "stranger.key: it does not match the certificate",
        ),
        ("localhost", ports[4], open, "chmod o-rwx"),
        (
            "localhost",
            mosquitto.port,
            trusted_ca.clone(),
            "does not speak TLS",
        ),
        (
            "localhost",
            free_port(),
            trusted_ca,
            "check that the broker is running",
        ),
    ];
    for (host, port, tls, expected) in cases {
        let url: BrokerUrl = format!("mqtts://{host}:{port}").parse().unwrap();
        let broker = Broker {
            tls: tls.clone(),
            ..url.into()
        };
        match (connect(&broker), *expected) {
            (Ok(()), "") => {}
            (Err(why), expected) if !expected.is_empty() && why.contains(expected) => {}
            (result, expected) => panic!("{broker} {tls:?}: {result:?}, not {expected:?}"),
        }
    }
}

#[test]
fn the_device_loads_new_certificates_without_a_restart_and_never_connects_without_tls() {
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
    let reason_is = |site: &Site, text: &str| {
        let status = site.status();
        status["links"]["cloud"]["why"]
            .as_str()
            .is_some_and(|why| why.contains(text))
    };
    wait_until("the device is connected", || is_up(&site));
    assert_eq!(site.send("anna", "device.reboot", 10)["outcome"], "done");

    // Another broker is reached under the same address.
    site.cloud.stop();
    files.pair("broker", second.sign("localhost", today()));
    site.cloud.again();
    wait_until("the device refuses the other broker", || {
        reason_is(&site, "set tls.ca")
    });

    // The broker has moved to a new certificate authority; the device's own certificate is still the
    // old one.
    files.write("ca.pem", &second.pem);
    site.cloud.stop();
    site.cloud.again();
    wait_until("the broker refuses the old certificate", || {
        reason_is(&site, "certificate authority that the broker trusts")
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
        reason_is(&site, "does not speak TLS")
    });
}
