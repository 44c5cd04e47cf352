//! A registered device for fuzz targets, with keys from fixed seeds (TEST KEYS) and a fixed clock.
//! It is created again for every input, so that no input can affect the next one.

use crate::{NOON, id, key};
use doorward::core::{Action, Core, CoreConfig, Delivery, Input, LinkId, RecoveredState};
use doorward_protocol::gate::{ClockReading, Offer, Origin, RebootLimit};
use doorward_protocol::wire::*;

fn operation() -> Operation {
    Operation::new("device.reboot").unwrap()
}

#[derive(Debug)]
pub struct Effect {
    pub started: bool,
    pub had_effect: bool,
}

fn device() -> (Core, ClockReading) {
    let reading = ClockReading {
        system: Timestamp(NOON),
        uptime: 1000,
        boot: Bytes([0xb0; 16]),
    };
    let roles = Role::ALL.map(|role| {
        let keys = vec![key(role.name()).public()];
        (role, RoleKeys { threshold: 1, keys })
    });
    let issuers = Issuers::new(id("acme"), Timestamp(NOON - 100), 1, Map::new(roles));
    let found = RecoveredState {
        device: id("ups-7"),
        key: key("device"),
        issuers,
        registration: Some(registration()),
        records: Vec::new(),
        statements: vec![share()],
        log_broken: false,
        salvaged: Vec::new(),
    };
    let settings = CoreConfig {
        offers: [(operation(), Offer::plain(Class::Read))].into(),
        rebooting: Vec::new(),
        resumable: Vec::new(),
        in_memory_reads: Vec::new(),
        running: Default::default(),
        reboot_limit: RebootLimit {
            max: 1000,
            seconds: 60,
        },
        built: Timestamp(0),
        log_limit: 1 << 20,
        segment: 1 << 20,
        firmware: 1,
        clients: LinkId(2),
    };
    let (mut core, _) = Core::start(found, settings, Bytes([0xe0; 16]), &reading);
    let durable = Input::Durable(core.log_size());
    core.handle(durable, &reading);
    (core, reading)
}

fn registration() -> Vec<u8> {
    let registration = Registration {
        iss: id("acme"),
        sub: id("ole"),
        aud: Audience::Device(id("ups-7")),
        iat: Timestamp(NOON - 100),
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
            table: plans(),
            demo: false,
            slots: 5,
            leases: leases(),
            since: Timestamp(0),
            ages: None,
        },
    };
    sign(&registration, &key("registry"))
}

fn share() -> Vec<u8> {
    let share = Share {
        iss: id("acme"),
        sub: id("anna"),
        aud: Audience::Device(id("ups-7")),
        exp: Timestamp(NOON + 86400),
        nbf: Timestamp(NOON - 100),
        iat: Timestamp(NOON - 100),
        cti: Bytes([7; 16]),
        cnf: Confirmation(key("anna").public()),
        body: ShareBody {
            format: 1,
            version: 1,
            permissions: Map::new([(operation(), Permission::default())]),
            by: id("ole"),
            description: None,
            lease: None,
            region: id("eu"),
            group: None,
            limits: None,
        },
    };
    sign(&share, &key("shares"))
}

/// A command that this device allows.
pub fn good_command() -> Vec<u8> {
    let command = Command {
        aud: Audience::Device(id("ups-7")),
        exp: Timestamp(NOON + 60),
        iat: Timestamp(NOON),
        cti: Bytes([1; 16]),
        body: CommandBody {
            format: 1,
            counter: 1,
            instance: Bytes([1; 4]),
            epoch: Bytes([0xe0; 16]),
            operation: operation(),
            args: Map::default(),
            until: None,
            dry: None,
        },
    };
    sign(&command, &key("anna"))
}

/// The effect of one message on a fresh device.
pub fn handle(bytes: &[u8]) -> Effect {
    let (mut core, reading) = device();
    let input = Input::Arrived {
        origin: Origin::Cloud,
        retained: false,
        delivery: Delivery {
            link: LinkId(0),
            number: 1,
        },
        payload: bytes.to_vec(),
    };
    let effects = core.handle(input, &reading);
    let mut actions = effects.actions;
    let mut had_effect = !effects.batch.is_empty();
    let mut writes = had_effect;
    while writes {
        let size = core.log_size();
        let next = core.handle(Input::Durable(size), &reading);
        actions.extend(next.actions);
        writes = !next.batch.is_empty();
    }
    let started = actions
        .iter()
        .any(|action| matches!(action, Action::Run(_)));
    had_effect |= actions
        .iter()
        .any(|action| !matches!(action, Action::Ack(_) | Action::Refuse(_)));
    Effect {
        started,
        had_effect,
    }
}

/// Whether some part of a bundle is signed by a key that the device trusts. This check is
/// independent of the device's own: every key against every envelope.
pub fn is_signed(bytes: &[u8]) -> bool {
    let Ok(bundle) = Bundle::parse(bytes) else {
        return false;
    };
    let names = [
        "root",
        "registry",
        "shares",
        "revocations",
        "firmware",
        "anna",
        "ole",
        "bob",
        "carl",
        "dora",
        "tzbv",
    ];
    let keys: Vec<PublicKey> = names
        .iter()
        .map(|name| PublicKey::new(&key(name).public()).unwrap())
        .collect();
    let valid = bundle.statements.iter().flatten();
    valid
        .chain(&bundle.approvals)
        .chain(&bundle.command)
        .any(|envelope| keys.iter().any(|key| envelope.verify(key).is_ok()))
}

/// Three plans: the lowest allows reading, the second sharing, the highest all operations.
fn plans() -> PlanTable {
    let row = |name: &str, rank| (Text::new(name).unwrap(), rank);
    PlanTable {
        version: 1,
        plans: vec![id("basic"), id("standard"), id("advanced")],
        minimum: Map::new([row("*", 2), row("status.read", 0), row("share.create", 1)]),
    }
}

/// An offline validity of one day for every class of operation.
fn leases() -> Map<Class, u64> {
    Map::new(Class::ALL.map(|class| (class, 86400)))
}
