//! Links that are interrupted repeatedly while commands are sent over both of them. `DOORWARD_CUTS=n`
//! sets the number of interruptions, with ten commands for each.

use doorward_testkit::site;
use doorward_testkit::tcp_relay;

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use doorward_client::HolderKey;
use doorward_client::{SendParams, send};
use doorward_protocol::wire::*;
use doorward_transport::Broker;
use doorward_transport::event_log::read_log;
use site::{COUNT, DOORKEY, Mosquitto, Process, Site, block_on, wait_until, wish};
use tcp_relay::{Cable, Mode};

/// Default number of interruptions; `DOORWARD_CUTS` overrides it.
const CUTS: u64 = 20;
const COMMANDS: u64 = 10;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// A device whose links go through TCP relays that can be interrupted.
struct RelayedSite {
    site: Site,
    local: Mosquitto,
    cables: [Cable; 2],
}

impl RelayedSite {
    fn new() -> Self {
        let mut site = Site::new(COUNT);
        site.ready();
        site.kill();
        let local = Mosquitto::start(site.path(), "local");
        let cables = [Cable::new(site.cloud.port), Cable::new(local.port)];
        let links = format!(
            "url = \"{}\"\nkeep_alive_s = 10\n[links.local]\nurl = \"{}\"\nkeep_alive_s = 10",
            cables[0].url(),
            cables[1].url()
        );
        site.write_config_with(&links, COUNT);
        site.start();
        let relayed = Self {
            site,
            local,
            cables,
        };
        wait_until("both links are up", || relayed.is_up(0) && relayed.is_up(1));
        relayed
    }

    fn is_up(&self, link: usize) -> bool {
        self.site.status()["links"][["cloud", "local"][link]]["up"] == true
    }

    fn broker(&self, link: usize) -> Broker {
        match link {
            0 => self.site.cloud.broker(),
            _ => self.local.broker(),
        }
    }

    /// Interrupts the links in turn, each time in another way, and then sets `done`.
    fn cut(&self, cuts: u64, done: &AtomicBool) {
        for round in 0..cuts {
            let cable = &self.cables[(round % 2) as usize];
            match round / 2 % 8 {
                0..3 => cable.cut(),
                3..5 => {
                    cable.set(Mode::Pulled);
                    std::thread::sleep(Duration::from_millis(300));
                    cable.set(Mode::Good);
                }
                5 => {
                    cable.set(Mode::Slow);
                    std::thread::sleep(Duration::from_millis(900));
                    cable.set(Mode::Good);
                }
                6 => {
                    // A half-open connection: only the next keep-alive detects it.
                    cable.set(Mode::Silent);
                    std::thread::sleep(Duration::from_millis(500));
                    cable.set(Mode::Good);
                }
                _ => {
                    for _ in 0..3 {
                        cable.cut();
                        std::thread::sleep(Duration::from_millis(20));
                    }
                }
            }
            std::thread::sleep(Duration::from_millis(150));
        }
        done.store(true, Ordering::SeqCst);
    }
}

#[test]
fn while_links_are_cut_every_command_has_one_outcome_and_no_record_is_lost() {
    let relayed = RelayedSite::new();
    let site = &relayed.site;
    let cuts = number("DOORWARD_CUTS").unwrap_or(CUTS);
    let holder = HolderKey::open(&site.path().join("ole.key")).unwrap();
    let device_key = PublicKey::new(&Bytes::from_hex(&site.device_key).unwrap()).unwrap();
    let wish = wish("device.reboot", Map::default());
    // A collector follows the log meanwhile.
    let url = site.cloud.url();
    let collect = [
        "log", "collect", "ups-7", "--to", "copy", "--key", "ole.key", "--broker", &url,
    ];
    let mut follower = Process(
        Command::new(DOORKEY)
            .env("DOORKEY_ISSUER", "issuer")
            .args(collect)
            .arg("--follow")
            .current_dir(site.path())
            .spawn()
            .unwrap(),
    );
    let mut outcomes = BTreeMap::<Hash, Outcome>::new();
    let mut slowest = Duration::ZERO;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| relayed.cut(cuts, &done));
        let mut sent = 0;
        while sent < cuts * COMMANDS || !done.load(Ordering::SeqCst) {
            let broker = relayed.broker((sent % 2) as usize);
            let request = SendParams {
                wait: Duration::from_secs(60),
                ..SendParams::new(&broker, &device_key, &holder, &wish)
            };
            let start = Instant::now();
            let receipt = block_on(send(&request)).unwrap().receipt;
            slowest = slowest.max(start.elapsed());
            let receipt = receipt.unwrap_or_else(|| panic!("no outcome: {}", site.status()));
            let body = receipt.body;
            assert_eq!(body.outcome, Outcome::Done, "{:?}", body.code);
            assert!(outcomes.insert(body.command, body.outcome).is_none());
            sent += 1;
        }
    });
    assert_eq!(site.reboots(), outcomes.len(), "each command ran once");
    println!(
        "{cuts} cuts, {} commands, the slowest {slowest:?}",
        outcomes.len()
    );
    wait_until("both links are up", || relayed.is_up(0) && relayed.is_up(1));
    let losses = |link: &str| site.status()["links"][link]["losses"].as_u64().unwrap();
    assert!(losses("cloud") + losses("local") >= cuts / 2);

    // The collector may have missed records, but has stored no wrong ones.
    let ended = follower.0.try_wait().unwrap();
    assert!(ended.is_none(), "the collector gave up: {ended:?}");
    drop(follower);
    let followed = read_log(&site.path().join("copy")).unwrap().records.len();
    println!("{followed} records were collected meanwhile");
    site.doorkey(&collect);
    let (copy, log) = (
        read_log(&site.path().join("copy")).unwrap(),
        read_log(&site.path().join("state/log")).unwrap(),
    );
    assert_eq!(copy.damage, None);
    assert!(copy.records.len() >= 3 * outcomes.len());
    assert_eq!(copy.records[..], log.records[..copy.records.len()]);
}
