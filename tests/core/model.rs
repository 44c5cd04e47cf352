//! Comparison of the gate's decisions with an independent model that was written from
//! `docs/protocol.md` section 4 alone.

use doorward_protocol::gate::Origin;
use doorward_protocol::wire::*;
use doorward_testkit::*;
use proptest::prelude::*;

const PEOPLE: [&str; 3] = ["anna", "bob", "carl"];
const OPERATIONS: [&str; 4] = [
    "status.read",
    "diag.selftest",
    "device.reboot",
    "factory.reset",
];
const CLASS_LEASE_DAYS: [u64; 4] = [30, 7, 7, 1];

/// A share of the model; times are hours relative to noon.
#[derive(Debug, Clone)]
struct PlainShare {
    holder: usize,
    operations: Vec<usize>,
    issued: i64,
    starts: i64,
    ends: i64,
    other_region: bool,
    other_site: bool,
    uses: Option<u32>,
    local_only: bool,
    cancelled: bool,
    lease_hours: Option<u64>,
}

#[derive(Debug, Clone)]
struct World {
    shares: Vec<PlainShare>,
    list: Option<i64>,
    frozen: bool,
    demo: bool,
    slots: usize,
    plan: usize,
    plan_ends: Option<i64>,
}

#[derive(Debug, Clone)]
struct Ask {
    /// Index of the sender: 0 to 2 in `PEOPLE`, 3 the owner, 4 a stranger.
    who: usize,
    operation: usize,
    local: bool,
    ttl: u64,
    age: u64,
    wrong_epoch: bool,
    with_argument: bool,
}

fn plain_share() -> impl Strategy<Value = PlainShare> {
    (
        (0..3_usize, prop::sample::subsequence(vec![0, 1, 2], 1..=3)),
        (-900..0_i64, 0..30_i64, 1..40_i64),
        (prop::bool::weighted(0.1), prop::bool::weighted(0.1)),
        (
            prop::option::weighted(0.3, 1..3_u32),
            prop::bool::weighted(0.2),
        ),
        (
            prop::bool::weighted(0.2),
            prop::option::weighted(0.2, 1..100_u64),
        ),
    )
        .prop_map(|(who, times, other, limits, end)| PlainShare {
            holder: who.0,
            operations: who.1,
            issued: times.0,
            starts: times.0 + times.1 * 30,
            ends: times.0 + times.1 * 30 + times.2 * 24,
            other_region: other.0,
            other_site: other.1,
            uses: limits.0,
            local_only: limits.1,
            cancelled: end.0,
            lease_hours: end.1,
        })
}

fn world() -> impl Strategy<Value = World> {
    (
        prop::collection::vec(plain_share(), 0..6),
        prop::option::of(-1000..0_i64),
        (prop::bool::weighted(0.1), prop::bool::weighted(0.1)),
        1..4_usize,
        (0..3_usize, prop::option::of(-500..100_i64)),
    )
        .prop_map(
            |(shares, list, (frozen, demo), slots, (plan, plan_ends))| World {
                shares,
                list,
                frozen,
                demo,
                slots,
                plan,
                plan_ends,
            },
        )
}

fn ask() -> impl Strategy<Value = Ask> {
    (
        (0..5_usize, 0..4_usize, any::<bool>()),
        (1..320_u64, 0..320_u64),
        (prop::bool::weighted(0.05), prop::bool::weighted(0.05)),
    )
        .prop_map(|((who, operation, local), (ttl, age), odd)| Ask {
            who,
            operation,
            local,
            ttl,
            age,
            wrong_epoch: odd.0,
            with_argument: odd.1,
        })
}

fn hours(from_noon: i64) -> Timestamp {
    Timestamp((NOON as i64 + from_noon * 3600) as u64)
}

/// The model: applies the rules in their order.
struct Model<'a> {
    world: &'a World,
    used: Vec<u32>,
}

impl Model<'_> {
    fn answer(&mut self, ask: &Ask) -> String {
        let world = self.world;
        let usable = |s: &PlainShare| !s.other_site && s.ends > 0;
        let known = ask.who == 3
            || world
                .shares
                .iter()
                .any(|s| s.holder == ask.who && usable(s));
        if !known {
            return "silence".into();
        }
        if ask.wrong_epoch {
            return "epoch".into();
        }
        if ask.ttl > 300 {
            return "ttl_too_long".into();
        }
        if ask.age >= ask.ttl {
            return "late".into();
        }
        let mut charged = None;
        if ask.who != 3 {
            let mut best = 0;
            for (at, share) in world.shares.iter().enumerate() {
                if share.holder != ask.who || !usable(share) {
                    continue;
                }
                let reached = self.judge(ask, at, share);
                best = best.max(reached);
                // Shares are tried in the order of their arrival.
                if reached == PASSED {
                    charged = Some(at);
                    break;
                }
            }
            if charged.is_none() {
                return REASONS[best].into();
            }
        }
        if ask.operation == 3 {
            return "unsupported".into();
        }
        if ask.with_argument {
            return "param".into();
        }
        if let Some(at) = charged {
            self.used[at] += 1;
        }
        "done".into()
    }

    /// Returns the index of the first failed check in `REASONS`, or [`PASSED`].
    fn judge(&self, ask: &Ask, at: usize, share: &PlainShare) -> usize {
        let world = self.world;
        let lease = CLASS_LEASE_DAYS[ask.operation] * 24;
        let lease = share.lease_hours.map_or(lease, |own| own.min(lease));
        let fresh_at = world
            .list
            .map_or(share.issued, |issued| issued.max(share.issued));
        let plan_now = self.plan_at(0);
        let plan_then = self.plan_at(share.issued);
        let needs = [0, 1, 2, 2][ask.operation];
        let failures = [
            share.starts > 0,
            share.ends <= 0,
            self.is_cancelled(share),
            fresh_at < -(lease as i64),
            world.frozen,
            share.other_region,
            world.demo,
            !self.has_slot(share.holder),
            ask.operation == 3,
            !share.operations.contains(&ask.operation),
            // Plan too low now, or issued after the registration on a plan without sharing.
            plan_now < needs || (share.issued >= REGISTERED && plan_then < 1),
            share.local_only && !ask.local,
            share.uses.is_some_and(|uses| self.used[at] >= uses),
        ];
        failures.iter().position(|failed| *failed).unwrap_or(PASSED)
    }

    fn is_cancelled(&self, share: &PlainShare) -> bool {
        self.world.list.is_some() && share.cancelled
    }

    fn plan_at(&self, time: i64) -> usize {
        match self.world.plan_ends {
            Some(end) if end <= time => 0,
            _ => self.world.plan,
        }
    }

    fn has_slot(&self, holder: usize) -> bool {
        let mut live: Vec<&PlainShare> = self
            .world
            .shares
            .iter()
            .filter(|s| !s.other_site && s.ends > 0 && !self.is_cancelled(s))
            .collect();
        live.sort_by_key(|s| (s.issued, share_id(s, self.world)));
        let mut holders = Vec::new();
        for share in live {
            if !holders.contains(&share.holder) {
                holders.push(share.holder);
            }
        }
        holders.iter().take(self.world.slots).any(|h| *h == holder)
    }
}

/// Issue time of the registration, in hours from noon.
const REGISTERED: i64 = -50 * 24;
const REASONS: [&str; 13] = [
    "not_yet",
    "expired",
    "revoked",
    "stale",
    "frozen",
    "wrong_region",
    "demo",
    "slots_full",
    "owner_only",
    "not_granted",
    "plan",
    "origin",
    "count",
];
const PASSED: usize = REASONS.len();

fn share_id(share: &PlainShare, world: &World) -> [u8; 16] {
    let at = world.shares.iter().position(|s| std::ptr::eq(s, share));
    hash(&at.unwrap().to_be_bytes()).0[..16].try_into().unwrap()
}

/// The share as the device receives it.
fn real_share(plain: &PlainShare, world: &World) -> Share {
    let names: Vec<&str> = plain.operations.iter().map(|o| OPERATIONS[*o]).collect();
    let mut share = share(PEOPLE[plain.holder], &names);
    share.cti = Bytes(share_id(plain, world));
    (share.iat, share.nbf) = (hours(plain.issued), hours(plain.starts));
    share.exp = hours(plain.ends);
    share.aud = match plain.other_site {
        true => "site:south".parse().unwrap(),
        false => device(),
    };
    share.body.region = id(if plain.other_region { "us" } else { "eu" });
    share.body.lease = plain.lease_hours.map(|hours| hours * 3600);
    share.body.limits = Some(Limits {
        uses: plain.uses,
        origin: plain.local_only.then_some(Way::Local),
        ..Limits::default()
    });
    share
}

fn real_device(world: &World) -> Bench {
    let mut registration = registration();
    let body = &mut registration.body;
    body.demo = world.demo;
    body.slots = world.slots as u32;
    body.plan = Plan {
        name: id(["basic", "standard", "advanced"][world.plan]),
        end: world.plan_ends.map(hours),
    };
    let mut bench = Bench::provisioned();
    bench.deliver(&signed(&registration));
    let shares: Vec<Share> = world.shares.iter().map(|s| real_share(s, world)).collect();
    for share in &shares {
        bench.deliver(&signed(share));
    }
    if let Some(issued) = world.list {
        let cancelled = world
            .shares
            .iter()
            .zip(&shares)
            .filter(|(s, _)| s.cancelled);
        let cancelled: Vec<&Share> = cancelled.map(|(_, share)| share).collect();
        let mut list = revocations(1, &cancelled);
        list.iat = hours(issued);
        bench.deliver(&signed(&list));
    }
    if world.frozen {
        assert_eq!(bench.ask("ole", "share.freeze"), "done");
    }
    bench
}

fn real_answer(bench: &mut Bench, ask: &Ask) -> String {
    let mut command = bench.command(OPERATIONS[ask.operation]);
    command.iat = Timestamp(NOON - ask.age);
    command.exp = command.iat.plus(ask.ttl);
    if ask.wrong_epoch {
        command.body.epoch = Bytes([0; 16]);
    }
    if ask.with_argument {
        command.body.args = Map::new([(Text::new("x").unwrap(), Value::Int(1))]);
    }
    let who = ["anna", "bob", "carl", "ole", "eve"][ask.who];
    bench.origin = if ask.local {
        Origin::Local
    } else {
        Origin::Cloud
    };
    bench.send(&command, who)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1500,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_gate_decides_as_the_model_does(
        world in world(),
        asks in prop::collection::vec(ask(), 1..6),
    ) {
        let mut bench = real_device(&world);
        let mut model = Model { world: &world, used: vec![0; world.shares.len()] };
        for ask in &asks {
            let expected = model.answer(ask);
            prop_assert_eq!(real_answer(&mut bench, ask), expected, "{:?}", ask);
        }
    }
}
