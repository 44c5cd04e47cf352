//! The story that the worker plays, and the promises that must hold afterwards.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use doorward::store::Identity;
use doorward_protocol::wire::*;

use super::device::Device;
use doorward_testkit::*;

/// Use limit of anna's share, over all power cuts.
const USES: u32 = 6;
/// Number of the message that revokes bob's share.
const LIST: u64 = 3;
const REGISTRATION: u64 = 1;

fn anna() -> Share {
    limited(
        "anna",
        &[REBOOT, "config.write"],
        Limits {
            uses: Some(USES),
            ..Limits::default()
        },
    )
}

fn bob() -> Share {
    share("bob", &["config.write"])
}

/// Provisions a device and uses it. Everything that leaves the device is written to the file `marks`
/// at that moment.
pub(crate) fn run(world: &Path) {
    let mut marks = std::fs::File::create(world.join("marks")).unwrap();
    let state = world.join("state");
    let created = Identity::create(
        &state,
        &id("ups-7"),
        &key("device"),
        &sign(&issuers(), &key("root")),
        "4K7M-0000-0000-0000",
    );
    if created.is_err() {
        return;
    }
    let mut notes = marks.try_clone().unwrap();
    let observer = Box::new(move |what: String| {
        // A full disk of the device does not stop the observer.
        let _ = notes.write_all(format!("{what}\n").as_bytes());
    });
    let Ok(mut device) = Device::start_observed(&state, Some(observer)) else {
        return;
    };
    device.deliver(REGISTRATION, &signed(&registration()));
    device.deliver(2, &[signed(&anna()), signed(&bob())].concat());
    let mut counter = 0;
    let mut send = |device: &mut Device, person: &str, wanted: &str| {
        counter += 1;
        let command = device.command(wanted, counter, person);
        let hex: String = command.iter().map(|byte| format!("{byte:02x}")).collect();
        let _ = marks.write_all(format!("sent {hex}\n").as_bytes());
        device.deliver(100 + counter, &command);
        device.deliver(100 + counter, &command);
    };
    for _ in 0..3 {
        send(&mut device, "anna", REBOOT);
        send(&mut device, "bob", "config.write");
        send(&mut device, "bob", REBOOT);
    }
    device.deliver(LIST, &signed(&revocations(1, &[&bob()])));
    for _ in 0..5 {
        send(&mut device, "bob", "config.write");
        send(&mut device, "anna", "config.write");
        send(&mut device, "ole", REBOOT);
    }
}

/// Everything that had left the device before the power cut.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    sent: Vec<Vec<u8>>,
    ran: BTreeSet<String>,
    over: BTreeSet<(String, String)>,
    acknowledged: BTreeSet<u64>,
    durable: u64,
}

impl Observed {
    pub(crate) fn from_marks(marks: &[String]) -> Self {
        let mut observed = Self::default();
        for mark in marks {
            let mut fields = mark.split(' ');
            let mut field = || fields.next().unwrap().to_owned();
            match field().as_str() {
                "sent" => observed.sent.push(bytes(&field())),
                "ran" => assert!(observed.ran.insert(field()), "it ran twice: {mark}"),
                "receipt" => {
                    let (command, outcome) = (field(), field());
                    if outcome != "denied" {
                        observed.over.insert((command, outcome));
                    }
                }
                "acknowledged" => {
                    observed.acknowledged.insert(field().parse().unwrap());
                }
                "durable" => observed.durable = field().parse().unwrap(),
                other => panic!("unknown mark {other}"),
            }
        }
        observed
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.durable == 0 && self.sent.is_empty()
    }

    pub(crate) fn check_promises(&self, device: &mut Device) {
        assert!(device.size() >= self.durable, "durable records were lost");
        let registered = device.core.statements().registration().is_some();
        assert!(registered || !self.acknowledged.contains(&REGISTRATION));
        self.check_common(device, false);
        if registered {
            self.check_owner_is_served(device);
        }
    }

    /// Checks a device with one damaged file: its content may be lost, but no right returns. Only the
    /// end of the log shows its length, so a truncated log is an older log (`older`).
    pub(crate) fn check_with_damaged_file(&self, device: &mut Device, damaged: &Path, older: bool) {
        if !older {
            self.check_common(device, true);
        }
        if !damaged.ends_with("registration.cwt") {
            self.check_owner_is_served(device);
        }
    }

    /// Checks an older copy of the store, restored after its later commands have expired: they do not
    /// run again, and the retained list revokes bob's share again.
    pub(crate) fn check_after_restore(&self, device: &mut Device) {
        device.pass(600);
        for command in &self.sent {
            device.deliver(500, command);
        }
        assert_eq!(device.ran, [], "it ran again");
        device.deliver(REGISTRATION, &signed(&registration()));
        device.deliver(501, &[signed(&anna()), signed(&bob())].concat());
        device.deliver(LIST, &signed(&revocations(1, &[&bob()])));
        let again = device.command("config.write", 900, "bob");
        device.deliver(502, &again);
        assert_eq!(device.ran, [], "a revoked share is still valid");
        self.check_owner_is_served(device);
    }

    /// Checks a device with a clock in another century: no right returns, and the owner is served.
    pub(crate) fn check_with_wrong_clock(&self, device: &mut Device) {
        for command in &self.sent {
            device.deliver(500, command);
        }
        assert_eq!(device.ran, [], "it ran again");
        let again = device.command("config.write", 900, "bob");
        device.deliver(502, &again);
        assert_eq!(device.ran, [], "a revoked share is still valid");
        self.check_owner_is_served(device);
    }

    fn check_common(&self, device: &mut Device, damaged: bool) {
        for command in &self.sent {
            device.deliver(500, command);
        }
        let twice = device.ran.iter().find(|c| self.ran.contains(&c.hex()));
        assert_eq!(twice, None, "it ran twice");
        for receipt in &device.receipts {
            let name = receipt.body.command.hex();
            let before = self.over.iter().find(|(command, _)| *command == name);
            let now = receipt.body.outcome.name();
            let plausible = now == "denied" || (damaged && now == "unknown");
            let same = before.is_none_or(|(_, outcome)| outcome == now);
            assert!(same || plausible, "before {before:?}, now {now}");
        }
        // Replayed old messages restore no right.
        device.deliver(501, &[signed(&anna()), signed(&bob())].concat());
        if self.acknowledged.contains(&LIST) {
            let again = device.command("config.write", 900, "bob");
            let before = device.ran.len();
            device.deliver(502, &again);
            assert_eq!(device.ran.len(), before, "a revoked share is still valid");
        }
        let before = device.ran.len();
        let from_anna = self.sent.iter().filter(|bytes| {
            let envelope = Envelope::parse(bytes).unwrap();
            envelope.signer == key("anna").public()
        });
        let names: BTreeSet<String> = from_anna.map(|bytes| hash(bytes).hex()).collect();
        let used = self.ran.iter().filter(|name| names.contains(*name)).count()
            + device
                .ran
                .iter()
                .filter(|name| names.contains(&name.hex()))
                .count();
        for counter in 0..USES + 2 {
            let again = device.command("config.write", 1000 + u64::from(counter), "anna");
            device.deliver(503, &again);
        }
        let more = device.ran.len() - before;
        assert!(
            used + more <= USES as usize,
            "more uses than allowed: {used} and {more}"
        );
    }

    fn check_owner_is_served(&self, device: &mut Device) {
        let before = device.ran.len();
        let size = device.size();
        let command = device.command(REBOOT, 2000 + size, "ole");
        device.deliver(504, &command);
        let last = device.receipts.last().map(|receipt| &receipt.body);
        assert_eq!(
            device.ran.len(),
            before + 1,
            "the owner was not served: {last:?}"
        );
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}
