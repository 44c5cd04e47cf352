//! Real devices and a real broker: state directories, mosquitto, and processes that are killed at
//! the end. Keys are from fixed seeds (TEST KEYS).

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{self, Stdio};
use std::sync::{Mutex, Once};
use std::time::{Duration, Instant};

use doorward::store::Identity;
use doorward_protocol::wire::*;
use doorward_transport::clock;

use doorward_testkit::large_device::{issuers_at, plans};
use doorward_testkit::{id, key};

const DAY: u64 = 86400;

/// A child process that is killed at the end of this one.
pub struct Process(pub process::Child);

static STARTED: Mutex<Vec<String>> = Mutex::new(Vec::new());
static HOOK: Once = Once::new();

/// Kills the child processes after a panic, which aborts this process without dropping them.
fn end_all() {
    let started = STARTED.lock().map(|started| started.clone());
    let _ = process::Command::new("kill")
        .args(started.unwrap_or_default())
        .status();
}

impl Process {
    pub fn start(command: &mut process::Command) -> Self {
        let child = command.spawn().unwrap();
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                before(panic);
                end_all();
            }));
        });
        STARTED.lock().unwrap().push(child.id().to_string());
        Self(child)
    }

    /// Its resident memory, in bytes.
    pub fn memory(&self) -> u64 {
        memory_of(&self.0.id().to_string())
    }

    /// Bytes that it has written to disks.
    pub fn written(&self) -> u64 {
        let io = std::fs::read_to_string(format!("/proc/{}/io", self.0.id())).unwrap();
        let line = io
            .lines()
            .find_map(|line| line.strip_prefix("write_bytes: "));
        line.unwrap().parse().unwrap()
    }

    /// Its processor time in seconds, with a resolution of 10 ms.
    pub fn worked(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        // The fields after the name, of which user and system time are the 12th and 13th.
        let rest = stat.rsplit(") ").next().unwrap();
        let fields = rest.split(' ').skip(11).take(2);
        fields
            .map(|ticks| ticks.parse::<f64>().unwrap())
            .sum::<f64>()
            / 100.0
    }
}

/// The resident memory of a process, named by its pid or `self`, in bytes.
pub fn memory_of(process: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<u64>().unwrap() * 1024
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        if let Ok(mut started) = STARTED.lock() {
            started.retain(|pid| *pid != self.0.id().to_string());
        }
    }
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "timeout after 60 s: {what}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A broker on loopback: mosquitto of Debian, without Nagle's algorithm.
pub struct Mosquitto {
    pub port: u16,
    config: PathBuf,
    process: Option<Process>,
}

impl Mosquitto {
    pub fn start(directory: &Path) -> Self {
        let port = free_port();
        let config = directory.join(format!("mosquitto-{port}.conf"));
        let words = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n\
             max_inflight_messages 1000\nmax_queued_messages 0\nmax_connections -1\nuser root\n"
        );
        std::fs::write(&config, words).unwrap();
        let mut broker = Self {
            port,
            config,
            process: None,
        };
        broker.again();
        broker
    }

    /// Starts it for the first time, or again after a stop; it stores nothing.
    pub fn again(&mut self) {
        let found = Path::new("/usr/sbin/mosquitto");
        let program = if found.exists() {
            found
        } else {
            Path::new("mosquitto")
        };
        let mut command = process::Command::new(program);
        command.arg("-c").arg(&self.config);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(Process::start(&mut command));
        let port = self.port;
        wait_until("mosquitto listens", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
    }

    pub fn stop(&mut self) {
        self.process = None;
    }

    pub fn memory(&self) -> u64 {
        self.process.as_ref().unwrap().memory()
    }
}

/// Creates the state directory of a device that trusts the issuer of these benchmarks.
pub fn provision(state: &Path, device: &str) {
    let issuers = issuers_at(made());
    let issuers = sign(&issuers, &key(Role::Root.name()));
    Identity::create(state, &id(device), &key(device), &issuers, "none").unwrap();
}

/// A time slightly in the past, so that it is not in the future for any clock.
fn made() -> Timestamp {
    Timestamp(clock::system().0 - 60)
}

/// The registration of a device to the owner "ole".
pub fn registration(device: &str, site: Option<&str>) -> Vec<u8> {
    let registration = Registration {
        iss: id("acme"),
        sub: id("ole"),
        aud: Audience::Device(id(device)),
        iat: made(),
        cnf: Confirmation(key("ole").public()),
        body: RegistrationBody {
            format: 1,
            seq: 1,
            device: key(device).public(),
            region: id("eu"),
            model: Text::new("Smart-UPS 1500").unwrap(),
            site: site.map(id),
            plan: Plan {
                name: id("advanced"),
                end: None,
            },
            table: plans(),
            demo: false,
            slots: 5,
            leases: Map::new(Class::ALL.map(|class| (class, DAY))),
            since: Timestamp(0),
            ages: None,
        },
    };
    sign(&registration, &key(Role::Registry.name()))
}

/// The id of a user's share for an audience.
pub fn share_id(audience: &Audience, person: &str) -> Bytes<16> {
    let name = hash(format!("{audience} {person}").as_bytes()).0;
    Bytes(std::array::from_fn(|byte| name[byte]))
}

/// A share that allows a user to read the status.
pub fn share(audience: &Audience, person: &str) -> Vec<u8> {
    let now = made();
    let share = Share {
        iss: id("acme"),
        sub: id(person),
        aud: audience.clone(),
        exp: now.plus(DAY),
        nbf: now,
        iat: now,
        cti: share_id(audience, person),
        cnf: Confirmation(key(person).public()),
        body: ShareBody {
            format: 1,
            version: 1,
            permissions: Map::new([(status_read(), Permission::default())]),
            by: id("ole"),
            description: None,
            lease: None,
            region: id("eu"),
            group: None,
            limits: None,
        },
    };
    sign(&share, &key(Role::Shares.name()))
}

/// A revocation list with a user's share.
pub fn cancelled(audience: &Audience, seq: u64, person: &str) -> Vec<u8> {
    let now = clock::system();
    let list = Revocations {
        iss: id("acme"),
        aud: audience.clone(),
        iat: now,
        body: RevocationsBody {
            format: 1,
            seq,
            next: now.plus(DAY),
            shares: Map::new([(share_id(audience, person), now.plus(2 * DAY))]),
            holders: Map::default(),
            subjects: Map::default(),
            before: Timestamp(0),
        },
    };
    sign(&list, &key(Role::Revocations.name()))
}

pub fn status_read() -> Operation {
    Operation::new("status.read").unwrap()
}

/// A command `status.read` of a user; the counter distinguishes commands.
pub fn ask(device: &str, epoch: Bytes<16>, person: &SecretKey, counter: u64) -> Vec<u8> {
    let args = Map::default();
    asks(device, epoch, person, counter, status_read(), args)
}

/// The same for another operation.
pub fn asks(
    device: &str,
    epoch: Bytes<16>,
    person: &SecretKey,
    counter: u64,
    operation: Operation,
    args: Map<Text, Value>,
) -> Vec<u8> {
    let now = clock::system();
    let command = Command {
        aud: Audience::Device(id(device)),
        exp: now.plus(MAX_TTL),
        iat: now,
        cti: Bytes([1; 16]),
        body: CommandBody {
            format: 1,
            counter,
            instance: Bytes([1; 4]),
            epoch,
            operation,
            args,
            until: None,
            dry: None,
        },
    };
    sign(&command, person)
}
