//! Power cuts on the real store, with real files and sled. A worker process plays a story under a
//! preloaded library that traces every file operation. The trace gives the state of the disk after a
//! power cut at any moment: data that was not synced is present, truncated, torn, zeroed or out of
//! order. The device starts on each such disk, and the promises are checked. `DOORWARD_SEED=n` plays
//! one cut, `POWERCUT_TRIALS=n` sets the number of cuts.

use doorward_testkit::syscall_trace;

mod device;
mod disk;
mod story;

use std::path::Path;
use std::process::{Command, Stdio};

use device::Device;
use disk::{Mode, Op, after_cut, read_trace};
use doorward_protocol::event_log::describe::row;
use doorward_transport::event_log::{Differs, read_log};
use story::Observed;

/// Default number of power cuts in a run; `POWERCUT_TRIALS` overrides it.
const TRIALS: u64 = 300;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Plays the story in a separate process under the tracing library.
fn play(directory: &Path, full_at: Option<u64>) -> std::process::ExitStatus {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "--exact",
            "powercut::the_worker_process_plays_the_story_for_the_other_tests",
        ])
        .env("LD_PRELOAD", syscall_trace::build(directory))
        .env("POWERCUT_ROOT", directory.join("world"))
        .env("POWERCUT_TRACE", directory.join("trace"))
        .env("POWERCUT_WORKER", directory.join("world"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if let Some(at) = full_at {
        command.env("POWERCUT_FULL", at.to_string());
    }
    std::fs::create_dir(directory.join("world")).unwrap();
    command.status().unwrap()
}

/// Not a test on its own: the process that the other tests start.
#[test]
fn the_worker_process_plays_the_story_for_the_other_tests() {
    if let Ok(world) = std::env::var("POWERCUT_WORKER") {
        story::run(Path::new(&world));
    }
}

#[test]
fn n26_after_a_power_cut_at_any_moment_every_promise_holds() {
    let directory = tempfile::tempdir().unwrap();
    assert!(play(directory.path(), None).success());
    let trace = read_trace(&directory.path().join("trace"));
    let syncs = trace.iter().filter(|op| matches!(op, Op::Sync(_))).count();
    assert!(syncs > 50, "the story makes few things durable: {syncs}");
    let seeds = match number("DOORWARD_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("POWERCUT_TRIALS").unwrap_or(TRIALS),
    };
    let trials = seeds.end - seeds.start;
    for seed in seeds {
        let result = std::panic::catch_unwind(|| {
            let target = tempfile::tempdir().unwrap();
            let observed = after_cut(&trace, seed, target.path(), &directory.path().join("world"));
            check(target.path(), &observed);
        });
        if let Err(panic) = result {
            println!("failed with DOORWARD_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
    println!(
        "{trials} power cuts over {} operations, {syncs} of them syncs",
        trace.len()
    );
}

#[test]
fn a_disk_full_at_any_moment_loses_nothing_durable_and_the_next_start_recovers() {
    let first = tempfile::tempdir().unwrap();
    assert!(play(first.path(), None).success());
    let length = read_trace(&first.path().join("trace")).len() as u64;
    for at in (1..length).step_by(usize::try_from(length / 25).unwrap()) {
        let directory = tempfile::tempdir().unwrap();
        // If the device cannot start it reports an error; it never crashes.
        let status = play(directory.path(), Some(at));
        assert!(status.success(), "full at {at}: {status}");
        let trace = read_trace(&directory.path().join("trace"));
        let observed = Observed::from_marks(&disk::marks(&trace, trace.len()));
        check(&directory.path().join("world"), &observed);
    }
}

#[test]
fn the_bytes_written_are_little_more_than_the_records() {
    let directory = tempfile::tempdir().unwrap();
    assert!(play(directory.path(), None).success());
    let trace = read_trace(&directory.path().join("trace"));
    let below =
        |path: &Path, part: &str| path.starts_with(directory.path().join("world/state").join(part));
    let written = |part: &str| -> usize {
        let bytes = |op: &Op| match op {
            Op::Write(path, _, data) if below(path, part) => data.len(),
            _ => 0,
        };
        trace.iter().map(bytes).sum()
    };
    let syncs = |part: &str| {
        let sync = |op: &&Op| matches!(op, Op::Sync(path) if below(path, part));
        trace.iter().filter(sync).count()
    };
    let log = read_log(&directory.path().join("world/state/log")).unwrap();
    let mut kinds = std::collections::BTreeMap::<&str, (usize, usize)>::new();
    for record in &log.records {
        let (count, bytes) = kinds.entry(row(record).event).or_default();
        *count += 1;
        *bytes += record.encode().len();
    }
    for (kind, (count, bytes)) in &kinds {
        println!("{kind}: {count} records, {} bytes each", bytes / count);
    }
    let kept: usize = kinds.values().map(|(_, bytes)| bytes).sum();
    println!(
        "log: {kept} bytes of records, {} written, {} syncs",
        written("log"),
        syncs("log")
    );
    println!(
        "cache: {} written, {} syncs",
        written("cache"),
        syncs("cache")
    );
    println!(
        "identity: {} written, {} syncs",
        written("identity"),
        syncs("identity")
    );
    // A frame adds 12 bytes to a record; nothing is written twice.
    assert_eq!(written("log"), kept + 12 * log.records.len());
}

/// Starts the device on the remaining files and checks the promises against what was observed before.
fn check(world: &Path, observed: &Observed) {
    let state = world.join("state");
    if !state.join("identity/device.id").exists() {
        assert!(observed.is_empty(), "the provisioning was lost");
        return;
    }
    let mut device = Device::start(&state).expect("the start needs no manual repair");
    observed.check_promises(&mut device);
    drop(device);
    // A second start: the repairs of the first one are durable too.
    let mut device = Device::start(&state).expect("the second start needs no manual repair");
    observed.check_promises(&mut device);
}

#[test]
fn an_emptied_truncated_or_overwritten_state_file_is_tolerated_or_reported() {
    let directory = tempfile::tempdir().unwrap();
    assert!(play(directory.path(), None).success());
    let trace = read_trace(&directory.path().join("trace"));
    let observed = Observed::from_marks(&disk::marks(&trace, trace.len()));
    let world = directory.path().join("world");
    let files = disk::files(&world.join("state"));
    assert!(files.len() > 8, "{files:?}");
    let newest = files
        .iter()
        .rfind(|file| file.extension().is_some_and(|e| e == "log"));
    for file in &files {
        let content = std::fs::read(file).unwrap();
        let noise: Vec<u8> = (0..content.len().max(64))
            .map(|i| (i * 131 + 7) as u8)
            .collect();
        for (how, bytes) in [
            ("emptied", &[][..]),
            ("cut", &content[..content.len() / 2]),
            ("overwritten", &noise[..]),
        ] {
            let copy = tempfile::tempdir().unwrap();
            disk::copy(&world, copy.path());
            let name = file.strip_prefix(&world).unwrap();
            std::fs::write(copy.path().join(name), bytes).unwrap();
            let state = copy.path().join("state");
            match Device::start(&state) {
                Ok(mut device) => {
                    println!("{} {how}: tolerated", name.display());
                    let older = Some(file) == newest && how != "overwritten";
                    observed.check_with_damaged_file(&mut device, name, older);
                }
                Err(why) => {
                    let text = name.display().to_string();
                    assert!(text.starts_with("state/identity/"), "{text} {how}: {why}");
                    let base = name.file_name().unwrap().to_str().unwrap();
                    assert!(why.contains(base), "{text} {how}: {why}");
                }
            }
        }
    }
    assert!(Device::start(&world.join("nowhere")).is_err());
}

#[test]
fn a_restored_older_store_is_exposed_by_any_later_head_and_runs_no_ended_command() {
    let directory = tempfile::tempdir().unwrap();
    assert!(play(directory.path(), None).success());
    let trace = read_trace(&directory.path().join("trace"));
    let world = directory.path().join("world");
    let observed = Observed::from_marks(&disk::marks(&trace, trace.len()));
    let head = {
        let log = read_log(&world.join("state/log")).unwrap();
        let last = log.records.last().unwrap();
        last.head(doorward_protocol::wire::hash(&last.encode()))
    };
    let mut played = 0;
    for at in (0..trace.len()).step_by(trace.len() / 20) {
        let target = tempfile::tempdir().unwrap();
        let then = disk::before_operation(&trace, at, target.path(), &world);
        let state = target.path().join("state");
        if then.is_empty() || !state.join("identity/device.id").exists() {
            continue;
        }
        // Near the end of the story only the cache is older.
        let before = read_log(&state.join("log")).unwrap();
        if before
            .records
            .last()
            .is_some_and(|last| last.seq + 1 == head.size)
        {
            continue;
        }
        played += 1;
        let mut device = Device::start(&state).expect("the start needs no manual repair");
        let log = read_log(&state.join("log")).unwrap();
        let differs = log.agrees_with(head).unwrap_err();
        assert_ne!(differs, Differs::Gone, "operation {at}");
        observed.check_after_restore(&mut device);
    }
    assert!(played > 10, "{played}");
}

#[test]
fn with_the_clock_in_1970_or_2099_no_right_returns_and_the_owner_is_served() {
    let directory = tempfile::tempdir().unwrap();
    assert!(play(directory.path(), None).success());
    let trace = read_trace(&directory.path().join("trace"));
    let observed = Observed::from_marks(&disk::marks(&trace, trace.len()));
    let state = directory.path().join("world/state");
    for clock in [0, 4_070_908_800, 0] {
        let mut device = Device::start_at(&state, clock).expect("the start needs no manual repair");
        observed.check_with_wrong_clock(&mut device);
    }
}

impl Mode {
    /// Returns how a seed treats data that was not synced.
    fn of(seed: u64) -> Self {
        match seed % 4 {
            0 => Self::Lost,
            1 => Self::Kept,
            2 => Self::Torn,
            _ => Self::Zeroed,
        }
    }
}
