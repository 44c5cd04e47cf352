//! The daemon on real sled and over a real broker, killed again and again: at any moment, and
//! before every single thing that it does to its files. `DOORWARD_KILLS=n` kills so often.

use doorward_testkit::site;
use doorward_testkit::syscall_trace;

#[allow(dead_code, unreachable_pub, reason = "not every test uses everything")]
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use doorward_client::{CommandRequest, HolderKey};
use doorward_client::{SendParams, code_of, send};
use doorward_protocol::wire::{Bytes, Id, LogHead, Map, Operation, Outcome, PublicKey, Receipt};
use doorward_transport::event_log::read_log;
use site::Site;

/// How often it is killed, unless `DOORWARD_KILLS` says otherwise.
const KILLS: u64 = 100;

/// The program takes long enough to be killed in.
const SLOW: &str = "cd \"$(/usr/bin/dirname \"$0\")\"\necho x >> reboots; /bin/sleep 0.02";

struct Killer {
    site: Site,
    holder: HolderKey,
    device_key: PublicKey,
    pass: Vec<u8>,
    wish: CommandRequest,
    /// What receipts said of the log.
    heads: Vec<LogHead>,
    /// People whose share was cancelled.
    cancelled: Vec<String>,
}

impl Killer {
    fn new() -> Self {
        let site = Site::new(SLOW);
        site.ready();
        site.share("anna", "device.reboot");
        let holder = HolderKey::open(&site.path().join("anna.key")).unwrap();
        let pass = std::fs::read(site.path().join("anna.pass")).unwrap();
        let device_key = PublicKey::new(&Bytes::from_hex(&site.device_key).unwrap()).unwrap();
        Self {
            holder,
            device_key,
            pass,
            wish: CommandRequest {
                device: Id::new("ups-7").unwrap(),
                operation: Operation::new("device.reboot").unwrap(),
                args: Map::default(),
                ttl: 120,
                dry: false,
            },
            heads: Vec::new(),
            cancelled: Vec::new(),
            site,
        }
    }

    /// Sends a command while `kill` does its work, and waits for the receipt.
    fn send_while(&mut self, kill: impl FnOnce(&mut Site)) -> Receipt {
        let broker = self.site.cloud.broker();
        let request = SendParams {
            carry: std::slice::from_ref(&self.pass),
            wait: Duration::from_secs(10),
            ..SendParams::new(&broker, &self.device_key, &self.holder, &self.wish)
        };
        let site = &mut self.site;
        let receipt = std::thread::scope(|scope| {
            let sending = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(send(&request)).unwrap().receipt
            });
            kill(site);
            sending.join().unwrap()
        });
        let receipt = receipt.unwrap_or_else(|| {
            let log = std::fs::read_to_string(self.site.path().join("doorward.log")).unwrap();
            let last: Vec<&str> = log.lines().rev().take(20).collect();
            for event in self.site.events().iter().rev().take(12).rev() {
                println!("{event}");
            }
            panic!(
                "an accepted command has no outcome; {}\nlog, newest first:\n{}",
                self.site.status(),
                last.join("\n")
            );
        });
        self.heads.push(receipt.body.log);
        receipt
    }

    /// Somebody with a share that works.
    fn newcomer(&self, round: u64) -> (String, String) {
        let bob = format!("bob{round}");
        let share = self.site.share(&bob, "status.read");
        assert_eq!(self.site.send(&bob, "status.read", 10)["outcome"], "done");
        (bob, share)
    }

    fn cancel(&self, share: &str) {
        let url = self.site.cloud.url();
        self.site
            .doorkey(&["cancel", "ups-7", share, "--broker", &url]);
    }

    /// Wherever a kill hit the cancellation, the share has ended: the list is kept on the
    /// broker, and comes before any command.
    fn has_ended(&mut self, bob: String, round: u64) {
        let code = &self.site.send(&bob, "status.read", 10)["code"];
        assert_eq!(code, "revoked", "round {round}");
        self.cancelled.push(bob);
    }

    /// Starts the daemon so that it is killed before the n-th thing it does to its files.
    fn start_to_be_killed(&mut self, library: &Path, n: u64) {
        let state = self.site.path().join("state");
        self.site.start_with(&[
            ("LD_PRELOAD", library.display().to_string()),
            ("POWERCUT_ROOT", state.display().to_string()),
            ("POWERCUT_KILL", n.to_string()),
        ]);
    }

    /// The outcome is what really happened.
    fn judge(&self, before: usize, receipt: &Receipt, round: u64) -> &'static str {
        let ran = self.site.reboots() - before;
        let code = code_of(receipt);
        match receipt.body.outcome {
            Outcome::Done => assert_eq!(ran, 1, "round {round}"),
            Outcome::Failed => assert_eq!(ran, 0, "round {round}: {code:?}"),
            Outcome::Unknown => assert!(ran <= 1, "round {round}"),
            other => panic!("round {round}: {other:?} {code:?}"),
        }
        receipt.body.outcome.name()
    }

    fn finish(&self, seen: &BTreeMap<&'static str, u64>) {
        println!("{seen:?}");
        assert!(seen.contains_key("unknown"), "never killed while it ran");
        assert!(seen.contains_key("done"), "never left alone");
        let verified = self
            .site
            .doorward(&["events", "verify", "--state", "state"]);
        assert!(verified.status.success());
        let log = read_log(&self.site.path().join("state/log")).unwrap();
        for head in &self.heads {
            assert_eq!(
                log.agrees_with(*head),
                Ok(()),
                "a record of {head:?} is gone"
            );
        }
        for person in &self.cancelled {
            assert_eq!(self.site.send(person, "status.read", 10)["code"], "revoked");
        }
        println!(
            "{} heads of the log, {} cancelled shares",
            self.heads.len(),
            self.cancelled.len()
        );
        let last = self.site.send("ole", "status.read", 10);
        assert_eq!(last["outcome"], "done");
    }
}

fn kills() -> u64 {
    let set = std::env::var("DOORWARD_KILLS").ok();
    set.and_then(|text| text.parse().ok()).unwrap_or(KILLS)
}

#[test]
fn killed_at_any_moment_it_runs_nothing_twice_and_owes_no_outcome() {
    let mut killer = Killer::new();
    let mut seen = BTreeMap::new();
    for round in 0..kills() / 2 {
        let before = killer.site.reboots();
        // Between 2 and 32 ms after the command may have been sent.
        let pause = Duration::from_micros(2000 + (round * 7919) % 30_000);
        let receipt = killer.send_while(|site| {
            std::thread::sleep(pause);
            site.kill();
            site.start();
        });
        *seen
            .entry(killer.judge(before, &receipt, round))
            .or_default() += 1;
        if round % 10 == 0 {
            let (bob, share) = killer.newcomer(round);
            killer.cancel(&share);
            std::thread::sleep(pause / 8);
            killer.site.kill();
            killer.site.start();
            killer.has_ended(bob, round);
        }
    }
    killer.finish(&seen);
}

#[test]
fn killed_before_anything_that_it_does_to_its_files_it_keeps_every_promise() {
    let mut killer = Killer::new();
    let library = syscall_trace::build(killer.site.path());
    let (mut seen, mut ended) = (BTreeMap::new(), 0);
    for round in 0..kills() / 2 {
        // A start does some twenty things to files, a command about four.
        let n = 1 + round % 40;
        killer.site.kill();
        killer.start_to_be_killed(&library, n);
        let before = killer.site.reboots();
        let receipt = killer.send_while(|site| {
            ended += u64::from(site.wait_for_its_end(Duration::from_millis(400)));
            site.start();
        });
        *seen
            .entry(killer.judge(before, &receipt, round))
            .or_default() += 1;
        if round % 10 == 0 {
            let (bob, share) = killer.newcomer(round);
            killer.site.kill();
            killer.start_to_be_killed(&library, n);
            killer.cancel(&share);
            killer.site.wait_for_its_end(Duration::from_millis(400));
            killer.site.start();
            killer.has_ended(bob, round);
        }
    }
    assert!(ended >= kills() / 6, "it was hardly ever killed: {ended}");
    killer.finish(&seen);
}

#[test]
fn while_the_disk_is_full_all_is_denied_and_afterwards_it_goes_on_by_itself() {
    let mut site = Site::new(site::COUNT);
    site.ready();
    let share = site.share("anna", "status.read");
    site.share("bob", "device.reboot");
    site.kill();
    let library = syscall_trace::build(site.path());
    let full = site.path().join("full");
    site.start_with(&[
        ("LD_PRELOAD", library.display().to_string()),
        (
            "POWERCUT_ROOT",
            site.path().join("state").display().to_string(),
        ),
        ("POWERCUT_FULL_WHILE", full.display().to_string()),
    ]);
    assert_eq!(site.send("bob", "device.reboot", 10)["outcome"], "done");
    std::fs::write(&full, b"").unwrap();
    // The first one finds out. It is never acknowledged, so it comes again, and runs once.
    site.try_send("bob", "device.reboot", 1);
    let denied = site.send("ole", "status.read", 10);
    assert_eq!(denied["code"], "store");
    assert_eq!(denied["log_size"], 0, "nothing is claimed");
    // What was answered is over: it does not come again.
    assert_eq!(site.send("ole", "share.freeze", 10)["code"], "store");
    assert!(site.status()["store"].to_string().contains("No space left"));
    // A cancellation that cannot be written down is not confirmed, so it comes again.
    let url = site.cloud.url();
    site.doorkey(&["cancel", "ups-7", &share, "--broker", &url]);
    assert_eq!(site.send("anna", "status.read", 10)["code"], "store");
    std::fs::remove_file(&full).unwrap();
    site::wait_until("the store works again", || {
        site.status()["store"] == "works"
    });
    assert_eq!(site.send("anna", "status.read", 10)["code"], "revoked");
    assert_eq!(site.send("bob", "device.reboot", 10)["outcome"], "done");
    assert_eq!(site.reboots(), 3);
}

#[test]
fn on_a_read_only_disk_it_says_so_and_once_it_is_writable_it_serves() {
    let mut site = Site::new(site::COUNT);
    site.ready();
    site.share("anna", "device.reboot");
    site.kill();
    let before = site.events().len();
    // A mount of its own, seen by this process only.
    let script = "mount --bind state state && mount -o remount,bind,ro state && exec \"$0\" \"$@\"";
    let out = std::process::Command::new("unshare")
        .args([
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            script,
            site::DOORWARD,
        ])
        .args(["run", "--config", "doorward.toml"])
        .current_dir(site.path())
        .output()
        .unwrap();
    assert!(!out.status.success());
    let why = String::from_utf8_lossy(&out.stderr);
    assert!(why.contains("Read-only file system"), "{why}");
    assert_eq!(site.events().len(), before);
    site.start();
    assert_eq!(site.send("anna", "device.reboot", 10)["outcome"], "done");
}
