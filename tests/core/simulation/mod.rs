//! The agent's core in a seeded world: clocks that jump, a broker that repeats, reorders,
//! delays and drops, a disk that loses power in the middle of a write, handlers that fail,
//! hang or finish too late. `DOORWARD_SEED=n` plays one seed, `DOORWARD_STEPS=n` that many
//! steps in all, from that seed or from the first; a seed that fails is printed and plays the same again.

mod broker;
mod disk;
mod oracle;
mod random;
mod world;

use world::World;

/// Steps of one seed.
const STEPS: u64 = 2_000;
/// Steps of one run, unless `DOORWARD_STEPS` says otherwise.
const ALL: u64 = 200_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn play(seed: u64) -> world::Counts {
    let shown = std::panic::catch_unwind(|| {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
        }
        world.settle()
    });
    match shown {
        Ok(counts) => counts,
        Err(panic) => {
            println!("failed with DOORWARD_SEED={seed}");
            std::panic::resume_unwind(panic)
        }
    }
}

#[test]
fn whatever_happens_what_is_promised_holds() {
    let steps = number("DOORWARD_STEPS").map(|steps| steps / STEPS);
    let seeds = match number("DOORWARD_SEED") {
        Some(seed) => seed..seed + steps.unwrap_or(1),
        None => 1..1 + steps.unwrap_or(ALL / STEPS),
    };
    let mut total = world::Counts::default();
    let count = seeds.end - seeds.start;
    for seed in seeds {
        total += play(seed);
    }
    println!("{count} seeds, {} steps each: {total:?}", STEPS);
    if count > 10 {
        // Everything that the world can do has happened, or the run proves little.
        total.assert_all_happened();
    }
}
