//! The time from the publication of a command to its receipt over mosquitto, with QoS 1 both ways,
//! for the daemon and for other responders on the same broker, alternately. Prints JSON.
//!
//! roundtrip DAEMON [--agent PYTHON] [--grow COMMANDS] [--quick]

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{self, Stdio};
use std::time::{Duration, Instant};

use doorward_benches::client::Client;
use doorward_benches::site::{self, Mosquitto, Process, ask, asks, memory_of};
use doorward_benches::timing::{middle, percentile};
use doorward_protocol::wire::topics;
use doorward_protocol::wire::*;
use doorward_testkit::{id, key};
use serde_json::{Value as Json, json};

/// Commands in flight for the measurement of throughput.
const IN_FLIGHT: usize = 256;
/// Messages of a flood per second.
const FLOOD: u64 = 20_000;

/// The extent of the measurements.
struct Extent {
    rounds: usize,
    one_at_a_time: usize,
    sustained: usize,
}

/// A responder to commands on the broker.
struct Answering {
    name: &'static str,
    device: &'static str,
    epoch: Bytes<16>,
    process: Process,
    counter: u64,
}

impl Answering {
    /// Starts the bare echo, or a responder that verifies the command and signs a receipt, or one
    /// that also makes a durable write in between.
    fn peer(
        (port, disk): (u16, &Path),
        name: &'static str,
        device: &'static str,
        how: &str,
    ) -> Self {
        let mut command = process::Command::new(std::env::current_exe().unwrap());
        command.args(["answer", &port.to_string(), device, how]);
        command.current_dir(disk);
        Self::begin(command, name, device)
    }

    /// Starts the agent in Python.
    fn agent(python: &Path, directory: &Path, port: u16) -> Self {
        let device = "ups-python";
        let holder = key("ole").public().hex();
        let seed = hash(device.as_bytes()).hex();
        let file = directory.join("agent.json");
        let words = json!({
            "device_seed": seed, "epoch": Bytes([0; 16]).hex(),
            "holders": {holder: ["status.read"]},
        });
        std::fs::write(&file, words.to_string()).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("agent.py");
        let mut command = process::Command::new(python);
        command
            .arg(script)
            .args([&port.to_string(), device])
            .arg(file);
        Self::begin(command, "an agent in Python", device)
    }

    fn begin(mut command: process::Command, name: &'static str, device: &'static str) -> Self {
        let mut process = Process::start(command.stdout(Stdio::piped()));
        let mut line = String::new();
        let mut out = BufReader::new(process.0.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "ready", "{name}");
        Self {
            name,
            device,
            epoch: Bytes([0; 16]),
            process,
            counter: 0,
        }
    }

    /// Starts the daemon with its state in a directory.
    async fn daemon(place: &Place<'_>, name: &'static str, device: &'static str) -> Self {
        let Place {
            program,
            port,
            directory,
            more,
        } = place;
        let state = directory.join(device);
        site::provision(&state, device);
        let config = directory.join(format!("{device}.toml"));
        let words = format!(
            "state = \"{}\"\n[links.cloud]\nurl = \"mqtt://127.0.0.1:{port}\"\n{more}\n\
             [log]\nlimit_mib = 1024\n[operations.\"status.read\"]\nclass = \"read\"\n\
             handler = \"builtin\"\n",
            state.display()
        );
        std::fs::write(&config, words).unwrap();
        let own = Audience::Device(id(device));
        let mut client = Client::connect(*port, "issuer", &[topics::state(&id(device))]).await;
        let topic = topics::statement(&own, Kind::Registration, None);
        client.publish(&topic, site::registration(device, None), true);
        let mut command = process::Command::new(program);
        command.arg("run").arg("--config").arg(config);
        let process = Process::start(command.stderr(Stdio::null()));
        // Its `state` shows that it has its registration.
        let epoch = loop {
            let (_, payload) = client.next().await;
            let state: State = Envelope::parse(&payload).unwrap().claims().unwrap();
            if state.body.standing.registration > 0 {
                break state.body.standing.epoch;
            }
        };
        Self {
            name,
            device,
            epoch,
            process,
            counter: 0,
        }
    }
}

/// The settings of a daemon.
struct Place<'a> {
    program: &'a Path,
    port: u16,
    directory: &'a Path,
    /// Additional links.
    more: String,
}

/// The sender of commands, who receives the answers.
struct Asking {
    client: Client,
    owner: SecretKey,
}

impl Asking {
    async fn new(port: u16, devices: &[&str]) -> Self {
        let owner = key("ole");
        let filters: Vec<_> = devices
            .iter()
            .map(|device| topics::receipts(&id(device), &owner.public()))
            .collect();
        Self {
            client: Client::connect(port, "owner", &filters).await,
            owner,
        }
    }

    fn signed(&self, whom: &mut Answering, count: usize) -> Vec<Vec<u8>> {
        let (device, epoch) = (whom.device, whom.epoch);
        let first = whom.counter + 1;
        whom.counter += count as u64;
        (first..=whom.counter)
            .map(|counter| ask(device, epoch, &self.owner, counter))
            .collect()
    }

    /// Sends commands, with this number in flight. Returns the times of all commands, sorted, and
    /// their total time, in seconds; and the last size of the log.
    async fn run(
        &mut self,
        device: &str,
        commands: Vec<Vec<u8>>,
        in_flight: usize,
    ) -> (Vec<f64>, f64, u64) {
        let topic = topics::command(&id(device));
        let mut sent = HashMap::new();
        let mut waiting = commands.into_iter();
        let (mut took, mut log) = (Vec::new(), 0);
        let start = Instant::now();
        loop {
            while sent.len() < in_flight {
                let Some(command) = waiting.next() else { break };
                sent.insert(hash(&command), Instant::now());
                self.client.publish(&topic, command, false);
            }
            if sent.is_empty() {
                break;
            }
            let (_, payload) = self.client.next().await;
            let now = Instant::now();
            let envelope = Envelope::parse(&payload).unwrap();
            let name = match envelope.kind {
                Kind::Command => hash(&payload),
                _ => {
                    let receipt: Receipt = envelope.claims().unwrap();
                    assert_eq!(receipt.body.outcome, Outcome::Done, "{:?}", receipt.body);
                    log = receipt.body.log.size;
                    receipt.body.command
                }
            };
            if let Some(then) = sent.remove(&name) {
                took.push((now - then).as_secs_f64());
            }
        }
        let all = start.elapsed().as_secs_f64();
        took.sort_by(f64::total_cmp);
        (took, all, log)
    }
}

/// The times of durable writes of a record on this disk, in seconds, sorted.
fn syncs(file: &File, count: usize, at: &mut u64) -> Vec<f64> {
    let mut took: Vec<f64> = (0..count)
        .map(|_| {
            let start = Instant::now();
            file.write_all_at(&[7; 300], *at).unwrap();
            file.sync_data().unwrap();
            *at += 300;
            start.elapsed().as_secs_f64()
        })
        .collect();
    took.sort_by(f64::total_cmp);
    took
}

/// Latencies with one command at a time, for all responders alternately.
async fn latencies(asking: &mut Asking, all: &mut [Answering], disk: &Path, much: &Extent) -> Json {
    let file = File::create(disk.join("floor")).unwrap();
    let mut at = 0;
    let mut found: Vec<Vec<Vec<f64>>> = vec![Vec::new(); all.len() + 1];
    for round in 0..=much.rounds {
        let mut taken = Vec::new();
        for whom in all.iter_mut() {
            let commands = asking.signed(whom, much.one_at_a_time);
            taken.push(asking.run(whom.device, commands, 1).await.0);
        }
        taken.push(syncs(&file, much.one_at_a_time, &mut at));
        // The first round is a warm-up.
        if round > 0 {
            found
                .iter_mut()
                .zip(taken)
                .for_each(|(all, one)| all.push(one));
        }
    }
    let names = all.iter().map(|it| it.name).chain(["one durable write"]);
    let rows = names.zip(&found).map(|(name, rounds)| {
        let at = |percent| middle(rounds.iter().map(|it| percentile(it, percent)).collect()) * 1e6;
        let curve = [1.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5];
        let curve: Vec<_> = curve
            .iter()
            .map(|percent| (percent, at(*percent)))
            .collect();
        let slowest = rounds.iter().flatten().copied().fold(0.0, f64::max);
        json!({"name": name, "p50_us": at(50.0), "p99_us": at(99.0), "max_us": slowest * 1e6,
               "curve": curve})
    });
    rows.collect()
}

/// Bytes written to the disk by one command, and in ten idle seconds.
async fn flash(asking: &mut Asking, daemon: &mut Answering, much: &Extent) -> Json {
    let count = much.one_at_a_time;
    let commands = asking.signed(daemon, count);
    let before = daemon.process.written();
    asking.run(daemon.device, commands, 1).await;
    let busy = (daemon.process.written() - before) as f64 / count as f64;
    let before = daemon.process.written();
    tokio::time::sleep(Duration::from_secs(10)).await;
    json!({"command": busy, "idle": daemon.process.written() - before})
}

/// Throughput with many commands in flight, for all responders alternately.
async fn sustained(asking: &mut Asking, all: &mut [Answering], much: &Extent) -> Json {
    let mut found = vec![(Vec::new(), Vec::new()); all.len()];
    for _ in 0..much.rounds {
        for (whom, (rates, worked)) in all.iter_mut().zip(&mut found) {
            let commands = asking.signed(whom, much.sustained);
            let before = whom.process.worked();
            let (_, seconds, _) = asking.run(whom.device, commands, IN_FLIGHT).await;
            rates.push(much.sustained as f64 / seconds);
            worked.push((whom.process.worked() - before) / much.sustained as f64);
        }
    }
    let rows = all.iter().zip(found);
    rows.map(|(whom, (rates, worked))| {
        json!({"name": whom.name, "per_second": middle(rates), "cpu_us": middle(worked) * 1e6,
               "memory": whom.process.memory()})
    })
    .collect()
}

/// The owner's latency while a sender on the site forges commands in the owner's name.
async fn flood(place: &Place<'_>, directory: &Path, much: &Extent) -> Json {
    let local = Mosquitto::start(directory);
    let more = format!("[links.local]\nurl = \"mqtt://127.0.0.1:{}\"", local.port);
    let place = Place { more, ..*place };
    let mut daemon = Answering::daemon(&place, "flooded", "ups-flooded").await;
    let mut asking = Asking::new(place.port, &[daemon.device]).await;
    let mut forged = ask(daemon.device, daemon.epoch, &key("ole"), 1 << 40);
    *forged.last_mut().unwrap() ^= 1;
    let mut rounds = Vec::new();
    for _ in 0..much.rounds {
        let commands = asking.signed(&mut daemon, much.one_at_a_time);
        let quiet = asking.run(daemon.device, commands, 1).await.0;
        let mut command = process::Command::new(std::env::current_exe().unwrap());
        command.args(["flood", &local.port.to_string(), daemon.device]);
        let mut flooding = Process::start(command.stdin(Stdio::piped()));
        let mut input = flooding.0.stdin.take().unwrap();
        input.write_all(&forged).unwrap();
        drop(input);
        tokio::time::sleep(Duration::from_millis(300)).await;
        let commands = asking.signed(&mut daemon, much.one_at_a_time);
        let flooded = asking.run(daemon.device, commands, 1).await.0;
        rounds.push((quiet, flooded));
    }
    let (quiet, flooded): (Vec<_>, Vec<_>) = rounds.into_iter().unzip();
    let row = |rounds: &[Vec<f64>]| {
        let at = |percent| middle(rounds.iter().map(|it| percentile(it, percent)).collect()) * 1e6;
        json!({"p50_us": at(50.0), "p99_us": at(99.0)})
    };
    json!({"quiet": row(&quiet), "flooded": row(&flooded)})
}

/// Sends forged commands at a high rate, as raw packets (MQTT 5 section 3.3) with QoS 0.
fn flooding(port: u16, device: &str) {
    let mut payload = vec![0];
    std::io::copy(&mut std::io::stdin(), &mut payload).unwrap();
    let topic = topics::command(&id(device));
    let length = 2 + topic.len() + payload.len();
    let mut packet = vec![0x30, (length % 128) as u8 | 0x80, (length / 128) as u8];
    packet.extend((topic.len() as u16).to_be_bytes());
    packet.extend(topic.as_bytes());
    packet.extend(&payload);
    let many = packet.repeat(FLOOD as usize / 1000);
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream
        .write_all(b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x00")
        .unwrap();
    let start = Instant::now();
    for sent in 1_u32.. {
        if stream.write_all(&many).is_err() {
            return;
        }
        let due = Duration::from_millis(1) * sent;
        std::thread::sleep(due.saturating_sub(start.elapsed()));
    }
}

/// The memory of the daemon over very many commands, with a log that is acknowledged in between.
async fn growth(place: &Place<'_>, commands: usize) -> Json {
    let mut daemon = Answering::daemon(place, "growing", "ups-growing").await;
    let mut asking = Asking::new(place.port, &[daemon.device]).await;
    let mut memory = Vec::new();
    let part = 10_000;
    for done in 1..=commands / part {
        let these = asking.signed(&mut daemon, part);
        let (_, _, size) = asking.run(daemon.device, these, IN_FLIGHT).await;
        let args = Map::named([("size", Value::Int(size as i64))]);
        daemon.counter += 1;
        let kept = Operation::new("history.acknowledge").unwrap();
        let (device, epoch, counter) = (daemon.device, daemon.epoch, daemon.counter);
        let kept = asks(device, epoch, &asking.owner, counter, kept, args);
        asking.run(daemon.device, vec![kept], 1).await;
        memory.push((done * part, daemon.process.memory()));
    }
    json!(memory)
}

/// Answers commands: with an echo, or after verification with a receipt.
async fn answer(port: u16, device: &str, how: &str) {
    let command = topics::command(&id(device));
    let mut client = Client::connect(port, device, &[command]).await;
    println!("ready");
    let owner = PublicKey::new(&key("ole").public()).unwrap();
    let own = key(device);
    let topic = topics::receipts(&id(device), &owner.bytes());
    let file = File::create(device).unwrap();
    let mut at = 0;
    loop {
        let (_, payload) = client.next().await;
        if how == "echo" {
            client.publish(&topic, payload, false);
            continue;
        }
        let envelope = Envelope::parse(&payload).unwrap();
        envelope.verify(&owner).unwrap();
        let command: Command = envelope.claims().unwrap();
        if how == "durable" {
            syncs(&file, 1, &mut at);
        }
        client.publish(
            &topic,
            sign(&receipt(device, &command, envelope.hash()), &own),
            false,
        );
    }
}

fn receipt(device: &str, command: &Command, name: Hash) -> Receipt {
    Receipt {
        iss: id(device),
        iat: command.iat,
        body: ReceiptBody {
            format: 1,
            command: name,
            outcome: Outcome::Done,
            code: None,
            detail: None,
            result: Map::default(),
            standing: DeviceStanding {
                epoch: command.body.epoch,
                boot: Bytes([0; 16]),
                uptime: 1,
                quality: 2,
                registration: 1,
                revocations: Map::default(),
            },
            log: LogHead {
                size: 1,
                hash: name,
            },
        },
    }
}

async fn measure(words: &[String]) -> Json {
    let option = |name: &str| {
        let at = words.iter().position(|word| word == name);
        at.and_then(|at| words.get(at + 1))
    };
    let much = match words.iter().any(|word| word == "--quick") {
        true => Extent {
            rounds: 2,
            one_at_a_time: 100,
            sustained: 1_000,
        },
        false => Extent {
            rounds: 9,
            one_at_a_time: 500,
            sustained: 10_000,
        },
    };
    let program = PathBuf::from(&words[0]);
    // A real disk, that of the build directory, and a directory in memory.
    let disk = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
    let disk = tempfile::tempdir_in(disk).unwrap();
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let broker = Mosquitto::start(disk.path());
    let port = broker.port;
    let place = |directory| Place {
        program: &program,
        port,
        directory,
        more: String::new(),
    };
    let here = (port, disk.path());
    let mut all = vec![
        Answering::peer(here, "bare echo", "ups-echo", "echo"),
        Answering::peer(here, "verified, receipt signed", "ups-verify", "verify"),
        Answering::peer(
            here,
            "the same with one durable write",
            "ups-durable",
            "durable",
        ),
        Answering::daemon(
            &place(memory.path()),
            "doorward, state in memory",
            "ups-memory",
        )
        .await,
        Answering::daemon(&place(disk.path()), "doorward", "ups-disk").await,
    ];
    if let Some(python) = option("--agent") {
        all.push(Answering::agent(Path::new(python), disk.path(), port));
    }
    let devices: Vec<_> = all.iter().map(|it| it.device).collect();
    let mut asking = Asking::new(port, &devices).await;
    let mut report = json!({
        "latencies": latencies(&mut asking, &mut all, disk.path(), &much).await,
        "sustained": sustained(&mut asking, &mut all, &much).await,
        "flash": flash(&mut asking, &mut all[4], &much).await,
        "flood": flood(&place(disk.path()), disk.path(), &much).await,
        "mosquitto": broker.memory(),
        "client": memory_of("self"),
    });
    drop(all);
    if let Some(commands) = option("--grow") {
        let commands = commands.parse().unwrap();
        report["growth"] = growth(&place(disk.path()), commands).await;
    }
    report
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    match words.first().map(String::as_str) {
        Some("answer") => {
            runtime.block_on(answer(words[1].parse().unwrap(), &words[2], &words[3]));
        }
        Some("flood") => flooding(words[1].parse().unwrap(), &words[2]),
        Some(_) => println!("{:#}", runtime.block_on(measure(&words))),
        None => eprintln!("usage: roundtrip DAEMON [--agent PYTHON] [--grow COMMANDS] [--quick]"),
    }
}
