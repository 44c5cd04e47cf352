//! Many devices in two processes against one mosquitto, with the real core, link and store and a
//! state directory for each. Measures the time until the signed confirmation of a revocation by the
//! last device is verified, beside bare MQTT clients that only answer; whether any device allows
//! anything after that; and how a fleet reconnects after a restart of the broker. Prints JSON.
//!
//! fleet DEVICES [--rounds N] [--away SECONDS] [--in DIRECTORY]

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::process;
use std::time::{Duration, Instant};

use doorward::config::Config;
use doorward_benches::client::Client;
use doorward_benches::site::{self, Mosquitto, Process, ask};
use doorward_benches::timing::middle;
use doorward_protocol::wire::topics;
use doorward_protocol::wire::*;
use doorward_testkit::{id, key};
use serde_json::{Value as Json, json};
use tokio::sync::watch;

/// Processes that the devices share: one per processor, since 5,000 devices need more open files
/// than one process may have.
const PROCESSES: usize = 2;
const SITE: &str = "north";
/// The user whose share is cancelled.
const GUEST: &str = "anna";
/// Time limit for the slowest device.
const PATIENCE: Duration = Duration::from_secs(120);

fn name(at: usize) -> String {
    format!("ups-{at}")
}

fn note(words: &str) {
    eprintln!("fleet: {words}");
}

/// Creates a device's state directory and its configuration.
fn prepare(directory: &Path, at: usize, port: u16) {
    let state = directory.join(name(at));
    site::provision(&state, &name(at));
    let words = format!(
        "state = \"{}\"\n[links.cloud]\nurl = \"mqtt://127.0.0.1:{port}\"\n\
         keep_alive_s = 600\n[operations.\"status.read\"]\nclass = \"read\"\nhandler = \"builtin\"\n",
        state.display()
    );
    std::fs::write(state.join("doorward.toml"), words).unwrap();
}

/// Runs this process's part of the devices until it is killed.
fn run(directory: &Path, first: usize, count: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let local = tokio::task::LocalSet::new();
    for at in (first..count).step_by(PROCESSES) {
        let config = Config::load(&directory.join(name(at)).join("doorward.toml")).unwrap();
        local.spawn_local(async move {
            doorward::daemon::run(&config, std::future::pending())
                .await
                .unwrap();
        });
    }
    runtime.block_on(local);
}

/// The observer of the whole fleet.
struct Fleet {
    observer: Client,
    keys: HashMap<Id, PublicKey>,
    epochs: HashMap<Id, Bytes<16>>,
    /// The last command of GUEST to each device, and its answer.
    asked: HashMap<Hash, Id>,
    answers: HashMap<Id, (Outcome, Option<Id>)>,
    counter: u64,
}

impl Fleet {
    async fn new(devices: usize, port: u16) -> Self {
        let receipts = format!("doorward/v1/+/receipts/{}", key(GUEST).public());
        let [states, confirmations] = topics::words_of_devices();
        let keys = (0..devices).map(|at| {
            let name = name(at);
            (id(&name), PublicKey::new(&key(&name).public()).unwrap())
        });
        Self {
            observer: Client::connect(port, "observer", &[states, confirmations, receipts]).await,
            keys: keys.collect(),
            epochs: HashMap::new(),
            asked: HashMap::new(),
            answers: HashMap::new(),
            counter: 0,
        }
    }

    /// Handles the next message: returns a `state`, stores an answer to GUEST.
    async fn heard(&mut self) -> Option<State> {
        let (_, payload) = self.observer.next().await;
        let envelope = Envelope::parse(&payload).unwrap();
        let verified = |device: &Id| envelope.verify(&self.keys[device]).unwrap();
        match envelope.kind {
            Kind::State => {
                let state: State = envelope.claims().unwrap();
                verified(&state.iss);
                let standing = &state.body.standing;
                self.epochs.insert(state.iss.clone(), standing.epoch);
                Some(state)
            }
            _ => {
                let receipt: Receipt = envelope.claims().unwrap();
                verified(&receipt.iss);
                if let Some(device) = self.asked.remove(&receipt.body.command) {
                    assert_eq!(device, receipt.iss);
                    let said = (receipt.body.outcome, receipt.body.code);
                    self.answers.insert(device, said);
                }
                None
            }
        }
    }

    /// Seconds until the `state` of each device meets a condition; calls `then` once for each.
    async fn all(
        &mut self,
        since: Instant,
        holds: impl Fn(&State) -> bool,
        mut then: impl FnMut(&mut Self, &Id),
    ) -> Vec<f64> {
        let mut waiting: HashSet<Id> = self.keys.keys().cloned().collect();
        let mut took = Vec::new();
        while !waiting.is_empty() {
            let heard = tokio::time::timeout(PATIENCE, self.heard()).await;
            let Some(state) = heard.expect("timeout: no `state` from a device") else {
                continue;
            };
            if holds(&state) && waiting.remove(&state.iss) {
                took.push(since.elapsed().as_secs_f64());
                then(self, &state.iss);
            }
        }
        took
    }

    /// Sends a command of GUEST to a device, without waiting for the answer.
    fn ask(&mut self, device: &Id) {
        self.counter += 1;
        let command = ask(
            device.as_str(),
            self.epochs[device],
            &key(GUEST),
            self.counter,
        );
        self.asked.insert(hash(&command), device.clone());
        self.observer
            .publish(&topics::command(device), command, false);
    }

    /// Waits for the answers to GUEST and counts them by outcome and code.
    async fn answers(&mut self) -> HashMap<String, usize> {
        while !self.asked.is_empty() {
            let heard = tokio::time::timeout(PATIENCE, self.heard()).await;
            heard.expect("timeout: no answer from a device");
        }
        let mut counts = HashMap::new();
        for (outcome, code) in std::mem::take(&mut self.answers).into_values() {
            let code = code.map_or_else(String::new, |code| format!(" {code}"));
            *counts
                .entry(format!("{}{code}", outcome.name()))
                .or_insert(0) += 1;
        }
        counts
    }
}

/// First, median and last time of a fleet, in milliseconds.
fn spread(took: &[f64]) -> Json {
    let at = |part: usize| took[(took.len() - 1) * part / 2] * 1e3;
    json!([at(0), at(1), at(2)])
}

async fn devices(count: usize, rounds: u64, away: u64, place: &Path) -> Json {
    let directory = tempfile::tempdir_in(place).unwrap();
    let mut broker = Mosquitto::start(directory.path());
    let port = broker.port;
    let of_site = Audience::Site(id(SITE));
    let statements = Client::connect(port, "issuer", &[]).await;
    let topic = topics::statement(&of_site, Kind::Share, Some("anna"));
    statements.publish(&topic, site::share(&of_site, GUEST), true);
    let mut statements = statements;
    statements.taken(1).await;
    for at in 0..count {
        prepare(directory.path(), at, port);
        let own = Audience::Device(id(&name(at)));
        let topic = topics::statement(&own, Kind::Registration, None);
        statements.publish(&topic, site::registration(&name(at), Some(SITE)), true);
        statements.taken(1).await;
    }
    note(&format!("{count} devices provisioned"));
    let mut fleet = Fleet::new(count, port).await;
    let start = Instant::now();
    let running: Vec<_> = (0..PROCESSES)
        .map(|first| {
            let mut command = process::Command::new(std::env::current_exe().unwrap());
            command.arg("run").arg(directory.path());
            Process::start(command.args([first.to_string(), count.to_string()]))
        })
        .collect();
    // After its registration a device receives its site's statements and publishes its `state`.
    fleet
        .all(
            start,
            |state| state.body.standing.registration > 0,
            |_, _| {},
        )
        .await;
    let up = start.elapsed().as_secs_f64();
    note(&format!("all devices are up after {up:.1} s"));
    // GUEST is refused until the share has reached every device.
    let devices: Vec<Id> = fleet.keys.keys().cloned().collect();
    let before = loop {
        devices.iter().for_each(|device| fleet.ask(device));
        let answers = fleet.answers().await;
        if answers.get("done") == Some(&count) {
            break answers;
        }
        assert!(start.elapsed() < PATIENCE * 2, "{answers:?}");
    };
    let memory: u64 = running.iter().map(Process::memory).sum();
    let mut times = Vec::new();
    let mut after = HashMap::new();
    for seq in 1..=rounds {
        let list = site::cancelled(&of_site, seq, GUEST);
        let topic = topics::statement(&of_site, Kind::Revocations, None);
        let since = Instant::now();
        fleet.observer.publish(&topic, list, true);
        let holds = |state: &State| {
            let lists = &state.body.standing.revocations;
            lists.get(&of_site).is_some_and(|known| *known >= seq)
        };
        // In the last round GUEST sends a command right after each confirmation; all are refused.
        let took = match seq == rounds {
            true => {
                fleet
                    .all(since, holds, |fleet, device| fleet.ask(device))
                    .await
            }
            false => fleet.all(since, holds, |_, _| {}).await,
        };
        times.push(took);
    }
    // A cancelled share grants nothing.
    for (said, count) in fleet.answers().await {
        *after.entry(said).or_insert(0) += count;
    }
    assert!(!after.contains_key("done"), "{after:?}");
    note("all devices have confirmed the cancellation");
    let lasts: Vec<f64> = times.iter().map(|took| took[took.len() - 1]).collect();
    let typical = times
        .iter()
        .find(|took| took[took.len() - 1] == middle(lasts.clone()));
    let storm = storm(&mut broker, count, away).await;
    let mosquitto = broker.memory();
    drop(running);
    json!({
        "devices": count, "up_s": up, "before": before, "after": after,
        "memory": memory, "mosquitto": mosquitto,
        "ms": spread(typical.unwrap()), "lasts_ms": lasts.iter().map(|it| it * 1e3).collect::<Vec<_>>(),
        "storm": storm,
    })
}

/// The number of links that reconnect after a restart of the broker, by quarter of a second.
async fn storm(broker: &mut Mosquitto, count: usize, away: u64) -> Json {
    broker.stop();
    tokio::time::sleep(Duration::from_secs(away)).await;
    broker.again();
    let since = Instant::now();
    let mut observer =
        Client::connect(broker.port, "storm", &["doorward/v1/+/link/+".into()]).await;
    let (mut up, mut bins) = (HashSet::new(), Vec::new());
    while up.len() < count {
        let heard = tokio::time::timeout(PATIENCE, observer.next()).await;
        let (topic, payload) = heard.expect("timeout: a device did not reconnect");
        if payload == b"up" && up.insert(topic) {
            let bin = since.elapsed().as_millis() as usize / 250;
            bins.resize(bins.len().max(bin + 1), 0);
            bins[bin] += 1;
        }
    }
    json!({"away_s": away, "last_s": since.elapsed().as_secs_f64(), "quarter_seconds": bins})
}

/// Clients that only answer, with as many bytes as a device's `state`.
async fn bare(count: usize, rounds: u64) -> Json {
    let directory = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start(directory.path());
    let port = broker.port;
    let mut threads = Vec::new();
    let (stop, stopped) = watch::channel(false);
    let (ready, mut connected) = tokio::sync::mpsc::channel(count);
    for part in 0..PROCESSES {
        let (stopped, ready) = (stopped.clone(), ready.clone());
        threads.push(std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let local = tokio::task::LocalSet::new();
            for at in (part..count).step_by(PROCESSES) {
                let (mut stopped, ready) = (stopped.clone(), ready.clone());
                local.spawn_local(async move {
                    let topic = "asks".to_owned();
                    let mut client = Client::connect(port, &name(at), &[topic]).await;
                    ready.send(()).await.unwrap();
                    let answer = vec![7; 600];
                    loop {
                        tokio::select! {
                            _ = client.next() => {
                                client.publish(&format!("answers/{at}"), answer.clone(), true);
                            }
                            _ = stopped.wait_for(|stop| *stop) => return,
                        }
                    }
                });
            }
            runtime.block_on(local);
        }));
    }
    for _ in 0..count {
        connected.recv().await.unwrap();
    }
    let mut observer = Client::connect(port, "observer", &["answers/+".into()]).await;
    let mut lasts = Vec::new();
    for _ in 0..rounds {
        let since = Instant::now();
        observer.publish("asks", vec![7; 300], true);
        for _ in 0..count {
            observer.next().await;
        }
        lasts.push(since.elapsed().as_secs_f64() * 1e3);
    }
    stop.send(true).unwrap();
    for thread in threads {
        thread.join().unwrap();
    }
    json!({"lasts_ms": lasts})
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str, default| {
        let at = words.iter().position(|word| word == name);
        at.map_or(default, |at| words[at + 1].parse().unwrap())
    };
    if words.first().is_some_and(|word| word == "run") {
        return run(
            Path::new(&words[1]),
            words[2].parse().unwrap(),
            words[3].parse().unwrap(),
        );
    }
    let Some(count) = words.first().and_then(|count| count.parse().ok()) else {
        eprintln!("usage: fleet DEVICES [--rounds N] [--away SECONDS] [--in DIRECTORY]");
        return;
    };
    let rounds = option("--rounds", 9);
    let place = words.iter().position(|word| word == "--in");
    // A real disk, that of the build directory.
    let built = concat!(env!("CARGO_MANIFEST_DIR"), "/target");
    let place = place.map_or(built, |at| &words[at + 1]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let report = runtime.block_on(async {
        let bare = bare(count, rounds).await;
        json!({"bare": bare, "fleet": devices(count, rounds, option("--away", 10), Path::new(place)).await})
    });
    println!("{report:#}");
}
