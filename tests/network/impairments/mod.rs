//! Links in separate network namespaces, impaired in every way while commands are sent over all of
//! them. `DOORWARD_CUTS=n` sets the number of impairments, with ten commands for each.

use doorward_testkit::site;
use doorward_testkit::test_ca;

mod namespaces;
mod settings;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use doorward_client::HolderKey;
use doorward_protocol::event_log::record::Event;
use doorward_protocol::wire::topics;
use doorward_protocol::wire::*;
use doorward_transport::MqttClient;
use doorward_transport::event_log::read_log;
use doorward_transport::{Broker, BrokerUrl, Tls};
use namespaces::{CLOUD, Namespaces, SITE, inside, set};
use site::{COUNT, DOORKEY, DOORWARD, Mosquitto, Process, Site, wait_until, wish};
use test_ca::{Authority, Files, today};

/// Default number of impairments; `DOORWARD_CUTS` overrides it.
const CUTS: u64 = 10;
const COMMANDS: u64 = 10;
/// Environment variable with the device's namespace, for the inner part of a test.
const INSIDE: &str = "DOORWARD_TEST_NAMESPACE";
/// File that shows that the inner part has run.
const STARTED: &str = "inner-part-started";
const PORT: u16 = 8883;

#[test]
fn links_are_cut_in_every_way_and_each_command_has_one_outcome_and_no_record_is_lost() {
    run_inside("impairments::inside_of_the_namespaces");
}

/// Runs the inner part of a test in the namespace of the brokers and users.
fn run_inside(test: &str) {
    let directory = tempfile::tempdir().unwrap();
    let namespaces = Namespaces::new(directory.path());
    let status = inside(
        &namespaces.people,
        std::env::current_exe().unwrap().to_str().unwrap(),
    )
    .args(["--exact", test, "--ignored", "--nocapture"])
    .env(INSIDE, &namespaces.device)
    .env("TMPDIR", directory.path())
    .status()
    .unwrap();
    assert!(status.success());
    assert!(
        directory.path().join(STARTED).exists(),
        "there is no test {test}"
    );
}

/// A route to the device: a broker or its listener, and the holder who uses it.
struct Route {
    broker: Broker,
    holder: HolderKey,
}

struct World {
    site: Site,
    local: Mosquitto,
    files: Files,
    authority: Authority,
    device_key: PublicKey,
    /// Directory of the control sockets of the cables.
    cables: PathBuf,
}

impl World {
    /// Starts a device with a link to the cloud's broker over TLS, one to a broker on the site, and its
    /// own listener, also with TLS.
    fn new(namespace: &str, cables: PathBuf, operations: &str) -> Self {
        std::fs::write(cables.join(STARTED), "").unwrap();
        let mut site = Site::new(COUNT);
        site.ready();
        site.share("anna", "device.reboot");
        site.share("ben", "device.reboot");
        site.share("carl", "device.reboot");
        site.kill();
        let files = Files(site.path().to_owned());
        let authority = Authority::new("cloud");
        let ca = files.write("ca.pem", &authority.pem);
        let cloud = files.pair("cloud", authority.sign(CLOUD[0], today()));
        let own = files.pair("own", authority.sign(SITE[1], today()));
        site.cloud.stop();
        site.cloud.more = format!(
            "autosave_interval 1\nlistener {PORT} {}\ncafile {}\ncertfile {}\nkeyfile {}\n",
            CLOUD[0],
            ca.display(),
            cloud.0.display(),
            cloud.1.display()
        );
        site.cloud.again();
        let mut local = Mosquitto::start(site.path(), "local");
        local.stop();
        local.more = format!("autosave_interval 1\nlistener 1883 {}\n", SITE[0]);
        local.again();
        let links = format!(
            "url = \"mqtts://{}:{PORT}\"\nkeep_alive_s = 10\ntls.ca = \"{}\"\n\
             [links.local]\nurl = \"mqtt://{}:1883\"\nkeep_alive_s = 10\n\
             [links.listener]\naddress = \"{}:{PORT}\"\ncertificate = \"{}\"\nkey = \"{}\"\n",
            CLOUD[0],
            ca.display(),
            SITE[0],
            SITE[1],
            own.0.display(),
            own.1.display()
        );
        site.write_config_with(&links, COUNT);
        let path = site.path().join("doorward.toml");
        let config = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, config + operations).unwrap();
        let log = std::fs::File::create(site.path().join("doorward.log")).unwrap();
        let daemon = inside(namespace, DOORWARD)
            .args(["run", "--config", "doorward.toml"])
            .current_dir(site.path())
            .stderr(log)
            .spawn();
        site.daemon = Some(Process(daemon.unwrap()));
        let device_key = PublicKey::new(&Bytes::from_hex(&site.device_key).unwrap()).unwrap();
        let world = Self {
            site,
            local,
            files,
            authority,
            device_key,
            cables,
        };
        world.wait_for_links();
        world
    }

    fn wait_for_links(&self) {
        wait_until("all links are up", || {
            let links = &self.site.status()["links"];
            ["cloud", "local", "listener"]
                .iter()
                .all(|name| links[name]["up"] == true)
        });
    }

    /// Returns the routes, each with a holder of its own.
    fn routes(&self) -> [Route; 3] {
        let holder = |name: &str| HolderKey::open(&self.site.path().join(name)).unwrap();
        let listener: BrokerUrl = format!("mqtts://{}:{PORT}", SITE[1]).parse().unwrap();
        let tls = Tls {
            ca: Some(self.site.path().join("ca.pem")),
            ..Tls::default()
        };
        [
            Route {
                broker: self.site.cloud.broker(),
                holder: holder("carl.key"),
            },
            Route {
                broker: self.local.broker(),
                holder: holder("anna.key"),
            },
            Route {
                broker: Broker {
                    tls,
                    ..listener.into()
                },
                holder: holder("ben.key"),
            },
        ]
    }

    /// Impairs one of the links; the kind of impairment follows from `round`.
    fn cut(&mut self, round: u64, rest: Duration) {
        let cable = (round % 2) as usize;
        let sleep = |milliseconds| std::thread::sleep(Duration::from_millis(milliseconds));
        let cables = self.cables.clone();
        let set = |loss, delay| set(&cables, cable, loss, delay);
        match round / 2 % 5 {
            0 => {
                // The cable is pulled.
                set(1.0, 0.0);
                sleep(700);
                set(0.0, 0.0);
            }
            1 => {
                // The broker is killed.
                self.broker(cable).kill();
                sleep(200);
                self.broker(cable).again();
            }
            2 => {
                // A half-open connection: the broker was restarted without the device noticing.
                set(1.0, 0.0);
                self.broker(cable).kill();
                self.broker(cable).again();
                set(0.0, 0.0);
                sleep(300);
            }
            3 => {
                // New certificates, for the broker that serves them and for the listener.
                self.files
                    .pair("own", self.authority.sign(SITE[1], today()));
                self.files
                    .pair("cloud", self.authority.sign(CLOUD[0], today()));
                self.site.cloud.stop();
                self.site.cloud.again();
            }
            _ => {
                set(0.3, 2.0);
                std::thread::sleep(rest);
                set(0.0, 0.0);
            }
        }
        sleep(300);
    }

    fn broker(&mut self, cable: usize) -> &mut Mosquitto {
        match cable {
            0 => &mut self.site.cloud,
            _ => &mut self.local,
        }
    }
}

/// Reads the device's state, which is needed to sign commands.
fn standing(route: &Route, device_key: &PublicKey, device: &Id) -> DeviceStanding {
    let runtime = runtime();
    let mut client = runtime
        .block_on(MqttClient::connect(&route.broker))
        .unwrap();
    let topic = topics::state(device);
    runtime.block_on(client.subscribe(vec![topic])).unwrap();
    let next = runtime.block_on(client.next(Duration::from_secs(10)));
    let (_, payload) = next.unwrap().unwrap();
    let envelope = Envelope::parse(&payload).unwrap();
    envelope.verify(device_key).unwrap();
    envelope.claims::<State>().unwrap().body.standing
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Receipts of one person: repeated receipts of a command must have the same bytes.
#[derive(Default)]
struct Receipts(BTreeMap<Hash, (Outcome, Vec<u8>)>);

impl Receipts {
    fn take(&mut self, payload: Vec<u8>, device_key: &PublicKey) -> Hash {
        let envelope = Envelope::parse(&payload).unwrap();
        envelope.verify(device_key).unwrap();
        let body = envelope.claims::<Receipt>().unwrap().body;
        // Only one disruptive operation may run at a time.
        let is_busy = body
            .code
            .as_ref()
            .is_some_and(|code| code.as_str() == "busy");
        assert!(body.outcome == Outcome::Done || is_busy, "{:?}", body.code);
        let receipt = (body.outcome, payload);
        let before = self.0.insert(body.command, receipt.clone());
        let same = before.is_none_or(|before| before == receipt);
        assert!(same, "two different receipts");
        body.command
    }
}

/// Sends one command repeatedly until its receipt arrives, as a client does that loses its connection.
/// Returns the number of attempts.
async fn send_until_receipt(
    route: &Route,
    device: &Id,
    command: &[u8],
    receipts: &mut Receipts,
    device_key: &PublicKey,
) -> u64 {
    let name = hash(command);
    for attempt in 1..=100 {
        let attempted = async {
            let mut client = MqttClient::connect(&route.broker).await.ok()?;
            let topic = topics::receipts(device, &route.holder.public());
            client.subscribe(vec![topic]).await.ok()?;
            let sent = client.publish(topics::command(device), command.to_vec(), false);
            sent.await.ok()?;
            loop {
                let (_, payload) = client.next(Duration::from_secs(6)).await.ok()??;
                if receipts.take(payload, device_key) == name {
                    return Some(());
                }
            }
        };
        if attempted.await.is_some() {
            return attempt;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no outcome for {name:?}");
}

#[test]
#[ignore = "is run by the other test, inside its namespaces"]
fn inside_of_the_namespaces() {
    let namespace = std::env::var(INSIDE).unwrap();
    let cables = std::env::temp_dir();
    let mut world = World::new(&namespace, cables, "");
    let cuts = std::env::var("DOORWARD_CUTS").ok();
    let cuts: u64 = cuts.map_or(CUTS, |text| text.parse().unwrap());
    let device = Id::new("ups-7").unwrap();
    let wish = wish("device.reboot", Map::default());
    let url = world.site.cloud.url();
    let collect = [
        "log", "collect", "ups-7", "--to", "copy", "--key", "ole.key", "--broker", &url,
    ];
    let follower = Command::new(DOORKEY)
        .env("DOORKEY_ISSUER", "issuer")
        .args(collect)
        .arg("--follow")
        .current_dir(world.site.path())
        .spawn();
    let follower = Process(follower.unwrap());
    let routes = world.routes();
    let device_key = PublicKey::new(&world.device_key.bytes()).unwrap();
    let standing = standing(&routes[0], &device_key, &device);
    let done = AtomicBool::new(false);
    let (sent, again) = (AtomicU64::new(0), AtomicU64::new(0));
    let start = Instant::now();
    let mut outcomes = BTreeMap::new();
    std::thread::scope(|scope| {
        let threads: Vec<_> = routes
            .iter()
            .map(|route| {
                scope.spawn(|| {
                    let mut receipts = Receipts::default();
                    let runtime = runtime();
                    while sent.fetch_add(1, Ordering::SeqCst) < cuts * COMMANDS
                        || !done.load(Ordering::SeqCst)
                    {
                        let counter = route.holder.next_counter().unwrap();
                        let now = doorward_transport::clock::system();
                        let command = route.holder.command(&wish, counter, &standing, now, None);
                        let command = command.unwrap();
                        let sending = send_until_receipt(
                            route,
                            &device,
                            &command,
                            &mut receipts,
                            &device_key,
                        );
                        let attempts = runtime.block_on(sending);
                        again.fetch_add(attempts - 1, Ordering::SeqCst);
                        // Slowly, so that the rate limit does not apply.
                        std::thread::sleep(Duration::from_millis(50));
                    }
                    receipts.0
                })
            })
            .collect();
        for round in 0..cuts {
            world.cut(round, Duration::from_secs(8));
        }
        done.store(true, Ordering::SeqCst);
        for thread in threads {
            outcomes.extend(thread.join().unwrap());
        }
    });
    let all = outcomes.len();
    outcomes.retain(|_, (outcome, _)| *outcome == Outcome::Done);
    println!(
        "{cuts} cuts, {all} commands, {} done, sent again {} times, {:?}",
        outcomes.len(),
        again.load(Ordering::SeqCst),
        start.elapsed()
    );
    assert_eq!(
        world.site.reboots(),
        outcomes.len(),
        "each command ran once"
    );
    world.wait_for_links();
    drop(follower);
    world.site.doorkey(&collect);
    let (copy, log) = (
        read_log(&world.site.path().join("copy")).unwrap(),
        read_log(&world.site.path().join("state/log")).unwrap(),
    );
    assert_eq!(copy.damage, None);
    assert_eq!(copy.records[..], log.records[..copy.records.len()]);
    let mut ended = BTreeMap::<Hash, u64>::new();
    for record in &copy.records {
        if let Event::Outcome(verdict) = &record.event {
            *ended.entry(verdict.command).or_default() += 1;
        }
    }
    assert!(outcomes.keys().all(|name| ended.get(name) == Some(&1)));
}
