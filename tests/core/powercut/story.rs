//! What the worker lives through, and what must stay true of it.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use doorward::store::Identity;
use doorward_protocol::wire::*;

use super::device::Device;
use doorward_testkit::*;

/// How often anna may act, all power cuts together.
const USES: u32 = 6;
/// The message that ends bob's share.
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

/// Provisions a device and uses it. Everything that leaves the device is written to `marks`,
/// at the moment at which it does.
pub(crate) fn tell(world: &Path) {
    let mut marks = std::fs::File::create(world.join("marks")).unwrap();
    let state = world.join("state");
    let made = Identity::create(
        &state,
        &id("ups-7"),
        &key("device"),
        &sign(&issuers(), &key("root")),
        "4K7M-0000-0000-0000",
    );
    if made.is_err() {
        return;
    }
    let mut notes = marks.try_clone().unwrap();
    let says = Box::new(move |what: String| {
        // A disk that is full does not keep the world from knowing.
        let _ = notes.write_all(format!("{what}\n").as_bytes());
    });
    let Ok(mut device) = Device::start_saying(&state, Some(says)) else {
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

/// What had left the device before the power went.
#[derive(Debug, Default)]
pub(crate) struct Told {
    sent: Vec<Vec<u8>>,
    ran: BTreeSet<String>,
    over: BTreeSet<(String, String)>,
    acknowledged: BTreeSet<u64>,
    durable: u64,
}

impl Told {
    pub(crate) fn from_marks(marks: &[String]) -> Self {
        let mut told = Self::default();
        for mark in marks {
            let mut words = mark.split(' ');
            let mut word = || words.next().unwrap().to_owned();
            match word().as_str() {
                "sent" => told.sent.push(bytes(&word())),
                "ran" => assert!(told.ran.insert(word()), "it ran twice: {mark}"),
                "receipt" => {
                    let (command, outcome) = (word(), word());
                    if outcome != "denied" {
                        told.over.insert((command, outcome));
                    }
                }
                "acknowledged" => {
                    told.acknowledged.insert(word().parse().unwrap());
                }
                "durable" => told.durable = word().parse().unwrap(),
                other => panic!("a mark {other}"),
            }
        }
        told
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.durable == 0 && self.sent.is_empty()
    }

    pub(crate) fn hold_to(&self, device: &mut Device) {
        assert!(device.size() >= self.durable, "durable records were lost");
        let registered = device.core.statements().registration().is_some();
        assert!(registered || !self.acknowledged.contains(&REGISTRATION));
        self.hold_to_most(device, false);
        if registered {
            self.serves_its_owner(device);
        }
    }

    /// With one file spoiled: what was written there may be lost, but nothing comes back. The
    /// end of the log is all that tells how long it was: cut there, it is an older log.
    pub(crate) fn hold_to_without(&self, device: &mut Device, spoiled: &Path, older: bool) {
        if !older {
            self.hold_to_most(device, true);
        }
        if !spoiled.ends_with("registration.cwt") {
            self.serves_its_owner(device);
        }
    }

    /// Put back when the commands of its later life are over: they do not run again, and what
    /// the broker keeps ends bob's share once more.
    pub(crate) fn hold_to_later(&self, device: &mut Device) {
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
        assert_eq!(device.ran, [], "a revoked share lives");
        self.serves_its_owner(device);
    }

    /// With the clock in another century: nothing comes back, and the owner is served.
    pub(crate) fn hold_to_elsewhen(&self, device: &mut Device) {
        for command in &self.sent {
            device.deliver(500, command);
        }
        assert_eq!(device.ran, [], "it ran again");
        let again = device.command("config.write", 900, "bob");
        device.deliver(502, &again);
        assert_eq!(device.ran, [], "a revoked share lives");
        self.serves_its_owner(device);
    }

    fn hold_to_most(&self, device: &mut Device, spoiled: bool) {
        for command in &self.sent {
            device.deliver(500, command);
        }
        let twice = device.ran.iter().find(|c| self.ran.contains(&c.hex()));
        assert_eq!(twice, None, "it ran twice");
        for receipt in &device.receipts {
            let name = receipt.body.command.hex();
            let said = self.over.iter().find(|(command, _)| *command == name);
            let now = receipt.body.outcome.name();
            let honest = now == "denied" || (spoiled && now == "unknown");
            let same = said.is_none_or(|(_, outcome)| outcome == now);
            assert!(same || honest, "said {said:?}, now {now}");
        }
        // Old messages, played again, revive nothing.
        device.deliver(501, &[signed(&anna()), signed(&bob())].concat());
        if self.acknowledged.contains(&LIST) {
            let again = device.command("config.write", 900, "bob");
            let before = device.ran.len();
            device.deliver(502, &again);
            assert_eq!(device.ran.len(), before, "a revoked share lives");
        }
        let before = device.ran.len();
        let hers = self.sent.iter().filter(|bytes| {
            let envelope = Envelope::parse(bytes).unwrap();
            envelope.signer == key("anna").public()
        });
        let names: BTreeSet<String> = hers.map(|bytes| hash(bytes).hex()).collect();
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
            "uses came back: {used} and {more}"
        );
    }

    fn serves_its_owner(&self, device: &mut Device) {
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
