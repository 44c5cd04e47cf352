//! A platform, a device and users for tests: keys from fixed seeds, time as an argument.

use std::sync::atomic::{AtomicU64, Ordering};

use doorward::core::{
    Action, Core, CoreConfig, Delivery, Effects, Input, LinkId, OperationResult, RecoveredState,
    ReplyTopic,
};
use doorward_protocol::event_log::LogWrite;
use doorward_protocol::event_log::record::{Intent, Record};
use doorward_protocol::gate::{Argument, ClockReading, Code, Offer, Offers, Origin, RebootLimit};
use doorward_protocol::wire::*;
use doorward_protocol::wire::{default_leases, default_plans};

/// 2026-11-22T12:00:00Z.
pub const NOON: u64 = 1_795_348_800;
pub const DAY: u64 = 86400;

pub const REBOOT: &str = "device.reboot";
pub const STATUS: &str = "status.read";

pub fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

pub fn operation(text: &str) -> Operation {
    Operation::new(text).unwrap()
}

/// A TEST KEY derived from a name; never use one outside tests.
pub fn key(name: &str) -> SecretKey {
    SecretKey::from_seed(&hash(name.as_bytes()).0)
}

pub fn device() -> Audience {
    Audience::Device(id("ups-7"))
}

/// The issuer "acme", with one key per role, named after the role.
pub fn issuers() -> Issuers {
    let roles = Role::ALL.map(|role| {
        let keys = vec![key(role.name()).public()];
        (role, RoleKeys { threshold: 1, keys })
    });
    Issuers::new(id("acme"), Timestamp(NOON - 100 * DAY), 1, Map::new(roles))
}

pub fn registration() -> Registration {
    Registration {
        iss: id("acme"),
        sub: id("ole"),
        aud: device(),
        iat: Timestamp(NOON - 50 * DAY),
        cnf: Confirmation(key("ole").public()),
        body: RegistrationBody {
            format: 1,
            seq: 1,
            device: key("device").public(),
            region: id("eu"),
            model: Text::new("Smart-UPS 1500").unwrap(),
            site: Some(id("north")),
            plan: Plan {
                name: id("advanced"),
                end: None,
            },
            table: default_plans(),
            demo: false,
            slots: 5,
            leases: default_leases(),
            since: Timestamp(NOON - 60 * DAY),
            ages: None,
        },
    }
}

/// A share of the device for `person` with `operations`, valid from an hour ago for 30 days.
pub fn share(person: &str, operations: &[&str]) -> Share {
    let name = format!("share of {person} {operations:?}");
    Share {
        iss: id("acme"),
        sub: id(person),
        aud: device(),
        exp: Timestamp(NOON + 30 * DAY),
        nbf: Timestamp(NOON - 3600),
        iat: Timestamp(NOON - 3600),
        cti: Bytes(hash(name.as_bytes()).0[..16].try_into().unwrap()),
        cnf: Confirmation(key(person).public()),
        body: ShareBody {
            format: 1,
            version: 1,
            permissions: Map::new(
                operations
                    .iter()
                    .map(|o| (operation(o), Permission::default())),
            ),
            by: id("ole"),
            description: None,
            lease: None,
            region: id("eu"),
            group: None,
            limits: None,
        },
    }
}

pub fn revocations(seq: u64, shares: &[&Share]) -> Revocations {
    Revocations {
        iss: id("acme"),
        aud: device(),
        iat: Timestamp(NOON),
        body: RevocationsBody {
            format: 1,
            seq,
            next: Timestamp(NOON + DAY),
            shares: Map::new(shares.iter().map(|s| (s.cti, s.exp))),
            holders: Map::default(),
            subjects: Map::default(),
            before: Timestamp(0),
        },
    }
}

pub fn signed<T: Object>(claims: &T) -> Vec<u8> {
    let role = Role::of(T::KIND).unwrap();
    sign(claims, &key(role.name()))
}

/// A share with limits.
pub fn limited(person: &str, operations: &[&str], limits: Limits) -> Share {
    let mut share = share(person, operations);
    share.body.limits = Some(limits);
    share
}

/// A share for the group TZBV, whose key is "tzbv".
pub fn group_share(operations: &[&str]) -> Share {
    let mut share = share("tzbv", operations);
    share.sub = id("partner");
    share.body.group = Some(id("TZBV"));
    share
}

/// The member list of TZBV.
pub fn roster(seq: u64, members: &[&str]) -> Vec<u8> {
    let roster = Roster {
        sub: id("TZBV"),
        exp: Timestamp(NOON + 10 * DAY),
        iat: Timestamp(NOON - 60),
        body: RosterBody {
            format: 1,
            seq,
            members: Map::new(members.iter().map(|name| (key(name).public(), id(name)))),
        },
    };
    sign(&roster, &key("tzbv"))
}

/// A release for the model of this device.
pub fn release(version: u32, minimum: u32) -> Release {
    Release {
        iss: id("acme"),
        iat: Timestamp(NOON),
        body: ReleaseBody {
            format: 1,
            vendor: id("acme-power"),
            model: Text::new("Smart-UPS 1500").unwrap(),
            version,
            size: 1000,
            sha256: hash(b"image"),
            minimum,
        },
    }
}

/// The next version of the issuers, with other keys for `role`.
pub fn rotated(before: &Issuers, role: Role, names: &[&str], threshold: u8) -> Issuers {
    let mut next = before.clone();
    next.body.version += 1;
    next.iat = Timestamp(NOON - DAY + u64::from(next.body.version));
    let keys = RoleKeys {
        threshold,
        keys: names.iter().map(|name| key(name).public()).collect(),
    };
    let roles = before.body.roles.iter().map(|(r, k)| (*r, k.clone()));
    next.body.roles = Map::new(roles.chain([(role, keys)]));
    next
}

/// Signs a statement with each of the named keys.
pub fn signed_by<T: Object>(claims: &T, names: &[&str]) -> Vec<u8> {
    names
        .iter()
        .flat_map(|name| sign(claims, &key(name)))
        .collect()
}

/// The content of a disk: the log, the cache and the identity files.
#[derive(Default, Clone)]
pub struct Disk {
    pub log: Vec<Record>,
    pub cache: std::collections::BTreeMap<String, Vec<u8>>,
    pub registration: Option<Vec<u8>>,
    pub issuers: Option<Vec<u8>>,
    /// Damage of the log that the next start finds, and the records after it.
    pub damage: Option<doorward_transport::event_log::Damage>,
    pub salvaged: Vec<Record>,
}

impl Disk {
    fn issuers(&self) -> Issuers {
        match &self.issuers {
            None => issuers(),
            Some(bytes) => {
                let bundle = Bundle::parse(bytes).unwrap();
                bundle.statements[0].as_ref().unwrap().claims().unwrap()
            }
        }
    }
}

/// A core with a disk in memory, and clocks set by the test.
pub struct Bench {
    pub core: Core,
    pub disk: Disk,
    pub reading: ClockReading,
    /// Messages that the device has published, apart from checkpoints, oldest first.
    pub published: Vec<(ReplyTopic, Vec<u8>)>,
    /// Checkpoints of the log, oldest first.
    pub checkpoints: Vec<Vec<u8>>,
    /// Operations that have been started.
    pub started: Vec<doorward_protocol::gate::Permit>,
    /// Operations that were resumed after a stop, and whether the machine has rebooted.
    pub resumed: Vec<(Intent, bool)>,
    /// Whether the equipment is watched.
    pub watched: bool,
    pub acknowledged: usize,
    /// Number of rejected messages of clients.
    pub unheard: usize,
    /// Number of requests for the retained statements.
    pub refreshed: usize,
    /// Requested uploads: first record, and whether to send it again.
    pub uploads: Vec<(u64, bool)>,
    /// The first record that has not been deleted from the log.
    pub dropped: u64,
    /// Origin of messages.
    pub origin: Origin,
    counter: u64,
    /// A client of the listener.
    pub client: LinkId,
}

pub fn offers() -> Offers {
    let class = |name: &str, class| (operation(name), Offer::plain(class));
    let version = Argument {
        required: true,
        limit: ArgLimit::default(),
    };
    let firmware = Offer {
        args: [(Text::new("version").unwrap(), version)].into(),
        ..Offer::plain(Class::Danger)
    };
    let outlet = Offer {
        args: [(
            Text::new("delay").unwrap(),
            Argument {
                required: false,
                limit: ArgLimit {
                    min: Some(0),
                    max: Some(600),
                    one_of: None,
                },
            },
        )]
        .into(),
        interlocks: vec![id("own-supply")],
        ..Offer::plain(Class::Interrupt)
    };
    let config = Offer {
        args: [(
            Text::new("key").unwrap(),
            Argument {
                required: false,
                limit: ArgLimit::default(),
            },
        )]
        .into(),
        ..Offer::plain(Class::Change)
    };
    Offers::from([
        (operation("firmware.install"), firmware),
        (operation("power.outlet.cycle:1"), outlet),
        class("power.outlet.cycle:2", Class::Interrupt),
        class("diag.selftest", Class::Change),
        class("diag.calibrate", Class::Interrupt),
        class("licence.apply", Class::Change),
        class("report.read", Class::Read),
        class("notify.manage", Class::Change),
        class("history.read", Class::Read),
        class("status.read", Class::Read),
        (operation("config.write"), config),
        class("device.reboot", Class::Interrupt),
    ])
}

pub fn settings() -> CoreConfig {
    CoreConfig {
        offers: offers(),
        rebooting: vec![operation("device.reboot")],
        resumable: Vec::new(),
        in_memory_reads: vec![operation("status.read")],
        running: Default::default(),
        reboot_limit: RebootLimit {
            max: 1000,
            seconds: 60,
        },
        built: Timestamp(NOON - 200 * DAY),
        log_limit: 16 << 20,
        segment: 1 << 20,
        firmware: 7,
        clients: LinkId(8),
    }
}

impl Bench {
    /// A provisioned device that is not registered.
    pub fn provisioned() -> Self {
        let reading = ClockReading {
            system: Timestamp(NOON),
            uptime: 1000,
            boot: Bytes([0xb0; 16]),
        };
        Self::start(Disk::default(), reading, settings())
    }

    /// A registered device that holds these shares.
    pub fn with(shares: &[Share]) -> Self {
        let mut bench = Self::provisioned();
        bench.deliver(&signed(&registration()));
        for share in shares {
            bench.deliver(&signed(share));
        }
        bench.published.clear();
        bench
    }

    pub fn start(disk: Disk, reading: ClockReading, settings: CoreConfig) -> Self {
        // Random bytes in the daemon; here different at every start.
        static STARTS: AtomicU64 = AtomicU64::new(0);
        let start = STARTS.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let fresh = Bytes(hash(&start).0[..16].try_into().unwrap());
        Self::start_with(disk, reading, settings, fresh)
    }

    /// The same with the epoch that a device without a log starts with.
    pub fn start_with(
        disk: Disk,
        reading: ClockReading,
        settings: CoreConfig,
        fresh: Bytes<16>,
    ) -> Self {
        let found = RecoveredState {
            device: id("ups-7"),
            key: key("device"),
            issuers: disk.issuers(),
            registration: disk.registration.clone(),
            records: disk.log.clone(),
            statements: disk.cache.values().cloned().collect(),
            log_broken: disk
                .damage
                .as_ref()
                .is_some_and(doorward_transport::event_log::Damage::is_break),
            salvaged: disk.salvaged.clone(),
        };
        let (core, effects) = Core::start(found, settings, fresh, &reading);
        let mut bench = Self {
            core,
            disk,
            reading,
            published: Vec::new(),
            checkpoints: Vec::new(),
            started: Vec::new(),
            resumed: Vec::new(),
            watched: false,
            acknowledged: 0,
            unheard: 0,
            client: LinkId(8),
            refreshed: 0,
            uploads: Vec::new(),
            dropped: 0,
            origin: Origin::Cloud,
            counter: 0,
        };
        bench.settle(effects);
        bench
    }

    /// Restarts the core from the disk: state that was not durable is lost.
    pub fn restart(&mut self) {
        self.restart_with(settings());
    }

    /// The same with other settings.
    pub fn restart_with(&mut self, settings: CoreConfig) {
        let fresh = Self::start(self.disk.clone(), self.reading, settings);
        let counter = self.counter;
        *self = Self { counter, ..fresh };
    }

    /// Makes a batch durable, notifies the core and carries out its actions, until there are none.
    pub fn settle(&mut self, effects: Effects) {
        let mut next = Some(effects);
        while let Some(Effects { batch, actions, .. }) = next.take() {
            let written = !batch.is_empty();
            self.write(batch);
            for action in actions {
                self.act(action);
            }
            if written {
                let size = self.core.log_size();
                next = Some(self.core.handle(Input::Durable(size), &self.reading));
            }
        }
    }

    fn write(&mut self, batch: doorward::core::Batch) {
        self.disk.cache.extend(batch.put);
        for name in batch.remove {
            self.disk.cache.remove(&name);
        }
        self.disk.issuers = batch.issuers.or(self.disk.issuers.take());
        self.disk.registration = batch.registration.or(self.disk.registration.take());
        for write in batch.log {
            match write {
                LogWrite::Append(bytes) => self.disk.log.push(Record::decode(&bytes).unwrap()),
                LogWrite::Drop(before) => self.dropped = before,
                LogWrite::Segment(_) => {}
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Run(permit) => self.started.push(*permit),
            Action::Publish(ReplyTopic::Events, bytes) => self.checkpoints.push(bytes),
            Action::Publish(topic, bytes) => self.published.push((topic, bytes)),
            Action::Ack(_) => self.acknowledged += 1,
            Action::Refuse(_) => self.unheard += 1,
            Action::Upload(from, again) => self.uploads.push((from, again)),
            Action::Resume(intent, rebooted) => self.resumed.push((*intent, rebooted)),
            Action::SetSite(_) | Action::ClearUserData => {}
            Action::WatchEquipment(watched) => self.watched = watched,
            Action::RequestRetained => self.refreshed += 1,
        }
    }

    /// Handles one input without making anything durable.
    pub fn handle(&mut self, input: Input) -> Effects {
        self.core.handle(input, &self.reading)
    }

    pub fn input(&mut self, input: Input) {
        let effects = self.handle(input);
        self.settle(effects);
    }

    pub fn arrived(payload: &[u8], origin: Origin, retained: bool) -> Input {
        Input::Arrived {
            origin,
            retained,
            delivery: Delivery {
                link: LinkId(usize::from(origin == Origin::Local)),
                number: 1,
            },
            payload: payload.to_vec(),
        }
    }

    pub fn deliver(&mut self, payload: &[u8]) {
        self.input(Self::arrived(payload, self.origin, false));
    }

    /// The command that a user would sign now.
    pub fn command(&mut self, wanted: &str) -> Command {
        self.counter += 1;
        let state = self.state();
        Command {
            aud: device(),
            exp: self.reading.system.plus(120),
            iat: self.reading.system,
            cti: Bytes([7; 16]),
            body: CommandBody {
                format: 1,
                counter: self.counter,
                instance: Bytes([1; 4]),
                epoch: state.epoch,
                operation: operation(wanted),
                args: Map::default(),
                until: None,
                dry: None,
            },
        }
    }

    pub fn state(&mut self) -> DeviceStanding {
        self.core.status(&self.reading).standing
    }

    /// Sends a command and, if it was started, lets it succeed. Returns the code of the receipt, or
    /// its outcome such as `done`; `silence` without a receipt.
    pub fn ask(&mut self, person: &str, wanted: &str) -> String {
        let command = self.command(wanted);
        self.send(&command, person)
    }

    pub fn send(&mut self, command: &Command, person: &str) -> String {
        let bytes = sign(command, &key(person));
        self.send_bytes(&bytes)
    }

    /// Sends a command with one argument.
    pub fn ask_with(&mut self, person: &str, wanted: &str, name: &str, value: Value) -> String {
        let mut command = self.command(wanted);
        command.body.args = Map::new([(Text::new(name).unwrap(), value)]);
        self.send(&command, person)
    }

    /// The last receipt that was published.
    pub fn last_receipt(&self) -> Receipt {
        let is_receipt =
            |(topic, _): &&(ReplyTopic, Vec<u8>)| matches!(topic, ReplyTopic::Receipts(..));
        let (_, bytes) = self.published.iter().rfind(is_receipt).unwrap();
        receipt(bytes)
    }

    /// Sends the bytes of a bundle that ends with a command; returns the same as `ask`.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> String {
        let before = self.published.len();
        let running = self.started.len();
        self.deliver(bytes);
        if self.started.len() > running {
            self.finish(self.started[running].caller().command);
        }
        let receipts: Vec<Receipt> = self.published[before..]
            .iter()
            .filter(|(topic, _)| matches!(topic, ReplyTopic::Receipts(..)))
            .map(|(_, bytes)| receipt(bytes))
            .collect();
        match receipts.last() {
            None => "silence".to_owned(),
            Some(receipt) => receipt
                .body
                .code
                .as_ref()
                .map_or_else(|| receipt.body.outcome.name().into(), ToString::to_string),
        }
    }

    /// Lets an operation succeed.
    pub fn finish(&mut self, command: Hash) {
        self.input(Input::Finished(
            command,
            OperationResult::done(Map::default()),
        ));
    }

    /// Number of refusals with a code since the start.
    pub fn counted(&mut self, code: Code) -> u64 {
        let status = self.core.status(&self.reading);
        status.refused.get(&code).copied().unwrap_or(0)
    }

    /// Advances all clocks.
    pub fn pass(&mut self, seconds: u64) {
        self.reading.system = self.reading.system.plus(seconds);
        self.reading.uptime += seconds;
    }
}

/// Decodes a receipt and verifies it with the device's key.
pub fn receipt(bytes: &[u8]) -> Receipt {
    let envelope = Envelope::parse(bytes).unwrap();
    let device = PublicKey::new(&key("device").public()).unwrap();
    envelope.verify(&device).unwrap();
    envelope.claims().unwrap()
}
