//! The daemon with real sled and a real broker, killed repeatedly: at any moment, and before every
//! single file operation. `DOORWARD_KILLS=n` sets the number of kills.

use doorward_testkit::site;
use doorward_testkit::syscall_trace;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use doorward_client::{CommandRequest, HolderKey};
use doorward_client::{SendParams, code_of, send};
use doorward_protocol::wire::{Bytes, Id, LogHead, Map, Operation, Outcome, PublicKey, Receipt};
use doorward_transport::event_log::read_log;
use site::Site;

/// Default number of kills; `DOORWARD_KILLS` overrides it.
const KILLS: u64 = 100;

/// A program that runs long enough to be killed.
const SLOW: &str = "cd \"$(/usr/bin/dirname \"$0\")\"\necho x >> reboots; /bin/sleep 0.02";

struct Killer {
    site: Site,
    holder: HolderKey,
    device_key: PublicKey,
    pass: Vec<u8>,
    wish: CommandRequest,
    /// Log heads in receipts.
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

    /// Sends a command while `kill` runs, and waits for the receipt.
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

    /// Makes a new recipient with a working share; returns name and share.
    fn new_recipient(&self, round: u64) -> (String, String) {
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

    /// Checks that the share has ended, whenever the kill happened: the broker retains the list and
    /// delivers it before any command.
    fn assert_revoked(&mut self, bob: String, round: u64) {
        let code = &self.site.send(&bob, "status.read", 10)["code"];
        assert_eq!(code, "revoked", "round {round}");
        self.cancelled.push(bob);
    }

    /// Starts the daemon so that it is killed before its n-th file operation.
    fn start_with_kill_at(&mut self, library: &Path, n: u64) {
        let state = self.site.path().join("state");
        self.site.start_with(&[
            ("LD_PRELOAD", library.display().to_string()),
            ("POWERCUT_ROOT", state.display().to_string()),
            ("POWERCUT_KILL", n.to_string()),
        ]);
    }

    /// Checks that the outcome in the receipt is the true one; returns its name.
    fn check_outcome(&self, before: usize, receipt: &Receipt, round: u64) -> &'static str {
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
        assert!(
            seen.contains_key("unknown"),
            "no kill hit a running operation"
        );
        assert!(seen.contains_key("done"), "no command was undisturbed");
        let verified = self
            .site
            .doorward(&["events", "verify", "--state", "state"]);
        assert!(verified.status.success());
        let log = read_log(&self.site.path().join("state/log")).unwrap();
        for head in &self.heads {
            assert_eq!(
                log.agrees_with(*head),
                Ok(()),
                "a record of {head:?} is missing"
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
fn n26_killed_at_any_moment_the_daemon_runs_nothing_twice_and_reports_every_outcome() {
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
            .entry(killer.check_outcome(before, &receipt, round))
            .or_default() += 1;
        if round % 10 == 0 {
            let (bob, share) = killer.new_recipient(round);
            killer.cancel(&share);
            std::thread::sleep(pause / 8);
            killer.site.kill();
            killer.site.start();
            killer.assert_revoked(bob, round);
        }
    }
    killer.finish(&seen);
}

#[test]
fn n26_killed_before_any_file_operation_the_daemon_keeps_every_promise() {
    let mut killer = Killer::new();
    let library = syscall_trace::build(killer.site.path());
    let (mut seen, mut ended) = (BTreeMap::new(), 0);
    for round in 0..kills() / 2 {
        // A start has some twenty file operations, a command about four.
        let n = 1 + round % 40;
        killer.site.kill();
        killer.start_with_kill_at(&library, n);
        let before = killer.site.reboots();
        let receipt = killer.send_while(|site| {
            ended += u64::from(site.wait_for_its_end(Duration::from_millis(400)));
            site.start();
        });
        *seen
            .entry(killer.check_outcome(before, &receipt, round))
            .or_default() += 1;
        if round % 10 == 0 {
            let (bob, share) = killer.new_recipient(round);
            killer.site.kill();
            killer.start_with_kill_at(&library, n);
            killer.cancel(&share);
            killer.site.wait_for_its_end(Duration::from_millis(400));
            killer.site.start();
            killer.assert_revoked(bob, round);
        }
    }
    assert!(ended >= kills() / 6, "too few kills: {ended}");
    killer.finish(&seen);
}

#[test]
fn while_the_disk_is_full_every_command_is_denied_and_service_resumes_afterwards() {
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
    // The first command detects the full disk. It is not acknowledged, so it is delivered again later
    // and runs once.
    site.try_send("bob", "device.reboot", 1);
    let denied = site.send("ole", "status.read", 10);
    assert_eq!(denied["code"], "store");
    assert_eq!(denied["log_size"], 0, "no log head is claimed");
    // An answered command is finished and is not delivered again.
    assert_eq!(site.send("ole", "share.freeze", 10)["code"], "store");
    assert!(site.status()["store"].to_string().contains("No space left"));
    // A cancellation that cannot be recorded is not acknowledged, so it is delivered again.
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
fn a_read_only_disk_is_reported_and_service_starts_once_it_is_writable() {
    let mut site = Site::new(site::COUNT);
    site.ready();
    site.share("anna", "device.reboot");
    site.kill();
    let before = site.events().len();
    // A read-only mount in a mount namespace of this process.
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
