//! A flood of forgeries on one link, over real brokers: the owner on the other link is still served,
//! and the daemon's memory does not grow. `DOORWARD_FLOOD=n` sends at least n forgeries.

use doorward_testkit::site;

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use doorward_client::{CommandRequest, HolderKey};
use doorward_client::{SendParams, send};
use doorward_protocol::wire::*;
use site::{COUNT, Mosquitto, Site, block_on, free_port, wait_until, wish};

/// Forged messages per second and client.
const RATE: u64 = 20_000;
/// Number of commands of the owner for each measurement.
const COMMANDS: usize = 100;

/// The local link: over a broker, or the device's own listener.
enum Local {
    Broker(Mosquitto),
    Listener(u16),
}

impl Local {
    /// Name of the link in the configuration and the status.
    fn name(&self) -> &'static str {
        match self {
            Self::Broker(_) => "local",
            Self::Listener(_) => "listener",
        }
    }

    fn section(&self) -> String {
        match self {
            Self::Broker(broker) => format!("[links.local]\nurl = \"{}\"", broker.url()),
            Self::Listener(port) => {
                format!("[links.listener]\naddress = \"127.0.0.1:{port}\"")
            }
        }
    }

    fn port(&self) -> u16 {
        match self {
            Self::Broker(broker) => broker.port,
            Self::Listener(port) => *port,
        }
    }
}

/// A device with device links, and its owner.
struct FloodedDevice {
    site: Site,
    local: Local,
    holder: HolderKey,
    device_key: PublicKey,
    wish: CommandRequest,
}

impl FloodedDevice {
    fn new(local: impl FnOnce(&Site) -> Local) -> Self {
        let mut site = Site::new(COUNT);
        site.ready();
        site.kill();
        let local = local(&site);
        let links = format!("url = \"{}\"\n{}", site.cloud.url(), local.section());
        site.write_config_with(&links, COUNT);
        site.start();
        wait_until("both links are up", || {
            let links = &site.status()["links"];
            links["cloud"]["up"] == true && links[local.name()]["up"] == true
        });
        Self {
            holder: HolderKey::open(&site.path().join("ole.key")).unwrap(),
            device_key: PublicKey::new(&Bytes::from_hex(&site.device_key).unwrap()).unwrap(),
            wish: wish("status.read", Map::default()),
            site,
            local,
        }
    }

    /// Times from a command of the owner on the cloud link to its receipt, sorted.
    fn latencies(&self) -> Vec<Duration> {
        let broker = self.site.cloud.broker();
        let request = SendParams {
            wait: Duration::from_secs(10),
            ..SendParams::new(&broker, &self.device_key, &self.holder, &self.wish)
        };
        let mut latencies: Vec<Duration> = (0..COMMANDS)
            .map(|_| {
                let sent = block_on(send(&request)).unwrap();
                let receipt = sent.receipt.expect("the owner got no receipt");
                assert_eq!(receipt.body.outcome, Outcome::Done);
                sent.took
            })
            .collect();
        latencies.sort();
        latencies
    }

    /// Resident memory of the daemon in KiB.
    fn memory(&self) -> u64 {
        let pid = self.site.daemon.as_ref().unwrap().0.id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Checks that at most `checks` forgeries cost a signature verification.
    fn assert_checked_at_most(&self, checks: u64) {
        let status = self.site.status();
        let refused = |code: &str| status["refused"][code].as_u64().unwrap_or(0);
        let (flood, checked) = (refused("flood"), refused("bad_signature"));
        println!("flood {flood}, bad_signature {checked}");
        assert!(flood > 1000 && checked <= checks, "{status}");
    }

    /// A command that names the owner's key, with an invalid signature.
    fn forged(&self) -> Vec<u8> {
        let standing = DeviceStanding {
            epoch: Bytes([0; 16]),
            boot: Bytes([0; 16]),
            uptime: 0,
            quality: 0,
            registration: 0,
            revocations: Map::default(),
        };
        let now = doorward_transport::clock::system();
        let counter = (Bytes([9; 4]), 1);
        let command = self
            .holder
            .command(&self.wish, counter, &standing, now, None);
        let mut bytes = command.unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        bytes
    }

    /// Publishes forgeries on the local link until `stop` is set.
    fn flood(&self, stop: &AtomicBool, sent: &AtomicU64) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.local.port())).unwrap();
        // MQTT 5, section 3.1: a clean start, no keep-alive, no client id. QoS 0, since a broker
        // disconnects a client that does not read the acknowledgements.
        let connect = b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x00";
        stream.write_all(connect).unwrap();
        let topic = b"doorward/v1/ups-7/command";
        // No properties.
        let payload = [&[0][..], &self.forged()].concat();
        let length = 2 + topic.len() + payload.len();
        assert!((128..16_384).contains(&length));
        let mut packet = vec![0x30, (length % 128) as u8 | 0x80, (length / 128) as u8];
        packet.extend((topic.len() as u16).to_be_bytes());
        packet.extend(topic);
        packet.extend(&payload);
        let many = packet.repeat(RATE as usize / 100);
        let start = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            stream.write_all(&many).unwrap();
            let total = sent.fetch_add(RATE / 100, Ordering::Relaxed) + RATE / 100;
            let due = Duration::from_secs_f64(total as f64 / RATE as f64);
            std::thread::sleep(due.saturating_sub(start.elapsed()));
        }
    }
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

/// Measures the owner's latencies without and with a flood; returns the duration of the flood.
fn measure(device: &FloodedDevice, floods: usize) -> Duration {
    let least = std::env::var("DOORWARD_FLOOD")
        .ok()
        .and_then(|text| text.parse().ok());
    let least: u64 = least.unwrap_or(0);
    let quiet = device.latencies();
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let start_of_flood = Instant::now();
    let (flooded, took) = std::thread::scope(|scope| {
        for _ in 0..floods {
            scope.spawn(|| device.flood(&stop, &sent));
        }
        let mut flooded = device.latencies();
        let before = device.memory();
        while sent.load(Ordering::Relaxed) < least {
            flooded.extend(device.latencies());
        }
        flooded.sort();
        println!("memory: {before} KiB, then {} KiB", device.memory());
        assert!(
            device.memory() < before + 2048,
            "{before}, then {}",
            device.memory()
        );
        stop.store(true, Ordering::Relaxed);
        (flooded, start_of_flood.elapsed())
    });
    let sent = sent.load(Ordering::Relaxed);
    for percent in [50, 99] {
        let (quiet, flooded) = (percentile(&quiet, percent), percentile(&flooded, percent));
        println!(
            "p{percent}: {quiet:?} without, {flooded:?} with the flood, factor {:.2}",
            flooded.as_secs_f64() / quiet.as_secs_f64()
        );
    }
    println!("{sent} forgeries in {took:?}");
    took
}

#[test]
fn during_20000_forgeries_a_second_on_one_link_the_owner_on_the_other_is_served() {
    let device = FloodedDevice::new(|site| Local::Broker(Mosquitto::start(site.path(), "local")));
    let took = measure(&device, 1);
    // A burst of 128, then 32 a second are verified.
    device.assert_checked_at_most(128 + 32 * (took.as_secs() + 2));
    assert_eq!(device.site.status()["links"]["cloud"]["up"], true);
}

#[test]
fn during_20000_forgeries_a_second_at_the_listener_the_owner_in_the_cloud_is_served() {
    let device = FloodedDevice::new(|_| Local::Listener(free_port()));
    let clients = 4;
    let took = measure(&device, clients);
    // For each client a burst of 16, then 2 a second.
    device.assert_checked_at_most(clients as u64 * (16 + 2 * (took.as_secs() + 2)));
}
