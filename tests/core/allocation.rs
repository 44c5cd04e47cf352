//! Upper bound of the memory that the parsers allocate for the largest message of each kind. A single
//! test, so that nothing else allocates at the same time.

use doorward_protocol::wire::*;
use doorward_testkit::*;
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Peak allocation of `work` in bytes, above what was allocated before.
fn peak<T>(work: impl FnOnce() -> T) -> usize {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let made = work();
    let peak = MEMORY.peak_usage().saturating_sub(before);
    drop(made);
    peak
}

fn parse<T: Object>(bytes: &[u8]) -> T {
    Envelope::parse(bytes).unwrap().claims().unwrap()
}

/// Enlarges an object while it is still accepted, and returns the encoding of the largest one.
fn largest<T: Object>(make: impl Fn(usize) -> T) -> Vec<u8> {
    let accepted = |n: usize| {
        let bytes = sign(&make(n), &key("shares"));
        let fits = Envelope::parse(&bytes).is_ok_and(|e| e.claims::<T>().is_ok());
        fits.then_some(bytes)
    };
    let sizes = (0..2000).step_by(3);
    sizes.map_while(accepted).last().unwrap()
}

fn numbered(n: usize) -> [u8; 32] {
    hash(&n.to_be_bytes()).0
}

#[test]
fn every_parser_is_bounded_by_a_small_multiple_of_what_it_reads() {
    let text = |n: usize| Text::new(&format!("argument{n:03}")).unwrap();
    let share = largest(|n| {
        let names = (0..=n).map(|n| {
            (
                operation(&format!("operation.{n:040}")),
                Permission::default(),
            )
        });
        let mut share = share("anna", &["status.read"]);
        share.body.permissions = Map::new(names);
        share
    });
    let people: Vec<KeyBytes> = (0..300)
        .map(|n| SecretKey::from_seed(&numbered(n)).public())
        .collect();
    let roster = largest(|n| Roster {
        sub: id("TZBV"),
        exp: Timestamp(NOON + DAY),
        iat: Timestamp(NOON),
        body: RosterBody {
            format: 1,
            seq: 1,
            members: Map::new(people.iter().take(n).map(|key| (*key, id("member")))),
        },
    });
    let revocations = largest(|n| {
        let ids = (0..n).map(|n| {
            (
                Bytes(numbered(n)[..16].try_into().unwrap()),
                Timestamp(NOON),
            )
        });
        let mut list = revocations(1, &[]);
        list.body.shares = Map::new(ids);
        list
    });
    let command = largest(|n| {
        let value = Value::Bytes(vec![0; (n * 16).min(1024)]);
        let mut command = Bench::provisioned().command("device.reboot");
        command.body.args = Map::new((0..3).map(|n| (text(n), value.clone())));
        command
    });
    let mut biggest = registration();
    biggest.body.table.minimum = Map::new((0..64).map(|n| (text(n), 1)));
    let registration = signed(&biggest);
    let bundle = [share.as_slice(); 8].concat();
    let hostile = [
        vec![0x9f; MAX_BUNDLE],
        vec![0x81; MAX_BUNDLE],
        [vec![0xbb], vec![0xff; 8], vec![0; 60_000]].concat(),
        [vec![0x9b], vec![0x7f; 8], vec![0; 60_000]].concat(),
        [
            vec![0xd8, 0x3d, 0xd2, 0x84, 0x5b],
            vec![0x7f; 8],
            vec![0; 60_000],
        ]
        .concat(),
    ];
    // A multiple of the input, plus a constant for allocations that do not depend on it.
    let limit = |bytes: &[u8]| 8 * bytes.len() + 2048;
    let mut rows = vec![
        (
            "share",
            share.len(),
            peak(|| parse::<Share>(&share)),
            limit(&share),
        ),
        (
            "roster",
            roster.len(),
            peak(|| parse::<Roster>(&roster)),
            limit(&roster),
        ),
        (
            "revocations",
            revocations.len(),
            peak(|| parse::<Revocations>(&revocations)),
            limit(&revocations),
        ),
        (
            "command",
            command.len(),
            peak(|| parse::<Command>(&command)),
            limit(&command),
        ),
        (
            "registration",
            registration.len(),
            peak(|| parse::<Registration>(&registration)),
            limit(&registration),
        ),
        (
            "bundle",
            bundle.len(),
            peak(|| Bundle::parse(&bundle).unwrap()),
            limit(&[]),
        ),
    ];
    for bytes in &hostile {
        rows.push((
            "hostile",
            bytes.len(),
            peak(|| Bundle::parse(bytes).err()),
            limit(&[]),
        ));
    }
    for (kind, size, peak, limit) in rows {
        println!("{kind:<13} {size:>6} bytes, {peak:>6} at the peak");
        assert!(
            peak <= limit,
            "{kind} of {size} bytes takes {peak}, more than {limit}"
        );
    }
    for (kind, bytes, least) in [
        ("share", &share, 1200),
        ("roster", &roster, 10_000),
        ("revocations", &revocations, 20_000),
        ("command", &command, 3000),
    ] {
        assert!(
            bytes.len() >= least,
            "the largest {kind} is only {}",
            bytes.len()
        );
    }
}
