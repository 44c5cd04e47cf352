//! What a decision costs, as a ratio to its floor: one strict Ed25519 verification of a message of
//! the same length, by the same function. Both are timed in turn, in the same process, many times.
//! Prints a table: for so many shares the middle of the ratios with their quartiles, what decoding
//! takes of it, and how often memory was allocated for one command.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use doorward::gate::{
    Arrival, Decision, Known, Memory, Offer, Offers, Origin, Reading, Situation, Timekeeper, decide,
};
use doorward::wire::*;

/// Commands in one round, and rounds.
const COMMANDS: usize = 200;
const ROUNDS: usize = 41;
const NOON: u64 = 1_795_348_800;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: it only counts, and hands everything on.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn key(name: &str) -> SecretKey {
    SecretKey::from_seed(&hash(name.as_bytes()).0)
}

fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

fn device() -> Audience {
    Audience::Device(id("ups-7"))
}

fn operation() -> Operation {
    Operation::new("device.reboot").unwrap()
}

fn issuers() -> Issuers {
    let roles = Role::ALL.map(|role| {
        let keys = vec![key(role.name()).public()];
        (role, RoleKeys { threshold: 1, keys })
    });
    Issuers::new(id("acme"), Timestamp(NOON - 100), 1, Map::new(roles))
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
            table: table(),
            demo: false,
            slots: 20_000,
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

fn table() -> PlanTable {
    PlanTable {
        version: 1,
        plans: vec![id("basic"), id("standard"), id("advanced")],
        minimum: Map::new([(Text::new("*").unwrap(), 2)]),
    }
}

fn share(at: usize) -> Share {
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

fn command(counter: u64, person: &str) -> Vec<u8> {
    let command = Command {
        aud: device(),
        exp: Timestamp(NOON + 60),
        iat: Timestamp(NOON),
        cti: Bytes([1; 16]),
        body: CommandBody {
            format: 1,
            counter,
            instance: Bytes([1; 4]),
            epoch: Bytes([0xe0; 16]),
            operation: operation(),
            args: Map::default(),
            until: None,
            dry: None,
        },
    };
    sign(&command, &key(person))
}

struct World {
    known: Known,
    memory: Memory,
    offers: Offers,
}

impl World {
    fn new(shares: usize) -> Self {
        let memory = Memory::new(Bytes([0xe0; 16]));
        let mut known = Known::new(id("ups-7"), key("device").public(), issuers());
        let now = Timestamp(NOON);
        let mut install = |bytes: &[u8]| {
            let envelope = Envelope::parse(bytes).unwrap();
            let installed = known.install(&[envelope], &memory, now).unwrap();
            assert!(installed.is_some());
        };
        install(&sign(&registration(), &key(Role::Registry.name())));
        for at in 0..shares {
            install(&sign(&share(at), &key(Role::Shares.name())));
        }
        let list = Revocations {
            iss: id("acme"),
            aud: device(),
            iat: Timestamp(NOON - 50),
            body: RevocationsBody {
                format: 1,
                seq: 1,
                next: Timestamp(NOON + 86400),
                shares: Map::new((0..1024_u64).map(|at| {
                    let name = hash(&at.to_be_bytes()).0;
                    let id = Bytes(name[..16].try_into().unwrap());
                    (id, Timestamp(NOON + 86400))
                })),
                holders: Map::default(),
                subjects: Map::default(),
                before: Timestamp(0),
            },
        };
        install(&sign(&list, &key(Role::Revocations.name())));
        let offers = [(operation(), Offer::plain(Class::Interrupt))].into();
        Self {
            known,
            memory,
            offers,
        }
    }

    fn decide(&self, bytes: &[u8]) -> bool {
        let bundle = Bundle::parse(bytes).unwrap();
        let envelope = bundle.command.unwrap();
        let reading = Reading {
            system: Timestamp(NOON),
            uptime: 1000,
            boot: Bytes([0xb0; 16]),
        };
        let now = Timekeeper::new(Timestamp(NOON - 50), Timestamp(0), &reading).now(&reading);
        let situation = Situation {
            now,
            offers: &self.offers,
            interlocks: &Default::default(),
            firmware: 1,
            interrupting: false,
            pending: 0,
            log_used: 0,
            store_works: true,
        };
        let arrival = Arrival {
            envelope: &envelope,
            approvals: &bundle.approvals,
            origin: Origin::Cloud,
            retained: false,
        };
        match decide(&self.known, &self.memory, &situation, &arrival) {
            Decision::Allowed(_) => true,
            Decision::Denied(_) | Decision::Rehearsed(_) => false,
        }
    }
}

fn timed(mut work: impl FnMut(usize)) -> f64 {
    let start = Instant::now();
    for at in 0..COMMANDS {
        work(at);
    }
    start.elapsed().as_secs_f64() / COMMANDS as f64
}

/// First quartile, middle, third quartile.
fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[values.len() * quarter / 4])
}

fn main() {
    println!("| shares | decision, of one verification | decoding of it | allocations | floor |");
    println!("|---|---|---|---|---|");
    for shares in [10, 100, 1_000, 10_000] {
        let world = World::new(shares);
        let person = format!("person-{}", shares / 2);
        let commands: Vec<_> = (0..COMMANDS).map(|at| command(at as u64 + 1, &person)).collect();
        let public = PublicKey::new(&key(&person).public()).unwrap();
        let envelopes: Vec<_> = commands.iter().map(|it| Envelope::parse(it).unwrap()).collect();
        assert!(commands.iter().all(|bytes| world.decide(bytes)));
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        black_box(world.decide(&commands[0]));
        let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
        let (mut whole, mut decoding, mut floors) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let floor = timed(|at| envelopes[at].verify(black_box(&public)).unwrap());
            let decided = timed(|at| assert!(world.decide(black_box(&commands[at]))));
            let decoded = timed(|at| {
                let envelope = Envelope::parse(black_box(&commands[at])).unwrap();
                black_box(envelope.claims::<Command>().unwrap());
            });
            whole.push(decided / floor);
            decoding.push(decoded / floor);
            floors.push(floor * 1e6);
        }
        let [low, middle, high] = quartiles(whole);
        let [_, decoding, _] = quartiles(decoding);
        let [_, floor, _] = quartiles(floors);
        println!(
            "| {shares} | {middle:.3} ({low:.3} to {high:.3}) | {decoding:.3} | {allocations} | {floor:.1} us |"
        );
    }
}
