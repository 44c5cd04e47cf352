//! The service killed at any moment while shares are made, extended and ended: ledger, broker and
//! devices agree in the end, no number is given twice, no share is lost or doubled.
//!
//! `DOORWARD_SERVICE_KILLS` sets how often it is killed; there are ten changes for each.

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

/// Random enough, and the same again for the same seed.
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
            .arg("--issuer")
            .arg(path.join("issuer"))
            .args(["serve", "--requests-per-minute", "100000000"])
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
            command.args(["--ledger", url]);
        }
        Process(command.spawn().unwrap())
    }

    /// Asks one of the services; `None` if it was killed before it had answered.
    fn ask(&self, port: u16, token: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
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
        let mut answer = agent.run(request.body(body.to_string()).unwrap()).ok()?;
        let read = answer.body_mut().read_to_vec().ok()?;
        Some((
            answer.status().as_u16(),
            serde_json::from_slice(&read).ok()?,
        ))
    }

    fn sign_in(&self, port: u16) -> String {
        let mut token = None;
        wait_until("the service lets ole in", || {
            let asking = json!({ "account": "ole" });
            let Some((201, challenge)) = self.ask(port, "", "/v1/challenges", &asking) else {
                return false;
            };
            let nonce = challenge["nonce"].as_str().unwrap();
            let text = sign_in_message(&id("acme"), &id("ole"), &Bytes::from_hex(nonce).unwrap());
            let signed = json!({
                "account": "ole", "nonce": nonce, "signature": key("ole").sign_text(&text).hex(),
            });
            let answer = self.ask(port, "", "/v1/sessions", &signed);
            token = answer.and_then(|(_, said)| said["token"].as_str().map(str::to_owned));
            token.is_some()
        });
        token.unwrap()
    }
}

/// What was published: for each audience the numbers of its lists, with what each said.
type Seen = Arc<Mutex<BTreeMap<Audience, Vec<(u64, Vec<u8>)>>>>;

fn overhear(play: &Play, stop: &Arc<AtomicBool>, seen: &Seen) -> std::thread::JoinHandle<()> {
    let (broker, stop, seen) = (play.broker.broker(), stop.clone(), seen.clone());
    std::thread::spawn(move || {
        block_on(async {
            let mut caller = MqttClient::connect(&broker).await.unwrap();
            let filter = "doorward/v1/+/statements/revocations".to_owned();
            caller.subscribe(vec![filter]).await.unwrap();
            while !stop.load(Ordering::Relaxed) {
                let next = caller.next(Duration::from_millis(200)).await.unwrap();
                if let Some((_, payload)) = next {
                    let list: Revocations = Envelope::parse(&payload).unwrap().claims().unwrap();
                    let mut seen = seen.lock().unwrap();
                    seen.entry(list.aud)
                        .or_default()
                        .push((list.body.seq, payload));
                }
            }
        });
    })
}

/// Changes shares while services are killed, then looks whether all agree.
fn play(services: usize, ledger: Option<String>, kills: u64, seed: u64) {
    println!("seed {seed}");
    let play = Play::new(services, ledger);
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Seen::default();
    let listening = overhear(&play, &stop, &seen);
    let running: Mutex<Vec<Process>> = Mutex::new(
        play.ports
            .iter()
            .map(|port| play.start_service(*port))
            .collect(),
    );
    let tokens: Vec<String> = play.ports.iter().map(|port| play.sign_in(*port)).collect();
    let mut answered: HashMap<String, String> = HashMap::new();
    let mut asked = 0;
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (play, running, ended) = (&play, &running, &ended);
        let killer = scope.spawn(move || {
            let mut dice = Dice(seed ^ 0x5555);
            for _ in 0..kills {
                std::thread::sleep(Duration::from_millis(20 + dice.roll(300)));
                let at = usize::try_from(dice.roll(play.ports.len() as u64)).unwrap();
                let mut running = running.lock().unwrap();
                let again = play.start_service_after(&mut running, at);
                running.insert(at, again);
            }
            ended.store(true, Ordering::Relaxed);
        });
        let mut dice = Dice(seed);
        let mut live: Vec<String> = Vec::new();
        while asked < kills * 10 || !ended.load(Ordering::Relaxed) {
            let at = usize::try_from(dice.roll(play.ports.len() as u64)).unwrap();
            let (port, token) = (play.ports[at], &tokens[at]);
            let pick =
                |dice: &mut Dice, from: usize| usize::try_from(dice.roll(from as u64)).unwrap();
            let body;
            match (dice.roll(10), live.is_empty()) {
                (0..4, _) | (_, true) => {
                    let who = PEOPLE[pick(&mut dice, PEOPLE.len())];
                    let device = DEVICES[pick(&mut dice, DEVICES.len())];
                    let mark = format!("change {asked}");
                    body = json!({
                        "targets": [device], "permissions": ["view"], "seconds": 86400,
                        "description": mark,
                        "with": { "account": { "account": who, "key": key(who).public().hex() } },
                    });
                    if let Some((201, made)) = play.ask(port, token, "/v1/shares", &body)
                        && let Some(share) = made["each"][0]["share"]["id"].as_str()
                    {
                        live.push(share.to_owned());
                        answered.insert(mark, share.to_owned());
                    }
                }
                (4..6, _) => {
                    let share = &live[pick(&mut dice, live.len())];
                    let path = format!("/v1/shares/{share}/extension");
                    play.ask(port, token, &path, &json!({ "seconds": 60 }));
                }
                _ => {
                    let share = live.swap_remove(pick(&mut dice, live.len()));
                    body = json!({ "shares": [share] });
                    let answer = play.ask(port, token, "/v1/cancellations", &body);
                    if answer.is_none() {
                        // Whether it has ended is not known; asking once more says so.
                        live.push(share);
                    }
                }
            }
            asked += 1;
            if play
                .ask(port, token, "/v1/challenges", &json!({ "account": "ole" }))
                .is_none()
            {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        killer.join().unwrap();
    });
    agree(&play, &answered, asked);
    stop.store(true, Ordering::Relaxed);
    listening.join().unwrap();
    let seen = seen.lock().unwrap();
    for (audience, lists) in seen.iter() {
        let mut said: BTreeMap<u64, &Vec<u8>> = BTreeMap::new();
        for (seq, payload) in lists {
            let first = said.entry(*seq).or_insert(payload);
            assert_eq!(*first, payload, "two lists {seq} of {audience}");
        }
        println!(
            "{audience}: lists up to {}",
            said.keys().next_back().unwrap()
        );
    }
    drop(running);
}

impl Play {
    /// Kills a service and starts it again on the same port.
    fn start_service_after(&self, running: &mut Vec<Process>, at: usize) -> Process {
        running.remove(at).kill();
        self.start_service(self.ports[at])
    }
}

fn agree(play: &Play, answered: &HashMap<String, String>, asked: u64) {
    // The ledger's connections live as long as one runtime.
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
                    listed.push(platform.find(&share.id, now()).await.unwrap().unwrap());
                }
            }
            listed
        })
    };
    // What was confirmed while nobody listened is asked for again, after a while.
    wait_longer("the devices have said that they have all of it", || {
        let settled = |status| matches!(status, Status::OnDevice | Status::CancelApplied);
        listed().iter().all(|listed| settled(listed.status))
    });
    let listed = listed();
    // None lost, none doubled.
    let mut marks: HashMap<String, u32> = HashMap::new();
    for listed in &listed {
        let mark = listed.share.description.as_ref().unwrap().to_string();
        *marks.entry(mark).or_default() += 1;
    }
    assert!(
        marks.values().all(|count| *count == 1),
        "a share is there twice"
    );
    for (mark, share) in answered {
        assert!(
            marks.contains_key(mark),
            "{mark}, share {share}, was answered and is lost"
        );
    }
    // The broker keeps what is in the ledger: the live shares, and nothing that has ended.
    let live: Vec<String> = listed
        .iter()
        .filter(|listed| listed.status == Status::OnDevice)
        .map(|listed| listed.share.id.hex())
        .collect();
    // What a killed service had taken to publish, another takes after half a minute.
    wait_longer("the broker keeps what is in the ledger", || {
        let mut kept = kept_shares(play);
        let mut live = live.clone();
        kept.sort();
        live.sort();
        kept == live
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
        wait_until(
            "the device obeys the newest list and has what is live",
            || {
                let out = Command::new(DOORWARD)
                    .args(["status", "--json", "--state"])
                    .arg(&state)
                    .output()
                    .unwrap();
                let said: Value = serde_json::from_slice(&out.stdout).unwrap_or_default();
                said["lists"][name]["seq"].as_u64().unwrap_or(0) == newest
            },
        );
    }
    let cancelled = listed.len() - live.len();
    println!(
        "{asked} changes asked for, {} shares answered, {} made, {} live, {cancelled} ended",
        answered.len(),
        listed.len(),
        live.len(),
    );
    assert!(listed.len() as u64 > asked / 10);
    runtime.block_on(async { platform.ledger().close().await });
}

/// Ids of the shares that the broker keeps.
fn kept_shares(play: &Play) -> Vec<String> {
    block_on(async {
        let mut caller = MqttClient::connect(&play.broker.broker()).await.unwrap();
        let filter = "doorward/v1/+/statements/share/+".to_owned();
        caller.subscribe(vec![filter]).await.unwrap();
        let mut kept = Vec::new();
        while let Some((topic, payload)) = caller.next(Duration::from_millis(300)).await.unwrap() {
            if !payload.is_empty() {
                kept.push(topic.rsplit('/').next().unwrap().to_owned());
            }
        }
        kept
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
fn killed_at_any_moment_the_service_loses_and_doubles_nothing() {
    play(1, None, kills(), seed());
}

#[test]
fn two_services_on_one_postgresql_give_no_number_twice() {
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
