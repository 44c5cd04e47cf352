//! The cost of a decision as a ratio to its floor: one strict Ed25519 verification of the same
//! message by the same function. Prints JSON; `benches/run` summarises many launches in a table.
//!
//! decide [SHARES [only]]

use std::hint::black_box;

use doorward_benches::timing::{Subject, allocations, compare};
use doorward_protocol::wire::*;
use doorward_testkit::key;
use doorward_testkit::large_device::{DeviceCore, World, command, share};
use minicbor::Decoder;
use serde_json::{Value, json};

/// Commands per round, and number of rounds.
const COMMANDS: usize = 200;
const ROUNDS: usize = 21;
/// Refused messages for each valid one.
const REFUSED: usize = 10;

/// The signed bytes of a command, and its signature.
fn signed(bytes: &[u8]) -> (Vec<u8>, [u8; 64]) {
    let mut d = Decoder::new(bytes);
    d.tag().unwrap();
    d.tag().unwrap();
    d.array().unwrap();
    let protected = d.bytes().unwrap();
    d.map().unwrap();
    let payload = d.bytes().unwrap();
    let signature = d.bytes().unwrap().try_into().unwrap();
    (to_be_signed(protected, payload), signature)
}

fn rows(timed: Vec<doorward_benches::timing::Timed>) -> Vec<Value> {
    let rows = timed.into_iter();
    rows.map(|it| json!({"name": it.name, "us": it.seconds * 1e6, "ratio": it.ratio}))
        .collect()
}

/// The commands of one user, and the floor of a decision about them.
struct Sent {
    commands: Vec<Vec<u8>>,
    messages: Vec<(Vec<u8>, [u8; 64])>,
    key: PublicKey,
}

impl Sent {
    fn by(person: &str) -> Self {
        let commands: Vec<_> = (0..COMMANDS)
            .map(|at| command(at as u64 + 1, person))
            .collect();
        Self {
            messages: commands.iter().map(|bytes| signed(bytes)).collect(),
            key: PublicKey::new(&key(person).public()).unwrap(),
            commands,
        }
    }

    fn floor(&self) -> Subject<'_> {
        Subject::new("one verification", COMMANDS, |at| {
            let (message, signature) = &self.messages[at];
            self.key.verify(black_box(message), signature).unwrap();
        })
    }
}

/// The cost of a decision with an increasing number of shares in memory.
fn growth(most: usize) -> Value {
    let sizes = [10, 100, 1_000, 10_000, 100_000];
    let rows = sizes
        .into_iter()
        .filter(|size| *size <= most)
        .map(|shares| {
            let world = World::new(shares);
            let sent = Sent::by(&format!("person-{}", shares / 2));
            for bytes in &sent.commands {
                world.decide(bytes, false).unwrap();
            }
            let decision = Subject::new("decision", COMMANDS, |at| {
                world.decide(black_box(&sent.commands[at]), false).unwrap();
            });
            let timed = compare(ROUNDS, vec![sent.floor(), decision]);
            json!({
                "shares": shares,
                "floor_us": timed[0].seconds * 1e6,
                "us": timed[1].seconds * 1e6,
                "ratio": timed[1].ratio,
                "allocations": allocations(|| world.decide(&sent.commands[0], false)),
            })
        });
    rows.collect()
}

/// The cost of refusals, before and after a signature check.
fn refusals() -> Value {
    let world = World::new(10_000);
    let sent = Sent::by("person-5000");
    let strangers: Vec<_> = (0..COMMANDS)
        .map(|at| command(at as u64 + 1, "stranger"))
        .collect();
    let forged = sent.commands.iter().cloned().map(|mut bytes| {
        *bytes.last_mut().unwrap() ^= 1;
        bytes
    });
    let forged: Vec<_> = forged.collect();
    let huge = vec![0xd8; MAX_BUNDLE + 1];
    let refused = |name: &str, bytes: &dyn Fn(usize) -> Vec<u8>, retained, code: &str| {
        let all: Vec<_> = (0..COMMANDS).map(bytes).collect();
        assert_eq!(world.decide(&all[0], retained), Err(code.to_owned()));
        let world = &world;
        Subject::new(name, COMMANDS, move |at| {
            black_box(world.decide(black_box(&all[at]), retained)).unwrap_err();
        })
    };
    let subjects = vec![
        sent.floor(),
        refused(
            "retained",
            &|at| sent.commands[at].clone(),
            true,
            "retained",
        ),
        refused("too large", &|_| huge.clone(), false, "TooLarge"),
        refused(
            "unknown key",
            &|at| strangers[at].clone(),
            false,
            "no_grant",
        ),
        refused("forged", &|at| forged[at].clone(), false, "bad_signature"),
    ];
    rows(compare(ROUNDS, subjects)).into()
}

/// The cost of a complete step of the core for a command, alone and with refused messages: those
/// that name an unknown key, and those of a link that has used up its quota.
fn throughput() -> Value {
    let sent = Sent::by("person-50");
    let stranger = command(1, "stranger");
    let mut forged = command(1, "person-51");
    *forged.last_mut().unwrap() ^= 1;
    let mut agents = [
        DeviceCore::new(100),
        DeviceCore::new(100),
        DeviceCore::new(100),
    ];
    // The bucket of link 1 is empty from here on; the owner uses link 0.
    for _ in 0..1000 {
        agents[2].step_on(1, &forged);
    }
    let fresh: Vec<_> = (0..COMMANDS * ROUNDS)
        .map(|at| command(at as u64 + 1, "person-50"))
        .collect();
    let [alone, strangers, flooded] = &mut agents;
    let (mut a, mut b, mut c) = (fresh.iter(), fresh.iter(), fresh.iter());
    let step = |agent: &mut DeviceCore, bytes: Option<&Vec<u8>>| assert!(agent.step(bytes.unwrap()));
    let subjects = vec![
        sent.floor(),
        Subject::new("agent's step", COMMANDS, |_| {
            step(alone, a.next());
        }),
        Subject::new("with ten of unknown keys", COMMANDS, |_| {
            for _ in 0..REFUSED {
                assert!(!strangers.step(black_box(&stranger)));
            }
            step(strangers, b.next());
        }),
        Subject::new("with ten over their bucket", COMMANDS, |_| {
            for _ in 0..REFUSED {
                assert!(!flooded.step_on(1, black_box(&forged)));
            }
            step(flooded, c.next());
        }),
    ];
    rows(compare(ROUNDS, subjects)).into()
}

/// The cost of a share that arrives for the first time.
fn first_sight() -> Value {
    let mut world = World::new(10);
    let sent = Sent::by("person-5");
    let fresh: Vec<_> = (100..100 + COMMANDS * ROUNDS)
        .map(|at| sign(&share(at), &key(Role::Shares.name())))
        .collect();
    let keys: Vec<_> = (0..COMMANDS)
        .map(|at| key(&format!("person-{at}")).public())
        .collect();
    let mut next = 0;
    let subjects = vec![
        sent.floor(),
        Subject::new("a recipient's key, checked", COMMANDS, |at| {
            black_box(PublicKey::new(black_box(&keys[at])).unwrap());
        }),
        Subject::new("a share that is new", COMMANDS, |_| {
            world.install(&fresh[next]);
            next += 1;
        }),
    ];
    rows(compare(ROUNDS, subjects)).into()
}

#[cfg(feature = "peers")]
fn peers() -> Value {
    use doorward_benches::peers::{biscuit_bearer, biscuit_holder_signed, jwt_cedar};
    let world = World::new(10_000);
    let sent = Sent::by("person-5000");
    let mut rows = Vec::new();
    type Peer = (&'static str, Box<dyn Fn() -> bool>);
    let peers: [Peer; 5] = [
        ("biscuit, holder-signed", biscuit_holder_signed()),
        ("biscuit, bearer", biscuit_bearer()),
        ("JWT, JWT, Cedar with 1 policy", jwt_cedar(1)),
        ("JWT, JWT, Cedar with 100 policies", jwt_cedar(100)),
        ("JWT, JWT, Cedar with 1,000 policies", jwt_cedar(1_000)),
    ];
    for (name, peer) in &peers {
        assert!(peer());
        let subjects = vec![
            sent.floor(),
            Subject::new("doorward", COMMANDS, |at| {
                world.decide(black_box(&sent.commands[at]), false).unwrap();
            }),
            Subject::new(name, 20, |_| assert!(black_box(peer()))),
        ];
        let timed = compare(ROUNDS, subjects);
        rows.push(json!({
            "name": name,
            "us": timed[2].seconds * 1e6,
            "ratio": timed[2].ratio,
            "of_ours": timed[2].ratio / timed[1].ratio,
            "allocations": allocations(peer),
        }));
    }
    rows.into()
}

#[cfg(not(feature = "peers"))]
fn peers() -> Value {
    json!([])
}

fn main() {
    let most = std::env::args()
        .nth(1)
        .map_or(10_000, |most| most.parse().unwrap());
    let growth = growth(most);
    // Another build, for which only the decision is measured.
    if std::env::args().nth(2).as_deref() == Some("only") {
        println!("{:#}", json!({"growth": growth}));
        return;
    }
    let report = json!({
        "growth": growth,
        "refusals": refusals(),
        "first_sight": first_sight(),
        "throughput": throughput(),
        "peers": peers(),
    });
    println!("{report:#}");
}
