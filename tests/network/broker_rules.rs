//! The access rules for brokers in `config/`, on a real broker: the main job works, and no user can
//! read or write topics of others.

use doorward_testkit::site;

use std::path::PathBuf;
use std::time::Duration;

use doorward_transport::Broker;
use doorward_transport::MqttClient;
use site::{COUNT, Site, block_on, wait_until};

/// Payload of a forbidden publish.
const FORGED: &[u8] = b"forged";
/// Time without a message after which no more are expected.
const SILENCE: Duration = Duration::from_millis(700);

/// A site whose broker requires user names and enforces the access rules.
struct ProtectedSite {
    site: Site,
    /// User name of anna: her public key.
    anna: String,
    /// User name of the owner.
    ole: String,
}

impl ProtectedSite {
    fn new() -> Self {
        let mut site = Site::new(COUNT);
        site.ready();
        site.share("anna", "device.reboot");
        let user = |name: &str| {
            let key = std::fs::read_to_string(site.path().join(format!("{name}.pub")));
            key.unwrap().trim().to_owned()
        };
        let (anna, ole) = (user("anna"), user("ole"));
        let passwords: String = ["ups-7", "ups-8", "issuer", "stranger", &anna, &ole]
            .map(|name| format!("{name}:secret of {name}\n"))
            .concat();
        let file = site.path().join("passwords");
        std::fs::write(&file, passwords).unwrap();
        let hashed = std::process::Command::new("mosquitto_passwd")
            .arg("-U")
            .arg(&file)
            .status();
        assert!(hashed.unwrap().success());
        let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/config/mosquitto.acl");
        site.kill();
        site.cloud.stop();
        site.cloud.more = format!(
            "allow_anonymous false\npassword_file {}\nacl_file {rules}\n",
            file.display()
        );
        site.cloud.again();
        let protected = Self { site, anna, ole };
        let link = format!(
            "url = \"{}\"\nuser = \"ups-7\"\npassword_file = \"{}\"",
            protected.site.cloud.url(),
            protected.password("ups-7").display()
        );
        protected.site.write_config_with(&link, COUNT);
        protected
    }

    /// Writes a file with the password of `user`.
    fn password(&self, user: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.site.path().join(format!("{user}.password"));
        std::fs::write(&path, format!("secret of {user}\n")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        path
    }

    fn broker(&self, user: &str) -> Broker {
        Broker {
            user: Some(user.to_owned()),
            password_file: Some(self.password(user)),
            ..self.site.cloud.broker()
        }
    }

    /// Options of `doorkey` to log in.
    fn login_args(&self, user: &str) -> Vec<String> {
        let file = self.password(user).display().to_string();
        let url = self.site.cloud.url();
        ["--broker", &url, "--user", user, "--password-file", &file]
            .map(str::to_owned)
            .to_vec()
    }

    fn doorkey(&self, user: &str, args: &[&str]) -> serde_json::Value {
        let access = self.login_args(user);
        let mut args = args.to_vec();
        args.extend(access.iter().map(String::as_str));
        let out = self.site.run(site::DOORKEY, &args);
        serde_json::from_slice(&out.stdout).unwrap_or_default()
    }

    fn send(&self, user: &str, name: &str, operation: &str) -> serde_json::Value {
        let (key, pass) = (format!("{name}.key"), format!("{name}.pass"));
        let mut args = vec![
            "send", "ups-7", operation, "--json", "--wait", "10", "--key", &key,
        ];
        if self.site.path().join(&pass).exists() {
            args.extend(["--pass", &pass]);
        }
        self.doorkey(user, &args)
    }
}

/// Returns the topics of all messages received while `meanwhile` runs; none of them may be forged.
fn topics_received(broker: &Broker, meanwhile: impl FnOnce()) -> Vec<String> {
    let (ready, go) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let listening = scope.spawn(|| {
            block_on(async {
                let mut client = MqttClient::connect(broker).await.unwrap();
                client.subscribe(vec!["#".to_owned()]).await.unwrap();
                ready.send(()).unwrap();
                let mut topics = Vec::new();
                while let Some((topic, payload)) = client.next(SILENCE).await.unwrap() {
                    assert_ne!(payload, FORGED, "{topic}");
                    topics.push(topic);
                }
                topics
            })
        });
        go.recv().unwrap();
        meanwhile();
        listening.join().unwrap()
    })
}

#[test]
fn with_the_broker_rules_the_main_job_works_and_strangers_neither_read_nor_write() {
    let mut protected = ProtectedSite::new();
    protected.site.start();
    let ole = protected.ole.clone();
    wait_until("the device answers its owner", || {
        protected.send(&ole, "ole", "status.read")["outcome"] == "done"
    });

    // Statements of the issuer and commands of anna reach the device, and her receipt reaches her.
    protected.site.person("bob");
    let shared = protected.doorkey(
        "issuer",
        &[
            "share",
            "ups-7",
            "--to",
            "bob",
            "--public-key",
            "bob.pub",
            "--allow",
            "status.read",
            "--json",
        ],
    );
    assert_eq!(shared["published"], true);
    let anna = protected.anna.clone();
    let reboot = || {
        assert_eq!(
            protected.send(&anna, "anna", "device.reboot")["outcome"],
            "done"
        )
    };

    let receipts = |user: &str| format!("doorward/v1/ups-7/receipts/{user}");
    let of_strangers = topics_received(&protected.broker("stranger"), reboot);
    assert!(
        of_strangers
            .iter()
            .all(|topic| topic == "doorward/v1/ups-7/state"),
        "{of_strangers:?}"
    );
    let of_devices = topics_received(&protected.broker("ups-8"), reboot);
    assert!(
        of_devices
            .iter()
            .all(|topic| topic == "doorward/v1/ups-7/state"),
        "{of_devices:?}"
    );
    let of_ole = topics_received(&protected.broker(&ole), reboot);
    assert!(!of_ole.contains(&receipts(&anna)), "{of_ole:?}");
    let of_issuer = topics_received(&protected.broker("issuer"), reboot);
    assert!(of_issuer.contains(&receipts(&anna)), "{of_issuer:?}");
    assert!(!of_issuer.contains(&"doorward/v1/ups-7/command".to_owned()));
    assert_eq!(protected.site.reboots(), 4);

    // Forbidden publishes of strangers, users and other devices are not delivered.
    let forbidden = [
        "doorward/v1/ups-7/statements/revocations",
        "doorward/v1/site/north/statements/share/00",
        "doorward/v1/ups-7/state",
        "doorward/v1/ups-7/events",
        "doorward/v1/ups-7/records",
        "doorward/v1/ups-7/link/cloud",
        "doorward/v1/ups-7/receipts/00",
        "other",
    ];
    for user in ["stranger", "ups-8", &anna] {
        topics_received(&protected.broker("issuer"), || {
            block_on(async {
                let client = MqttClient::connect(&protected.broker(user)).await.unwrap();
                for topic in forbidden {
                    let _ = client
                        .publish(topic.to_owned(), FORGED.to_vec(), true)
                        .await;
                }
            });
        });
    }
    let kept = topics_received(&protected.broker("ups-7"), || {});
    assert!(
        !kept.iter().any(|topic| topic.contains("revocations")),
        "{kept:?}"
    );
    assert_eq!(protected.site.status()["links"]["cloud"]["up"], true);
}

#[test]
fn a_missing_user_name_and_a_wrong_password_are_refused_with_the_reason() {
    let protected = ProtectedSite::new();
    let plain = protected.site.cloud.broker();
    let why = |broker: &Broker| {
        let error = block_on(MqttClient::connect(broker)).err();
        error.unwrap().to_string()
    };
    assert!(why(&plain).contains("may not connect"), "{}", why(&plain));
    let broker = protected.broker("stranger");
    std::fs::write(protected.password("stranger"), "guess").unwrap();
    assert!(why(&broker).contains("may not connect"), "{}", why(&broker));

    // The device reports the same reason, and uses a new password without a restart.
    let mut protected = protected;
    let file = protected.password("ups-7");
    std::fs::write(&file, "guess").unwrap();
    protected.site.start();
    let link = |protected: &ProtectedSite| protected.site.status()["links"]["cloud"].clone();
    wait_until("the device reports the reason", || {
        link(&protected)["why"]
            .to_string()
            .contains("may not connect")
    });
    protected.password("ups-7");
    wait_until("the device is connected", || link(&protected)["up"] == true);
}
