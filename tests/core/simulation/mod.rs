//! The core in a simulated world that follows from a seed: clocks that jump, a broker that repeats,
//! reorders, delays and drops messages, a disk that loses power during a write, and handlers that
//! fail, hang or finish too late. `DOORWARD_SEED=n` plays one seed; `DOORWARD_STEPS=n` sets the total
//! number of steps, from that seed or from the first one. A seed that fails is printed and can be
//! played again.

mod broker;
mod disk;
mod oracle;
mod random;
mod world;

use world::World;

/// Steps for each seed.
const STEPS: u64 = 2_000;
/// Default number of steps in a run; `DOORWARD_STEPS` overrides it.
const ALL: u64 = 200_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn play(seed: u64) -> world::Counts {
    let result = std::panic::catch_unwind(|| {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
        }
        world.settle()
    });
    match result {
        Ok(counts) => counts,
        Err(panic) => {
            println!("failed with DOORWARD_SEED={seed}");
            std::panic::resume_unwind(panic)
        }
    }
}

#[test]
fn every_promise_holds_in_random_worlds() {
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
        // Every event that the world can cause has happened; otherwise the run proves little.
        total.assert_all_happened();
    }
}
