//! The service killed at any moment while shares are made, extended and ended: database, broker and
//! devices agree in the end, no number is assigned twice, no share is lost or duplicated.
//!
//! `DOORWARD_SERVICE_KILLS` sets the number of kills; there are ten changes for each.

use crate::accounts;
use crate::postgres_server;
use doorward_testkit::site;

use std::collections::{BTreeMap, HashMap};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use accounts::{id, key};
use doorkey::domain::{AccountRole, Status};
use doorkey::service::{Platform, sign_in_message};
use doorward_protocol::wire::{Audience, Bytes, Envelope, Kind, Revocations};
use doorward_transport::MqttClient;
use serde_json::{Value, json};
use site::{DOORKEY, DOORWARD, Mosquitto, Process, block_on, free_port, wait_until};

const DEVICES: [&str; 2] = ["ups-1", "ups-2"];
const PEOPLE: [&str; 5] = ["anna", "ben", "cleo", "dora", "emil"];

/// Pseudo-random numbers from a seed: xorshift.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

struct Play {
    directory: tempfile::TempDir,
    broker: Mosquitto,
    ledger: Option<String>,
    ports: Vec<u16>,
    _devices: Vec<Process>,
}

impl Play {
    fn new(services: usize, ledger: Option<String>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let broker = Mosquitto::start(directory.path(), "broker");
        let mut play = Self {
            broker,
            ledger,
            ports: (0..services).map(|_| free_port()).collect(),
            _devices: Vec::new(),
            directory,
        };
        block_on(async {
            let now = doorward_transport::clock::system();
            let (path, url) = (play.directory.path().join("issuer"), play.ledger.as_deref());
            let platform = Platform::init(&path, url, id("acme"), now).await.unwrap();
            let ole = accounts::account("ole", AccountRole::Holder, now);
            platform.add_account(&ole).await.unwrap();
            for name in DEVICES {
                let device_key = play.start_device(name);
                let mut new = accounts::registration(name, "ole");
                new.device_key = Bytes::from_hex(&device_key).unwrap();
                platform.register(new, now).await.unwrap();
            }
            platform.ledger().close().await;
        });
        play
    }

    fn start_device(&mut self, name: &str) -> String {
        let path = self.directory.path();
        let state = path.join(format!("{name}.state"));
        let provisioned = Command::new(DOORWARD)
            .args(["provision", "--json", "--yes", "--device", name, "--state"])
            .arg(&state)
            .arg("--issuers")
            .arg(path.join("issuer/issuers.cwt"))
            .output()
            .unwrap();
        let claim: Value = serde_json::from_slice(&provisioned.stdout).unwrap();
        let config = format!(
            "state = \"{}\"\n[links.cloud]\nurl = \"{}\"\n\
             [operations.\"status.read\"]\nclass = \"read\"\nhandler = \"builtin\"\n",
            state.display(),
            self.broker.url(),
        );
        let file = path.join(format!("{name}.toml"));
        std::fs::write(&file, config).unwrap();
        let log = std::fs::File::create(path.join(format!("{name}.log"))).unwrap();
        let child = Command::new(DOORWARD)
            .arg("run")
            .arg("--config")
            .arg(file)
            .stderr(log)
            .spawn()
            .unwrap();
        self._devices.push(Process(child));
        claim["key"].as_str().unwrap().to_owned()
    }

    fn start_service(&self, port: u16) -> Process {
        let path = self.directory.path();
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(path.join("service.log"))
            .unwrap();
        let mut command = Command::new(DOORKEY);
        command
            .args(["serve", "--requests-per-minute", "100000000", "--issuer"])
            .arg(path.join("issuer"))
            .args([
                "--listen",
                &format!("127.0.0.1:{port}"),
                "--broker",
                &self.broker.url(),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        if let Some(url) = &self.ledger {
            command.args(["--database", url]);
        }
        Process(command.spawn().unwrap())
    }

    /// Sends a request to one of the services; `None` if it was killed before its response.
    fn request(&self, port: u16, token: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(20)))
            .build()
            .new_agent();
        let request = ureq::http::Request::builder()
            .method("POST")
            .uri(format!("http://127.0.0.1:{port}{path}"))
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {token}"));
        let mut response = agent.run(request.body(body.to_string()).unwrap()).ok()?;
        let body = response.body_mut().read_to_vec().ok()?;
        Some((
            response.status().as_u16(),
            serde_json::from_slice(&body).ok()?,
        ))
    }

    fn sign_in(&self, port: u16) -> String {
        let mut token = None;
        wait_until("ole can sign in", || {
            let account = json!({ "account": "ole" });
            let Some((201, challenge)) = self.request(port, "", "/v1/challenges", &account) else {
                return false;
            };
            let nonce = challenge["nonce"].as_str().unwrap();
            let text = sign_in_message(&id("acme"), &id("ole"), &Bytes::from_hex(nonce).unwrap());
            let signed = json!({
                "account": "ole", "nonce": nonce, "signature": key("ole").sign_text(&text).hex(),
            });
            let response = self.request(port, "", "/v1/sessions", &signed);
            token = response.and_then(|(_, body)| body["token"].as_str().map(str::to_owned));
            token.is_some()
        });
        token.unwrap()
    }
}

/// Published lists: for each audience the sequence numbers with the payloads.
type Published = Arc<Mutex<BTreeMap<Audience, Vec<(u64, Vec<u8>)>>>>;

/// Records the revocation lists that are published.
fn record_lists(
    play: &Play,
    stop: &Arc<AtomicBool>,
    published: &Published,
) -> std::thread::JoinHandle<()> {
    let (broker, stop, published) = (play.broker.broker(), stop.clone(), published.clone());
    std::thread::spawn(move || {
        block_on(async {
            let mut client = MqttClient::connect(&broker).await.unwrap();
            let filter = "doorward/v1/+/statements/revocations".to_owned();
            client.subscribe(vec![filter]).await.unwrap();
            while !stop.load(Ordering::Relaxed) {
                let next = client.next(Duration::from_millis(200)).await.unwrap();
                if let Some((_, payload)) = next {
                    let list: Revocations = Envelope::parse(&payload).unwrap().claims().unwrap();
                    let mut published = published.lock().unwrap();
                    published
                        .entry(list.aud)
                        .or_default()
                        .push((list.body.seq, payload));
                }
            }
        });
    })
}

/// Changes shares while services are killed, then compares database, broker and devices.
fn play(services: usize, ledger: Option<String>, kills: u64, seed: u64) {
    println!("seed {seed}");
    let play = Play::new(services, ledger);
    let stop = Arc::new(AtomicBool::new(false));
    let published = Published::default();
    let recorder = record_lists(&play, &stop, &published);
    let running: Mutex<Vec<Process>> = Mutex::new(
        play.ports
            .iter()
            .map(|port| play.start_service(*port))
            .collect(),
    );
    let tokens: Vec<String> = play.ports.iter().map(|port| play.sign_in(*port)).collect();
    let mut answered: HashMap<String, String> = HashMap::new();
    let mut requested = 0;
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (play, running, ended) = (&play, &running, &ended);
        let killer = scope.spawn(move || {
            let mut dice = Dice(seed ^ 0x5555);
            for _ in 0..kills {
                std::thread::sleep(Duration::from_millis(20 + dice.roll(300)));
                let at = usize::try_from(dice.roll(play.ports.len() as u64)).unwrap();
                let mut running = running.lock().unwrap();
                let again = play.restart_service(&mut running, at);
                running.insert(at, again);
            }
            ended.store(true, Ordering::Relaxed);
        });
        let mut dice = Dice(seed);
        let mut live: Vec<String> = Vec::new();
        while requested < kills * 10 || !ended.load(Ordering::Relaxed) {
            let at = usize::try_from(dice.roll(play.ports.len() as u64)).unwrap();
            let (port, token) = (play.ports[at], &tokens[at]);
            let pick =
                |dice: &mut Dice, from: usize| usize::try_from(dice.roll(from as u64)).unwrap();
            let body;
            match (dice.roll(10), live.is_empty()) {
                (0..4, _) | (_, true) => {
                    let who = PEOPLE[pick(&mut dice, PEOPLE.len())];
                    let device = DEVICES[pick(&mut dice, DEVICES.len())];
                    let mark = format!("change {requested}");
                    body = json!({
                        "targets": [device], "permissions": ["view"], "seconds": 86400,
                        "description": mark,
                        "with": { "account": { "account": who, "key": key(who).public().hex() } },
                    });
                    if let Some((201, made)) = play.request(port, token, "/v1/shares", &body)
                        && let Some(share) = made["each"][0]["share"]["id"].as_str()
                    {
                        live.push(share.to_owned());
                        answered.insert(mark, share.to_owned());
                    }
                }
                (4..6, _) => {
                    let share = &live[pick(&mut dice, live.len())];
                    let path = format!("/v1/shares/{share}/extension");
                    play.request(port, token, &path, &json!({ "seconds": 60 }));
                }
                _ => {
                    let share = live.swap_remove(pick(&mut dice, live.len()));
                    body = json!({ "shares": [share] });
                    let answer = play.request(port, token, "/v1/cancellations", &body);
                    if answer.is_none() {
                        // The outcome is unknown, so the request is repeated later.
                        live.push(share);
                    }
                }
            }
            requested += 1;
            if play
                .request(port, token, "/v1/challenges", &json!({ "account": "ole" }))
                .is_none()
            {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        killer.join().unwrap();
    });
    check_agreement(&play, &answered, requested);
    stop.store(true, Ordering::Relaxed);
    recorder.join().unwrap();
    let published = published.lock().unwrap();
    for (audience, lists) in published.iter() {
        let mut by_number: BTreeMap<u64, &Vec<u8>> = BTreeMap::new();
        for (seq, payload) in lists {
            let first = by_number.entry(*seq).or_insert(payload);
            assert_eq!(*first, payload, "two lists {seq} of {audience}");
        }
        println!(
            "{audience}: lists up to {}",
            by_number.keys().next_back().unwrap()
        );
    }
    drop(running);
}

impl Play {
    /// Kills a service and starts it again on the same port.
    fn restart_service(&self, running: &mut Vec<Process>, at: usize) -> Process {
        running.remove(at).kill();
        self.start_service(self.ports[at])
    }
}

fn check_agreement(play: &Play, answered: &HashMap<String, String>, requested: u64) {
    // The database connections need one runtime for their lifetime.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (path, url) = (play.directory.path().join("issuer"), play.ledger.as_deref());
    let platform = runtime.block_on(async { Platform::open(&path, url).await.unwrap() });
    let now = doorward_transport::clock::system;
    let listed = || {
        runtime.block_on(async {
            let mut listed = Vec::new();
            for name in DEVICES {
                let audience = Audience::Device(id(name));
                for share in platform.shares(&audience, now()).await.unwrap() {
                    listed.push(
                        platform
                            .find_share(&share.id, now())
                            .await
                            .unwrap()
                            .unwrap(),
                    );
                }
            }
            listed
        })
    };
    // Confirmations that were lost while no service ran are requested again after a while.
    wait_longer("the devices have confirmed everything", || {
        let settled = |status| matches!(status, Status::OnDevice | Status::CancelApplied);
        listed().iter().all(|listed| settled(listed.status))
    });
    let listed = listed();
    // No share is lost or duplicated.
    let mut marks: HashMap<String, u32> = HashMap::new();
    for listed in &listed {
        let mark = listed.share.description.as_ref().unwrap().to_string();
        *marks.entry(mark).or_default() += 1;
    }
    assert!(
        marks.values().all(|count| *count == 1),
        "a share exists twice"
    );
    for (mark, share) in answered {
        assert!(
            marks.contains_key(mark),
            "{mark}, share {share}, was answered and is lost"
        );
    }
    // The broker retains the live shares of the database, and no ended ones.
    let live: Vec<String> = listed
        .iter()
        .filter(|listed| listed.status == Status::OnDevice)
        .map(|listed| listed.share.id.hex())
        .collect();
    // Statements that a killed service had claimed are published by another one after half a minute.
    wait_longer("the broker retains the shares of the database", || {
        let mut retained = retained_shares(play);
        let mut live = live.clone();
        retained.sort();
        live.sort();
        retained == live
    });
    for name in DEVICES {
        let audience = Audience::Device(id(name));
        let newest = runtime.block_on(async {
            let bytes = platform
                .statement(&audience, Kind::Revocations, "")
                .await
                .unwrap();
            let refreshed = bytes.map(|bytes| {
                let list: Revocations = Envelope::parse(&bytes).unwrap().claims().unwrap();
                list.body.seq
            });
            refreshed.unwrap_or(0)
        });
        let state = play.directory.path().join(format!("{name}.state"));
        wait_until("the device has applied the newest list", || {
            let out = Command::new(DOORWARD)
                .args(["status", "--json", "--state"])
                .arg(&state)
                .output()
                .unwrap();
            let status: Value = serde_json::from_slice(&out.stdout).unwrap_or_default();
            status["lists"][name]["seq"].as_u64().unwrap_or(0) == newest
        });
    }
    let cancelled = listed.len() - live.len();
    println!(
        "{requested} changes requested, {} shares confirmed, {} made, {} live, {cancelled} ended",
        answered.len(),
        listed.len(),
        live.len(),
    );
    assert!(listed.len() as u64 > requested / 10);
    runtime.block_on(async { platform.ledger().close().await });
}

/// Ids of the shares that the broker retains.
fn retained_shares(play: &Play) -> Vec<String> {
    block_on(async {
        let mut client = MqttClient::connect(&play.broker.broker()).await.unwrap();
        let filter = "doorward/v1/+/statements/share/+".to_owned();
        client.subscribe(vec![filter]).await.unwrap();
        let mut retained = Vec::new();
        while let Some((topic, payload)) = client.next(Duration::from_millis(300)).await.unwrap() {
            if !payload.is_empty() {
                retained.push(topic.rsplit('/').next().unwrap().to_owned());
            }
        }
        retained
    })
}

fn kills() -> u64 {
    let set = std::env::var("DOORWARD_SERVICE_KILLS").ok();
    set.and_then(|text| text.parse().ok()).unwrap_or(12)
}

fn seed() -> u64 {
    let set = std::env::var("DOORWARD_SEED").ok();
    set.and_then(|text| text.parse().ok())
        .unwrap_or_else(|| getrandom::u64().unwrap() | 1)
}

#[test]
fn killed_at_any_moment_the_service_loses_and_duplicates_nothing() {
    play(1, None, kills(), seed());
}

#[test]
fn two_services_on_one_postgresql_assign_no_number_twice() {
    let server = postgres_server::Postgres::start();
    let url = block_on(async { server.database("shares").await });
    play(2, Some(url), kills(), seed());
}

/// Waits up to 100 seconds.
fn wait_longer(what: &str, mut holds: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !holds() {
        assert!(
            start.elapsed() < Duration::from_secs(100),
            "not so in 100 s: {what}"
        );
        std::thread::sleep(Duration::from_millis(200));
    }
}
