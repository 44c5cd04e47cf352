//! A registered device with many shares and a full revocation list, all in memory, with keys from
//! fixed seeds (TEST KEYS) and a fixed clock.

use std::cell::RefCell;

use crate::{NOON, id, key};
use doorward::core::{
    Action, Core, CoreConfig, Delivery, Input, LinkId, OperationResult, RecoveredState,
};
use doorward_protocol::gate::{
    ClockReading, Decision, DeviceContext, DurableState, InboundCommand, Now, Offer, Offers,
    Origin, RebootLimit, SlotCache, StatementStore, TrustedClock, decide,
};
use doorward_protocol::wire::*;

/// Capacity for shares, above the number of any benchmark.
const CAPACITY: usize = 200_000;
/// Shares in the revocation list.
pub const CANCELLED: u64 = 1024;

fn device() -> Audience {
    Audience::Device(id("ups-7"))
}

/// The operation that every share allows.
pub fn operation() -> Operation {
    Operation::new("device.reboot").unwrap()
}

fn issuers() -> Issuers {
    issuers_at(Timestamp(NOON - 100))
}

/// An issuer with one key for each role.
pub fn issuers_at(time: Timestamp) -> Issuers {
    let roles = Role::ALL.map(|role| {
        let keys = vec![key(role.name()).public()];
        (role, RoleKeys { threshold: 1, keys })
    });
    Issuers::new(id("acme"), time, 1, Map::new(roles))
}

fn registration() -> Registration {
    Registration {
        iss: id("acme"),
        sub: id("ole"),
        aud: device(),
        iat: Timestamp(NOON - 100),
        cnf: Confirmation(key("ole").public()),
        body: RegistrationBody {
            format: 1,
            seq: 1,
            device: key("device").public(),
            region: id("eu"),
            model: Text::new("Smart-UPS 1500").unwrap(),
            site: None,
            plan: Plan {
                name: id("advanced"),
                end: None,
            },
            table: plans(),
            demo: false,
            slots: CAPACITY as u32,
            leases: Map::new([
                (Class::Read, 30 * 86400),
                (Class::Change, 7 * 86400),
                (Class::Interrupt, 7 * 86400),
                (Class::Danger, 86400),
            ]),
            since: Timestamp(0),
            ages: None,
        },
    }
}

/// Plans of which only the highest allows the operations.
pub fn plans() -> PlanTable {
    PlanTable {
        version: 1,
        plans: vec![id("basic"), id("standard"), id("advanced")],
        minimum: Map::new([(Text::new("*").unwrap(), 2)]),
    }
}

/// The share of user number `at`.
pub fn share(at: usize) -> Share {
    let name = format!("person-{at}");
    Share {
        iss: id("acme"),
        sub: id(&name),
        aud: device(),
        exp: Timestamp(NOON + 86400),
        nbf: Timestamp(NOON - 100),
        iat: Timestamp(NOON - 100),
        cti: Bytes(hash(name.as_bytes()).0[..16].try_into().unwrap()),
        cnf: Confirmation(key(&name).public()),
        body: ShareBody {
            format: 1,
            version: 1,
            permissions: Map::new([(operation(), Permission { args: None })]),
            by: id("ole"),
            description: None,
            lease: None,
            region: id("eu"),
            group: None,
            limits: None,
        },
    }
}

/// A command of a user.
pub fn command(counter: u64, person: &str) -> Vec<u8> {
    let command = Command {
        aud: device(),
        exp: Timestamp(NOON + 60),
        iat: Timestamp(NOON),
        cti: Bytes([1; 16]),
        body: CommandBody {
            format: 1,
            counter,
            instance: Bytes([1; 4]),
            epoch: EPOCH,
            operation: operation(),
            args: Map::default(),
            until: None,
            dry: None,
        },
    };
    sign(&command, &key(person))
}

fn list() -> Revocations {
    let day = Timestamp(NOON + 86400);
    Revocations {
        iss: id("acme"),
        aud: device(),
        iat: Timestamp(NOON - 50),
        body: RevocationsBody {
            format: 1,
            seq: 1,
            next: day,
            shares: Map::new((0..CANCELLED).map(|at| {
                let name = hash(&at.to_be_bytes()).0;
                (Bytes(std::array::from_fn(|byte| name[byte])), day)
            })),
            holders: Map::default(),
            subjects: Map::default(),
            before: Timestamp(0),
        },
    }
}

/// The clock reading of the device.
pub fn reading() -> ClockReading {
    ClockReading {
        system: Timestamp(NOON),
        uptime: 1000,
        boot: Bytes([0xb0; 16]),
    }
}

const EPOCH: Bytes<16> = Bytes([0xe0; 16]);

/// The inputs of a decision.
pub struct World {
    known: StatementStore,
    memory: DurableState,
    slots: RefCell<SlotCache>,
    offers: Offers,
    now: Now,
}

impl World {
    /// A device with this number of shares.
    pub fn new(shares: usize) -> Self {
        let known = StatementStore::new(id("ups-7"), key("device").public(), issuers());
        let mut world = Self {
            known: known.with_capacity(CAPACITY),
            memory: DurableState::new(EPOCH),
            slots: RefCell::default(),
            offers: [(operation(), Offer::plain(Class::Read))].into(),
            now: TrustedClock::new(Timestamp(NOON - 50), Timestamp(0), &reading()).now(&reading()),
        };
        world.install(&sign(&registration(), &key(Role::Registry.name())));
        for at in 0..shares {
            world.install(&sign(&share(at), &key(Role::Shares.name())));
        }
        world.install(&sign(&list(), &key(Role::Revocations.name())));
        world
    }

    /// Installs a new statement.
    pub fn install(&mut self, bytes: &[u8]) {
        let envelope = Envelope::parse(bytes).unwrap();
        let now = self.now.estimate;
        let installed = self.known.install(&[envelope], &self.memory, now).unwrap();
        assert!(installed.is_some());
    }

    /// Decides a command from its bytes.
    ///
    /// # Errors
    /// The name of the code with which it is refused.
    pub fn decide(&self, bytes: &[u8], retained: bool) -> Result<(), String> {
        let named = |error: WireError| format!("{error:?}");
        let bundle = Bundle::parse(bytes).map_err(named)?;
        let envelope = bundle.command.ok_or_else(String::new)?;
        let mut slots = self.slots.borrow_mut();
        let situation = DeviceContext {
            now: self.now,
            slots: slots.update(&self.known, &self.memory, &self.now),
            offers: &self.offers,
            interlocks: &Default::default(),
            firmware: 1,
            interrupting: false,
            pending: 0,
            log_used: 0,
            store_works: true,
        };
        let arrival = InboundCommand {
            envelope: &envelope,
            approvals: &bundle.approvals,
            origin: Origin::Cloud,
            retained,
        };
        match decide(&self.known, &self.memory, &situation, &arrival) {
            Decision::Allowed(_) => Ok(()),
            Decision::Denied(reason) => Err(reason.code.name().to_owned()),
            Decision::DryRun(_) => Err(String::new()),
        }
    }
}

/// The complete core of a device, without links and disk.
pub struct DeviceCore {
    core: Core,
    number: u64,
}

impl DeviceCore {
    /// A core with this number of shares.
    pub fn new(shares: usize) -> Self {
        let mut statements = vec![sign(&list(), &key(Role::Revocations.name()))];
        statements.extend((0..shares).map(|at| sign(&share(at), &key(Role::Shares.name()))));
        let found = RecoveredState {
            device: id("ups-7"),
            key: key("device"),
            issuers: issuers(),
            registration: Some(sign(&registration(), &key(Role::Registry.name()))),
            records: Vec::new(),
            statements,
            log_broken: false,
            salvaged: Vec::new(),
        };
        let settings = CoreConfig {
            offers: [(operation(), Offer::plain(Class::Read))].into(),
            rebooting: Vec::new(),
            resumable: Vec::new(),
            in_memory_reads: vec![operation()],
            running: Default::default(),
            reboot_limit: RebootLimit {
                max: 4,
                seconds: 60,
            },
            built: Timestamp(0),
            log_limit: 1 << 40,
            segment: 1 << 20,
            firmware: 1,
            clients: LinkId(2),
        };
        let (core, _) = Core::start(found, settings, EPOCH, &reading());
        let mut device = Self { core, number: 0 };
        device.durable();
        device
    }

    fn durable(&mut self) -> Vec<Action> {
        let size = self.core.log_size();
        self.core.handle(Input::Durable(size), &reading()).actions
    }

    /// Handles a message, with a batch that is durable immediately. Returns whether an operation
    /// was started, which finishes immediately.
    pub fn step(&mut self, payload: &[u8]) -> bool {
        self.step_on(0, payload)
    }

    /// The same over another link.
    pub fn step_on(&mut self, link: usize, payload: &[u8]) -> bool {
        self.number += 1;
        let input = Input::Arrived {
            origin: Origin::Cloud,
            retained: false,
            delivery: Delivery {
                link: LinkId(link),
                number: self.number,
            },
            payload: payload.to_vec(),
        };
        let mut actions = self.core.handle(input, &reading()).actions;
        actions.extend(self.durable());
        let mut started = false;
        for action in actions {
            if let Action::Run(permit) = action {
                started = true;
                let ended = Input::Finished(
                    permit.caller().command,
                    OperationResult::done(Map::default()),
                );
                self.core.handle(ended, &reading());
                self.durable();
            }
        }
        started
    }
}
