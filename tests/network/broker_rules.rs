//! The rules for brokers in `config/`, on a real one: the main job works, and nobody reads or
//! writes what is not theirs.

use doorward_testkit::site;

#[allow(dead_code, unreachable_pub, reason = "not every test uses everything")]
use std::path::PathBuf;
use std::time::Duration;

use doorward_transport::Broker;
use doorward_transport::MqttClient;
use site::{COUNT, Site, block_on, wait_until};

/// What somebody publishes who must not.
const FORGED: &[u8] = b"forged";
/// When nothing comes for so long, nothing will.
const SILENCE: Duration = Duration::from_millis(700);

/// A site whose broker asks for user names and keeps to the rules.
struct Fenced {
    site: Site,
    /// Anna's user name: her key.
    anna: String,
    /// The owner's.
    ole: String,
}

impl Fenced {
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
        let fenced = Self { site, anna, ole };
        let link = format!(
            "url = \"{}\"\nuser = \"ups-7\"\npassword_file = \"{}\"",
            fenced.site.cloud.url(),
            fenced.password("ups-7").display()
        );
        fenced.site.write_config_with(&link, COUNT);
        fenced
    }

    /// The file with somebody's password.
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

    /// What `doorkey` needs to log in.
    fn log_in(&self, user: &str) -> Vec<String> {
        let file = self.password(user).display().to_string();
        let url = self.site.cloud.url();
        ["--broker", &url, "--user", user, "--password-file", &file]
            .map(str::to_owned)
            .to_vec()
    }

    fn doorkey(&self, user: &str, args: &[&str]) -> serde_json::Value {
        let access = self.log_in(user);
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

/// The topics of all that somebody hears while `meanwhile` happens, but for what is forged.
fn overheard(broker: &Broker, meanwhile: impl FnOnce()) -> Vec<String> {
    let (ready, go) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let listening = scope.spawn(|| {
            block_on(async {
                let mut caller = MqttClient::connect(broker).await.unwrap();
                caller.subscribe(vec!["#".to_owned()]).await.unwrap();
                ready.send(()).unwrap();
                let mut heard = Vec::new();
                while let Some((topic, payload)) = caller.next(SILENCE).await.unwrap() {
                    assert_ne!(payload, FORGED, "{topic}");
                    heard.push(topic);
                }
                heard
            })
        });
        go.recv().unwrap();
        meanwhile();
        listening.join().unwrap()
    })
}

#[test]
fn with_the_rules_the_main_job_works_and_strangers_neither_read_nor_write() {
    let mut fenced = Fenced::new();
    fenced.site.start();
    let ole = fenced.ole.clone();
    wait_until("the device answers its owner", || {
        fenced.send(&ole, "ole", "status.read")["outcome"] == "done"
    });

    // The issuer's word reaches the device, anna's command too, and her receipt reaches her.
    fenced.site.person("bob");
    let shared = fenced.doorkey(
        "issuer",
        &[
            "share",
            "ups-7",
            "--to",
            "bob",
            "--key",
            "bob.pub",
            "--allow",
            "status.read",
            "--json",
        ],
    );
    assert_eq!(shared["published"], true);
    let anna = fenced.anna.clone();
    let reboot = || {
        assert_eq!(
            fenced.send(&anna, "anna", "device.reboot")["outcome"],
            "done"
        )
    };

    let receipts = |user: &str| format!("doorward/v1/ups-7/receipts/{user}");
    let of_strangers = overheard(&fenced.broker("stranger"), reboot);
    assert!(
        of_strangers
            .iter()
            .all(|topic| topic == "doorward/v1/ups-7/state"),
        "{of_strangers:?}"
    );
    let of_devices = overheard(&fenced.broker("ups-8"), reboot);
    assert!(
        of_devices
            .iter()
            .all(|topic| topic == "doorward/v1/ups-7/state"),
        "{of_devices:?}"
    );
    let of_ole = overheard(&fenced.broker(&ole), reboot);
    assert!(!of_ole.contains(&receipts(&anna)), "{of_ole:?}");
    let of_issuer = overheard(&fenced.broker("issuer"), reboot);
    assert!(of_issuer.contains(&receipts(&anna)), "{of_issuer:?}");
    assert!(!of_issuer.contains(&"doorward/v1/ups-7/command".to_owned()));
    assert_eq!(fenced.site.reboots(), 4);

    // What strangers, people and other devices publish where they must not reaches nobody.
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
        overheard(&fenced.broker("issuer"), || {
            block_on(async {
                let caller = MqttClient::connect(&fenced.broker(user)).await.unwrap();
                for topic in forbidden {
                    let _ = caller
                        .publish(topic.to_owned(), FORGED.to_vec(), true)
                        .await;
                }
            });
        });
    }
    let kept = overheard(&fenced.broker("ups-7"), || {});
    assert!(
        !kept.iter().any(|topic| topic.contains("revocations")),
        "{kept:?}"
    );
    assert_eq!(fenced.site.status()["links"]["cloud"]["up"], true);
}

#[test]
fn without_a_user_name_or_with_a_wrong_password_nobody_gets_in_and_is_told_why() {
    let fenced = Fenced::new();
    let plain = fenced.site.cloud.broker();
    let why = |broker: &Broker| {
        let came = block_on(MqttClient::connect(broker)).err();
        came.unwrap().to_string()
    };
    assert!(why(&plain).contains("may not connect"), "{}", why(&plain));
    let broker = fenced.broker("stranger");
    std::fs::write(fenced.password("stranger"), "guess").unwrap();
    assert!(why(&broker).contains("may not connect"), "{}", why(&broker));

    // The device is told the same, and takes a new password without a restart.
    let mut fenced = fenced;
    let file = fenced.password("ups-7");
    std::fs::write(&file, "guess").unwrap();
    fenced.site.start();
    let link = |fenced: &Fenced| fenced.site.status()["links"]["cloud"].clone();
    wait_until("the device is told why", || {
        link(&fenced)["why"].to_string().contains("may not connect")
    });
    fenced.password("ups-7");
    wait_until("the device is connected", || link(&fenced)["up"] == true);
}
