//! The world around one device: people, an issuer, clocks and failures.

use std::collections::{BTreeMap, VecDeque};

use doorward::core::Batch;
use doorward::core::{
    Action, Core, CoreConfig, Delivery, Effects, Input, LinkId, OperationResult, ReplyTopic,
};
use doorward_protocol::gate::{ClockReading, Code, Origin};
use doorward_protocol::wire::*;

use super::broker::Broker;
use super::disk::Disk;
use super::oracle::Oracle;
use super::random::Random;
use doorward_testkit::*;

const PEOPLE: [&str; 4] = ["anna", "bob", "ole", "eve"];
const OPERATIONS: [&str; 4] = ["status.read", "config.write", "diag.selftest", REBOOT];

/// Maximum size of the log in bytes.
const LOG: u64 = 400 << 10;

/// Number of events by kind.
#[derive(Debug, Default)]
pub(crate) struct Counts(BTreeMap<&'static str, u64>);

impl Counts {
    fn add(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    pub(crate) fn assert_all_happened(&self) {
        for what in [
            "run",
            "done",
            "failed",
            "unknown",
            "denied",
            "crash",
            "torn",
            "broken",
            "revoked",
            "replayed",
            "frozen",
            "late",
            "count",
            "stale",
            "expired",
            "store failed",
        ] {
            assert!(self.0.contains_key(what), "never happened: {what}");
        }
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        for (what, count) in other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }
}

/// A published statement of the issuer; in force once the device has acknowledged it.
enum InTransit {
    List(Vec<Bytes<16>>, Timestamp),
    Signed(Timestamp),
}

pub(crate) struct World {
    random: Random,
    core: Option<Core>,
    disk: Disk,
    broker: Broker,
    oracle: Oracle,
    counts: Counts,
    /// The true time.
    time: u64,
    /// Error of the device's clock in seconds.
    offset: i64,
    uptime: u64,
    boot: Bytes<16>,
    /// Batches that are being written, with the size of the log after each.
    writing: VecDeque<(Batch, u64)>,
    store_fails: bool,
    handlers: Vec<(Hash, Operation)>,
    in_transit: BTreeMap<u64, InTransit>,
    shares: Vec<Share>,
    cancelled: Vec<Bytes<16>>,
    list: u64,
    registration: u64,
    counter: u64,
    sent: Vec<Vec<u8>>,
    /// Every reboot that was started.
    reboots: Vec<Hash>,
    freezes: Vec<Hash>,
    /// Commands that resume sharing and may still take effect, with their expiry times.
    thaws: Vec<(Hash, Timestamp)>,
    endings: BTreeMap<Hash, Bytes<16>>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut world = Self {
            random: Random::new(seed),
            core: None,
            disk: Disk::new(),
            broker: Broker::default(),
            oracle: Oracle::default(),
            counts: Counts::default(),
            time: NOON,
            offset: 0,
            uptime: 100,
            boot: Bytes([0; 16]),
            writing: VecDeque::new(),
            store_fails: false,
            handlers: Vec::new(),
            in_transit: BTreeMap::new(),
            shares: Vec::new(),
            cancelled: Vec::new(),
            list: 0,
            registration: 0,
            counter: 0,
            sent: Vec::new(),
            reboots: Vec::new(),
            freezes: Vec::new(),
            thaws: Vec::new(),
            endings: BTreeMap::new(),
        };
        world.start();
        world.register();
        world.cancel();
        for _ in 0..4 {
            world.share();
        }
        world
    }

    pub(crate) fn step(&mut self) {
        self.tick();
        match self.random.below(1000) {
            0..330 => self.receive(),
            330..600 => self.write(),
            600..750 => self.command(),
            750..860 => self.handler(),
            860..890 => self.replay(),
            890..920 => self.pass(),
            920..945 => self.share(),
            945..955 => self.extend(),
            955..972 => self.cancel(),
            972..973 => self.register(),
            973..980 => self.owner(),
            980..983 => self.jump(),
            983..988 => self.reconnect(),
            988..990 => self.fail_store(),
            _ => self.crash(),
        }
        let reading = self.reading();
        let core = self.core.as_mut().unwrap();
        let now = core.status(&reading).now;
        assert!(now.estimate >= self.oracle.floor(), "time went back");
        if core.due(&now).is_some_and(|due| due <= now.uptime) {
            self.input(Input::Tick);
            let due = self.core.as_mut().unwrap().due(&now);
            assert!(due.is_none_or(|due| due > now.uptime), "always due");
        }
    }

    fn tick(&mut self) {
        let seconds = self.random.below(3);
        self.time += seconds;
        self.uptime += seconds;
    }

    fn reading(&self) -> ClockReading {
        ClockReading {
            system: Timestamp(self.time.saturating_add_signed(self.offset)),
            uptime: self.uptime,
            boot: self.boot,
        }
    }

    fn settings() -> CoreConfig {
        CoreConfig {
            log_limit: LOG,
            segment: 4 << 10,
            ..settings()
        }
    }

    fn start(&mut self) {
        self.oracle.on_restart();
        loop {
            let (found, torn) = self.disk.open();
            if torn {
                self.counts.add("torn");
            }
            let broken = found.log_broken;
            if broken || found.records.is_empty() {
                self.counts.add("broken");
                self.oracle.on_log_lost();
            }
            let epoch = Bytes(self.random.bytes());
            let reading = self.reading();
            let (mut core, effects) = Core::start(found, Self::settings(), epoch, &reading);
            if self.random.percent(5) {
                self.disk.lose_power(Some(&effects.batch), &mut self.random);
                continue;
            }
            self.disk.commit(&effects.batch);
            let durable = core.handle(Input::Durable(core.log_size()), &reading);
            self.core = Some(core);
            self.store_fails = false;
            for action in effects.actions.into_iter().chain(durable.actions) {
                self.act(action);
            }
            assert!(durable.batch.is_empty());
            self.broker.reconnected(&mut self.random);
            self.input(Input::LinkUp);
            return;
        }
    }

    fn input(&mut self, input: Input) {
        let reading = self.reading();
        let core = self.core.as_mut().unwrap();
        let Effects { batch, actions, .. } = core.handle(input, &reading);
        if !batch.is_empty() {
            self.writing.push_back((batch, core.log_size()));
        }
        if self.random.percent(50) {
            core.sign_ahead();
        }
        for action in actions {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Run(permit) => {
                self.counts.add("run");
                self.oracle.on_run(&permit);
                let caller = permit.caller();
                self.disk.assert_started(&permit);
                if caller.operation.as_str() == REBOOT {
                    self.reboots.push(caller.command);
                }
                self.handlers
                    .push((caller.command, caller.operation.clone()));
            }
            Action::Ack(delivery) => {
                if self.broker.acknowledged(delivery.number) {
                    match self.in_transit.remove(&delivery.number) {
                        Some(InTransit::List(shares, time)) => self.oracle.revoked(&shares, time),
                        Some(InTransit::Signed(time)) => self.oracle.signed(time),
                        None => {}
                    }
                }
            }
            Action::Publish(ReplyTopic::State, bytes) => self.oracle.on_state(&bytes),
            // A known share is confirmed each time it is received.
            Action::Publish(ReplyTopic::Confirmations, _) => {}
            Action::Publish(ReplyTopic::Events, bytes) => self.disk.assert_head(&bytes),
            Action::Publish(_, bytes) => self.on_receipt(&bytes),
            Action::RequestRetained => self.broker.refreshed(),
            Action::SetSite(_)
            | Action::ClearUserData
            | Action::WatchEquipment(_)
            | Action::Upload(..)
            | Action::Refuse(_)
            | Action::Resume(..) => {}
        }
    }

    fn on_receipt(&mut self, bytes: &[u8]) {
        let receipt = self.oracle.on_receipt(bytes);
        let code = receipt.body.code.as_ref();
        let code = code.and_then(|code| Code::from_name(code.as_str()));
        self.counts.add(receipt.body.outcome.name());
        self.counts.add(code.map_or("no code", Code::name));
        let command = receipt.body.command;
        // A refused command may take effect later, for example if it was late for a wrong clock.
        if self.thaws.iter().any(|(thaw, _)| *thaw == command) {
            let refused = receipt.body.outcome == Outcome::Denied;
            self.thaws.retain(|(thaw, _)| refused || *thaw != command);
            self.oracle.may_thaw();
        }
        if receipt.body.outcome == Outcome::Done {
            if self.freezes.contains(&command) {
                self.freezes.retain(|freeze| *freeze != command);
                let floor = self.oracle.floor();
                self.thaws.retain(|(_, end)| *end >= floor);
                if self.thaws.is_empty() {
                    self.oracle.freeze();
                }
            }
            if let Some(share) = self.endings.remove(&command) {
                self.oracle.end(&share);
            }
        }
    }

    fn receive(&mut self) {
        self.deliver();
        while self.random.percent(80) {
            self.deliver();
        }
    }

    fn deliver(&mut self) {
        let Some(message) = self.broker.next(&mut self.random) else {
            return;
        };
        let delivery = Delivery {
            link: LinkId(0),
            number: message.number,
        };
        self.input(Input::Arrived {
            origin: message.origin,
            retained: message.retained,
            delivery,
            payload: message.payload,
        });
    }

    /// Waiting batches become durable, some of them together.
    fn write(&mut self) {
        let Some((mut batch, mut size)) = self.writing.pop_front() else {
            return;
        };
        if self.store_fails {
            // The batches after a failed write are refused, since they depend on it.
            self.writing.clear();
            self.input(Input::StoreFailed);
            return;
        }
        while self.random.percent(50) {
            let Some((later, grown)) = self.writing.pop_front() else {
                break;
            };
            batch.extend(later);
            size = grown;
        }
        self.disk.commit(&batch);
        self.input(Input::Durable(size));
    }

    fn command(&mut self) {
        let person = *self.random.pick(&PEOPLE);
        let operation = *self.random.pick(&OPERATIONS);
        let command = self.signed_by(person, operation, Map::default());
        self.send(command);
    }

    fn signed_by(&mut self, person: &str, wanted: &str, args: Map<Text, Value>) -> Vec<u8> {
        self.counter += 1;
        let reading = self.reading();
        let facts = self.core.as_mut().unwrap().status(&reading);
        let standing = facts.standing;
        // A sender whose command was late signs again with the device's time.
        let time = match self.random.percent(90) {
            true => facts.now.estimate,
            false => Timestamp(self.time),
        };
        let until = self.random.percent(50).then(|| BootTime {
            boot: standing.boot,
            uptime: standing.uptime + self.random.below(100),
        });
        let command = Command {
            aud: device(),
            iat: time,
            exp: time.plus(120),
            cti: Bytes(self.random.bytes()),
            body: CommandBody {
                format: 1,
                counter: self.counter,
                instance: Bytes([1; 4]),
                epoch: standing.epoch,
                operation: operation(wanted),
                args,
                until,
                dry: None,
            },
        };
        sign(&command, &key(person))
    }

    fn send(&mut self, command: Vec<u8>) {
        let origin = match self.random.percent(70) {
            true => Origin::Cloud,
            false => Origin::Local,
        };
        self.sent.push(command.clone());
        self.broker.publish(origin, command);
    }

    /// A network attacker replays a command, usually a recent one.
    fn replay(&mut self) {
        let recent = match self.random.percent(70) {
            true => self.sent.len().saturating_sub(8),
            false => 0,
        };
        if let Some(sent) = self.sent.get(recent..).filter(|sent| !sent.is_empty()) {
            self.counts.add("replayed");
            let command = self.random.pick(sent).clone();
            self.broker.publish(Origin::Cloud, command);
        }
    }

    /// An operation succeeds or fails; one in ten keeps running.
    fn handler(&mut self) {
        if self.handlers.is_empty() || self.random.percent(10) {
            return;
        }
        let at = self.random.index(self.handlers.len());
        let (command, operation) = self.handlers.remove(at);
        let ended = match self.random.percent(80) {
            true => OperationResult::done(Map::default()),
            false => OperationResult::failed(Code::Failed, "it failed"),
        };
        self.oracle.on_outcome(command, ended.outcome);
        if operation.as_str() == REBOOT && self.random.percent(70) {
            // The machine reboots, and the next start determines the outcome.
            self.power_off();
            return;
        }
        self.input(Input::Finished(command, ended));
    }

    fn pass(&mut self) {
        let seconds = match self.random.below(100) {
            0..80 => self.random.below(30),
            80..99 => self.random.below(3600),
            _ => self.random.below(9 * DAY),
        };
        self.time += seconds;
        self.uptime += seconds;
    }

    fn share(&mut self) {
        let person = *self.random.pick(&PEOPLE[..2]);
        let mut operations: Vec<&str> = OPERATIONS.to_vec();
        operations.retain(|_| self.random.percent(60));
        if operations.is_empty() {
            operations.push(STATUS);
        }
        let mut share = share(person, &operations);
        share.cti = Bytes(self.random.bytes());
        (share.iat, share.nbf) = (Timestamp(self.time), Timestamp(self.time));
        share.exp = Timestamp(self.time + 60 + self.random.below(3 * DAY));
        if self.random.percent(30) {
            share.body.limits = Some(Limits {
                uses: Some(1 + self.random.below(3) as u32),
                ..Limits::default()
            });
        }
        self.shares.push(share.clone());
        self.publish_share(&share);
    }

    fn extend(&mut self) {
        if self.shares.is_empty() {
            return;
        }
        let at = self.random.index(self.shares.len());
        self.shares[at].body.version += 1;
        self.shares[at].exp.0 += self.random.below(DAY);
        let share = self.shares[at].clone();
        self.publish_share(&share);
    }

    fn publish_share(&mut self, share: &Share) {
        self.oracle.issued(share);
        let name = format!("share/{}", share.cti.hex());
        self.broker.retain(name, signed(share));
    }

    fn cancel(&mut self) {
        if !self.shares.is_empty() && self.random.percent(60) {
            let share = self.random.pick(&self.shares).cti;
            if !self.cancelled.contains(&share) {
                self.cancelled.push(share);
            }
        }
        self.list += 1;
        let ended: Vec<&Share> = self
            .shares
            .iter()
            .filter(|share| self.cancelled.contains(&share.cti))
            .collect();
        let mut list = revocations(self.list, &ended);
        list.iat = Timestamp(self.time);
        list.body.next = Timestamp(self.time + DAY);
        let number = self.broker.retain("revocations".to_owned(), signed(&list));
        let list = InTransit::List(self.cancelled.clone(), list.iat);
        self.in_transit.insert(number, list);
    }

    fn register(&mut self) {
        self.registration += 1;
        let mut registration = registration();
        registration.body.seq = self.registration;
        registration.body.slots = 20;
        registration.iat = Timestamp(self.time);
        let bytes = signed(&registration);
        let number = self.broker.retain("registration".to_owned(), bytes);
        self.in_transit
            .insert(number, InTransit::Signed(registration.iat));
    }

    /// The owner at the device suspends sharing, resumes it, acknowledges records or ends a share.
    fn owner(&mut self) {
        match self.random.below(6) {
            0 => {
                let command = self.signed_by("ole", "share.freeze", Map::default());
                self.freezes.push(hash(&command));
                self.send(command);
            }
            1..4 => {
                let command = self.signed_by("ole", "share.unfreeze", Map::default());
                // From here on, until its outcome is known, sharing may be suspended or not.
                self.freezes.clear();
                let envelope = Envelope::parse(&command).unwrap();
                let end = envelope.claims::<Command>().unwrap().exp;
                self.thaws.push((hash(&command), end));
                self.oracle.may_thaw();
                self.send(command);
            }
            4 => {
                let reading = self.reading();
                let size = self.core.as_mut().unwrap().status(&reading).log_size;
                let size = Value::Int(self.random.below(size) as i64);
                let args = Map::new([(Text::new("size").unwrap(), size)]);
                let command = self.signed_by("ole", "history.acknowledge", args);
                self.send(command);
            }
            _ => {
                let share = self.random.pick(&self.shares).cti;
                let id = Value::Bytes(share.0.to_vec());
                let args = Map::new([(Text::new("share").unwrap(), id)]);
                let command = self.signed_by("ole", "share.revoke", args);
                self.endings.insert(hash(&command), share);
                self.send(command);
            }
        }
    }

    fn jump(&mut self) {
        self.offset = match self.random.below(8) {
            0 => -(self.random.below(DAY) as i64),
            1 => self.random.below(DAY) as i64,
            2 => -(self.time as i64),
            3 => 300 * 365 * DAY as i64,
            _ => 0,
        };
    }

    fn reconnect(&mut self) {
        self.broker.reconnected(&mut self.random);
        self.input(Input::LinkUp);
    }

    fn fail_store(&mut self) {
        if !self.store_fails {
            self.counts.add("store failed");
            self.store_fails = true;
        }
    }

    fn crash(&mut self) {
        self.counts.add("crash");
        match self.random.percent(50) {
            true => self.power_off(),
            false => self.stop(),
        }
    }

    /// A reboot of the machine: a new boot id, and a clock that may have any time.
    fn power_off(&mut self) {
        for command in &self.reboots {
            self.oracle.on_outcome(*command, Outcome::Done);
        }
        self.boot = Bytes(self.random.bytes());
        self.uptime = self.random.below(30);
        self.time += self.random.below(120);
        self.stop();
    }

    /// A restart of the process. The batch that was being written is partly on the disk, and running
    /// operations end without notice.
    fn stop(&mut self) {
        let batch = self.writing.pop_front().map(|(batch, _)| batch);
        self.writing.clear();
        self.handlers.clear();
        self.core = None;
        self.disk.lose_power(batch.as_ref(), &mut self.random);
        self.start();
        for _ in 0..self.random.below(6) {
            self.replay();
        }
    }

    /// No more failures: every command ends, and the device still serves its owner.
    pub(crate) fn settle(mut self) -> Counts {
        self.offset = 0;
        self.stop();
        for _ in 0..100_000 {
            let idle = self.writing.is_empty() && self.handlers.is_empty();
            if idle && self.broker.is_empty() {
                break;
            }
            self.deliver();
            self.write();
            if let Some((command, _)) = self.handlers.pop() {
                self.oracle.on_outcome(command, Outcome::Done);
                self.input(Input::Finished(
                    command,
                    OperationResult::done(Map::default()),
                ));
            }
        }
        assert!(self.broker.is_empty(), "messages are left");
        let last = self.signed_by("ole", "share.list", Map::default());
        let asked = hash(&last);
        self.broker.publish(Origin::Cloud, last);
        while !self.broker.is_empty() || !self.writing.is_empty() {
            self.deliver();
            self.write();
        }
        self.oracle.assert_done(&asked);
        self.oracle.check_log(&self.disk.records());
        self.counts
    }
}
