//! Runs a decision, or a complete step of the core, a fixed number of times, for a profiler that
//! counts instructions in `measured_decision` and `measured_step` only. `benches/instructions` runs
//! it.

use std::hint::black_box;

use doorward_testkit::large_device::{DeviceCore, World, command};

/// Number of measured runs, after a first one that fills the caches.
const TIMES: u64 = 20;
const SHARES: usize = 100;
const PERSON: &str = "person-50";

#[inline(never)]
#[unsafe(no_mangle)]
extern "Rust" fn measured_decision(world: &World, bytes: &[u8]) -> bool {
    world.decide(black_box(bytes), false).is_ok()
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "Rust" fn measured_step(agent: &mut DeviceCore, bytes: &[u8]) -> bool {
    agent.step(black_box(bytes))
}

fn main() {
    let first = command(1, PERSON);
    let commands: Vec<_> = (2..TIMES + 2)
        .map(|counter| command(counter, PERSON))
        .collect();
    match std::env::args().nth(1).as_deref() {
        Some("decision") => {
            let world = World::new(SHARES);
            world.decide(&first, false).unwrap();
            let allowed = commands
                .iter()
                .all(|bytes| measured_decision(&world, bytes));
            assert!(allowed);
        }
        Some("step") => {
            let mut agent = DeviceCore::new(SHARES);
            assert!(agent.step(&first));
            assert!(
                commands
                    .iter()
                    .all(|bytes| measured_step(&mut agent, bytes))
            );
        }
        _ => eprintln!("usage: steps decision|step"),
    }
}
