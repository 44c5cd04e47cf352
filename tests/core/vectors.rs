//! Named samples with their expected results, made from fixed seeds. This test makes them again and
//! compares; `DOORWARD_BLESS=1` overwrites `tests/vectors/samples.json`.

use std::path::Path;

use doorward_protocol::gate::{ClockReading, Code};
use doorward_protocol::wire::*;
use doorward_testkit::*;
use serde_json::{Value as Json, json};

const STATUS: &str = "status.read";
const REBOOT: &str = "device.reboot";
/// The epoch of the device in every sample.
const EPOCH: Bytes<16> = Bytes([0xe0; 16]);

/// A registered device at noon: anna may read and reboot, bob and the group TZBV may read.
fn device_at_noon() -> Bench {
    let reading = ClockReading {
        system: Timestamp(NOON),
        uptime: 1000,
        boot: Bytes([0xb0; 16]),
    };
    let mut bench = Bench::start_with(Disk::default(), reading, settings(), EPOCH);
    bench.deliver(&signed(&registration()));
    for share in [anna(), share("bob", &[STATUS]), group()] {
        bench.deliver(&signed(&share));
    }
    bench
}

fn anna() -> Share {
    share("anna", &[STATUS, REBOOT])
}

fn group() -> Share {
    let mut group = share("tzbv", &[STATUS]);
    group.body.group = Some(id("TZBV"));
    group
}

fn command(wanted: &str, change: impl FnOnce(&mut Command)) -> Command {
    let mut command = Command {
        aud: device(),
        exp: Timestamp(NOON + 60),
        iat: Timestamp(NOON),
        cti: Bytes([0xc1; 16]),
        body: CommandBody {
            format: 1,
            counter: 1,
            instance: Bytes([1; 4]),
            epoch: EPOCH,
            operation: operation(wanted),
            args: Map::default(),
            until: None,
            dry: None,
        },
    };
    change(&mut command);
    command
}

fn by(person: &str, wanted: &str, change: impl FnOnce(&mut Command)) -> Vec<u8> {
    sign(&command(wanted, change), &key(person))
}

fn changed<T: Clone>(claims: &T, change: impl FnOnce(&mut T)) -> T {
    let mut claims = claims.clone();
    change(&mut claims);
    claims
}

/// Replaces the first occurrence of some bytes by others.
fn patched(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = bytes.windows(from.len()).position(|w| w == from).unwrap();
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

fn commands() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let good = by("anna", REBOOT, |_| {});
    let last = good.len() - 1;
    let name = Text::new("force").unwrap();
    vec![
        ("command", "done", good.clone()),
        ("command of the owner", "done", by("ole", REBOOT, |_| {})),
        (
            "dry run",
            "allowed",
            by("anna", REBOOT, |c| c.body.dry = Some(true)),
        ),
        ("not granted", "not_granted", by("bob", REBOOT, |_| {})),
        (
            "owner only",
            "owner_only",
            by("anna", "device.delete", |_| {}),
        ),
        (
            "not offered",
            "unsupported",
            by("ole", "valve.open", |_| {}),
        ),
        ("stranger", "refused no_grant", by("eve", REBOOT, |_| {})),
        ("group's own key", "not_member", by("tzbv", STATUS, |_| {})),
        (
            "other device",
            "refused wrong_device",
            by("anna", REBOOT, |c| {
                c.aud = "ups-8".parse().unwrap();
            }),
        ),
        (
            "site as device",
            "refused wrong_device",
            by("anna", REBOOT, |c| {
                c.aud = "site:north".parse().unwrap();
            }),
        ),
        (
            "other epoch",
            "epoch",
            by("anna", REBOOT, |c| c.body.epoch = Bytes([0; 16])),
        ),
        (
            "301 seconds",
            "ttl_too_long",
            by("anna", REBOOT, |c| c.exp = Timestamp(NOON + 301)),
        ),
        (
            "300 seconds",
            "done",
            by("anna", REBOOT, |c| c.exp = Timestamp(NOON + 300)),
        ),
        (
            "at its end",
            "late",
            by("anna", REBOOT, |c| {
                (c.iat, c.exp) = (Timestamp(NOON - 60), Timestamp(NOON));
            }),
        ),
        (
            "120 s in the future",
            "done",
            by("anna", REBOOT, |c| {
                (c.iat, c.exp) = (Timestamp(NOON + 120), Timestamp(NOON + 180));
            }),
        ),
        (
            "121 s in the future",
            "early",
            by("anna", REBOOT, |c| {
                (c.iat, c.exp) = (Timestamp(NOON + 121), Timestamp(NOON + 181));
            }),
        ),
        (
            "up to this uptime",
            "done",
            by("anna", REBOOT, |c| {
                c.body.until = Some(BootTime {
                    uptime: 1000,
                    boot: Bytes([0xb0; 16]),
                });
            }),
        ),
        (
            "past its uptime",
            "late",
            by("anna", REBOOT, |c| {
                c.body.until = Some(BootTime {
                    uptime: 999,
                    boot: Bytes([0xb0; 16]),
                });
            }),
        ),
        (
            "another boot",
            "late",
            by("anna", REBOOT, |c| {
                c.body.until = Some(BootTime {
                    uptime: 1000,
                    boot: Bytes([0xb1; 16]),
                });
            }),
        ),
        (
            "argument nobody takes",
            "param",
            by("anna", REBOOT, |c| {
                c.body.args = Map::new([(name, Value::Bool(true))]);
            }),
        ),
        (
            "counter 0",
            "refused malformed",
            by("anna", REBOOT, |c| c.body.counter = 0),
        ),
        (
            "counter of 64 bits",
            "done",
            by("anna", REBOOT, |c| c.body.counter = u64::MAX),
        ),
        (
            "ends before it begins",
            "refused malformed",
            by("anna", REBOOT, |c| c.exp = c.iat),
        ),
        (
            "dry run denied by word",
            "refused malformed",
            by("anna", REBOOT, |c| {
                c.body.dry = Some(false);
            }),
        ),
        (
            "format 2",
            "refused unsupported",
            by("anna", REBOOT, |c| c.body.format = 2),
        ),
        ("broken signature", "refused bad_signature", {
            let mut bad = good.clone();
            bad[last] ^= 1;
            bad
        }),
        ("signature of another key", "refused bad_signature", {
            let by_eve = by("eve", REBOOT, |_| {});
            patched(&by_eve, &key("eve").public().0, &key("anna").public().0)
        }),
        (
            "algorithm -8",
            "refused bad_envelope",
            patched(&good, &[1, 0x32, 4], &[1, 0x27, 4]),
        ),
        (
            "unknown type",
            "refused wrong_type",
            patched(&good, b"command+", b"commode+"),
        ),
        (
            "without the CWT tag",
            "refused bad_envelope",
            good[2..].to_vec(),
        ),
        (
            "longer tag than needed",
            "refused malformed",
            patched(&good, &[0xd2, 0x84], &[0xd8, 0x12, 0x84]),
        ),
        ("one byte short", "refused malformed", good[..last].to_vec()),
        (
            "one byte more",
            "refused wrong_type",
            [&good[..], &[0]].concat(),
        ),
        (
            "two commands",
            "refused wrong_type",
            [good.clone(), good].concat(),
        ),
        ("nothing", "refused malformed", Vec::new()),
    ]
}

fn statements() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let carl = share("carl", &[STATUS]);
    let first = carl.clone();
    let list = revocations(1, &[&anna()]);
    let again = |person| by(person, STATUS, |_| {});
    let roster = Roster {
        sub: id("TZBV"),
        exp: Timestamp(NOON + DAY),
        iat: Timestamp(NOON),
        body: RosterBody {
            format: 1,
            seq: 1,
            members: Map::new([(key("dora").public(), id("dora"))]),
        },
    };
    let release = Release {
        iss: id("acme"),
        iat: Timestamp(NOON),
        body: ReleaseBody {
            format: 1,
            vendor: id("acme-power"),
            model: Text::new("Smart-UPS 1500").unwrap(),
            version: 9,
            size: 4096,
            sha256: hash(b"image"),
            minimum: 5,
        },
    };
    let mut next = issuers();
    next.body.version = 2;
    let mut limits = carl.clone();
    limits.body.limits = Some(Limits {
        uses: Some(2),
        rate: Some(Rate {
            count: 3,
            seconds: 600,
        }),
        windows: Some(WeeklyWindows {
            zone: Text::new("CET-1CEST,M3.5.0,M10.5.0/3").unwrap(),
            open: vec![WeeklyWindow {
                days: 31,
                from: 480,
                until: 1020,
            }],
        }),
        origin: Some(Way::Local),
        approvals: Some(1),
    });
    let with = |statement: Vec<u8>, command: Vec<u8>| [statement, command].concat();
    vec![
        ("share", "accepted", signed(&carl)),
        ("share with every limit", "accepted", signed(&limits)),
        (
            "share along with its command",
            "done",
            with(signed(&carl), again("carl")),
        ),
        ("share known already", "nothing new", signed(&anna())),
        (
            "share that has ended",
            "nothing new",
            signed(&changed(&carl, |s| s.exp = Timestamp(NOON))),
        ),
        (
            "share by a key of another role",
            "refused unknown_issuer",
            sign(&first, &key("registry")),
        ),
        (
            "share of another platform",
            "refused unknown_issuer",
            signed(&changed(&carl, |s| s.iss = id("umbrella"))),
        ),
        (
            "share of another device",
            "refused wrong_device",
            signed(&changed(&carl, |s| s.aud = "ups-8".parse().unwrap())),
        ),
        (
            "share of the site",
            "accepted",
            signed(&changed(&carl, |s| s.aud = "site:north".parse().unwrap())),
        ),
        (
            "share of another site",
            "refused wrong_device",
            signed(&changed(&carl, |s| s.aud = "site:south".parse().unwrap())),
        ),
        (
            "share of what is the owner's",
            "refused malformed",
            signed(&share("carl", &["share.create"])),
        ),
        (
            "share of nothing",
            "refused malformed",
            signed(&share("carl", &[])),
        ),
        (
            "share with a weak key",
            "refused malformed",
            signed(&changed(&carl, |s| s.cnf = Confirmation(Bytes([0; 32])))),
        ),
        (
            "extension",
            "accepted",
            signed(&changed(&anna(), |s| {
                s.body.version = 2;
                s.exp = s.exp.plus(DAY);
            })),
        ),
        (
            "extension that shortens",
            "refused bad_grant",
            signed(&changed(&anna(), |s| {
                s.body.version = 2;
                s.exp = Timestamp(s.exp.0 - 1);
            })),
        ),
        (
            "changed permissions",
            "refused bad_grant",
            signed(&changed(&share("bob", &[STATUS, REBOOT]), |s| {
                s.cti = share("bob", &[STATUS]).cti;
                s.body.version = 2;
            })),
        ),
        ("revocations", "accepted", signed(&list)),
        (
            "revocations along with another's command",
            "done",
            with(signed(&list), again("bob")),
        ),
        (
            "revoked at once",
            "revoked",
            with(signed(&list), by("anna", REBOOT, |_| {})),
        ),
        (
            "revocations of number 0",
            "refused malformed",
            signed(&revocations(0, &[])),
        ),
        ("roster", "accepted", sign(&roster, &key("tzbv"))),
        (
            "roster along with a member's command",
            "done",
            with(sign(&roster, &key("tzbv")), again("dora")),
        ),
        (
            "roster by somebody else",
            "refused unknown_issuer",
            sign(&roster, &key("anna")),
        ),
        ("release", "accepted", signed(&release)),
        (
            "release older than what it needs",
            "refused malformed",
            signed(&changed(&release, |r| r.body.minimum = 9)),
        ),
        ("issuers, version 2", "accepted", signed(&next)),
        (
            "issuers, version 3",
            "refused unknown_issuer",
            signed(&changed(&next, |i| i.body.version = 3)),
        ),
        (
            "registration of another owner",
            "refused bad_grant",
            signed(&changed(&registration(), |r| {
                r.body.seq = 2;
                r.cnf = Confirmation(key("mallory").public());
            })),
        ),
    ]
}

/// Result of one sample on a fresh device in the state of `setting`.
fn verdict(bytes: &[u8]) -> String {
    let mut bench = device_at_noon();
    let (records, facts) = (bench.disk.log.len(), bench.core.status(&bench.reading));
    let word = bench.send_bytes(bytes);
    if word != "silence" {
        return word;
    }
    let after = bench.core.status(&bench.reading);
    let refused = Code::ALL
        .iter()
        .find(|code| after.refused.get(code) > facts.refused.get(code));
    match refused {
        Some(code) => format!("refused {code}"),
        None if bench.disk.log.len() > records => "accepted".to_owned(),
        None => "nothing new".to_owned(),
    }
}

fn samples() -> Json {
    let people = [
        "anna", "bob", "carl", "dora", "eve", "mallory", "ole", "tzbv", "device",
    ];
    let roles = Role::ALL.map(Role::name);
    let keys: serde_json::Map<String, Json> = people
        .into_iter()
        .chain(roles)
        .map(|name| {
            let public = key(name).public().hex();
            let seed = hash(name.as_bytes()).hex();
            (
                name.to_owned(),
                json!({ "TEST KEY seed": seed, "public": public }),
            )
        })
        .collect();
    let rows: Vec<Json> = commands()
        .into_iter()
        .chain(statements())
        .map(|(name, verdict, bytes)| {
            let bytes = data_encoding::HEXLOWER.encode(&bytes);
            json!({ "name": name, "verdict": verdict, "bundle": bytes })
        })
        .collect();
    let setting: Vec<String> = [signed(&issuers()), signed(&registration())]
        .into_iter()
        .chain(
            [anna(), share("bob", &[STATUS]), group()]
                .iter()
                .map(signed),
        )
        .map(|bytes| data_encoding::HEXLOWER.encode(&bytes))
        .collect();
    json!({
        "about": "A device ups-7 of platform acme at the time below holds the statements of `setting` (the first is pinned). Each sample arrives alone, at that moment, on a fresh copy of it. Its firmware is version 7.",
        "time": NOON, "uptime": 1000, "boot": Bytes([0xb0; 16]).hex(), "epoch": EPOCH.hex(),
        "keys": keys, "setting": setting, "samples": rows,
    })
}

#[test]
fn every_sample_gets_its_expected_result() {
    let mut names = std::collections::BTreeSet::new();
    for (name, expected, bytes) in commands().into_iter().chain(statements()) {
        assert_eq!(verdict(&bytes), expected, "{name}");
        assert!(names.insert(name), "{name} is there twice");
    }
    assert!(names.len() >= 40, "{} samples", names.len());
}

#[test]
fn the_samples_in_the_repository_are_those_that_this_code_makes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/samples.json");
    let made = format!("{:#}\n", samples());
    if std::env::var_os("DOORWARD_BLESS").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap();
    assert!(
        kept == made,
        "tests/vectors/samples.json differs; see the head of tests/core/vectors.rs"
    );
}
