//! Power cuts on the real store: real files, real sled. A worker plays a story under a
//! preloaded shim that writes down everything it does to files. From that, the disk after a
//! power cut at any moment is made: what was not synced is there, cut off, torn, zeroed or
//! out of order. On each such disk the device starts, and the promises are checked.
//! `DOORWARD_SEED=n` plays one cut, `POWERCUT_TRIALS=n` so many.

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
use story::Told;

/// Cuts that one run plays, unless `POWERCUT_TRIALS` says otherwise.
const TRIALS: u64 = 300;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Plays the story in a process of its own, under the shim.
fn play(directory: &Path, full_at: Option<u64>) -> std::process::ExitStatus {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "the_worker_plays_the_story_when_it_is_asked_to"])
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

/// Not a test by itself: the process that the others start.
#[test]
fn the_worker_plays_the_story_when_it_is_asked_to() {
    if let Ok(world) = std::env::var("POWERCUT_WORKER") {
        story::tell(Path::new(&world));
    }
}

#[test]
fn after_a_power_cut_at_any_moment_every_promise_holds() {
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
        let shown = std::panic::catch_unwind(|| {
            let target = tempfile::tempdir().unwrap();
            let told = after_cut(&trace, seed, target.path(), &directory.path().join("world"));
            check(target.path(), &told);
        });
        if let Err(panic) = shown {
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
fn a_disk_that_is_full_at_any_moment_loses_nothing_and_a_start_finds_it_all() {
    let first = tempfile::tempdir().unwrap();
    assert!(play(first.path(), None).success());
    let length = read_trace(&first.path().join("trace")).len() as u64;
    for at in (1..length).step_by(usize::try_from(length / 25).unwrap()) {
        let directory = tempfile::tempdir().unwrap();
        // When it cannot even begin it says so; in no case does it crash.
        let status = play(directory.path(), Some(at));
        assert!(status.success(), "full at {at}: {status}");
        let trace = read_trace(&directory.path().join("trace"));
        let told = Told::from_marks(&disk::marks(&trace, trace.len()));
        check(&directory.path().join("world"), &told);
    }
}

#[test]
fn what_is_written_is_little_more_than_what_must_be_kept() {
    let directory = tempfile::tempdir().unwrap();
    assert!(play(directory.path(), None).success());
    let trace = read_trace(&directory.path().join("trace"));
    let below =
        |path: &Path, room: &str| path.starts_with(directory.path().join("world/state").join(room));
    let written = |room: &str| -> usize {
        let bytes = |op: &Op| match op {
            Op::Write(path, _, data) if below(path, room) => data.len(),
            _ => 0,
        };
        trace.iter().map(bytes).sum()
    };
    let syncs = |room: &str| {
        let sync = |op: &&Op| matches!(op, Op::Sync(path) if below(path, room));
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

/// Starts the device on what is left, and holds it to what it had said before.
fn check(world: &Path, told: &Told) {
    let state = world.join("state");
    if !state.join("identity/device.id").exists() {
        assert!(told.is_empty(), "provisioned, and then not");
        return;
    }
    let mut device = Device::start(&state).expect("a start that needed a person");
    told.hold_to(&mut device);
    drop(device);
    // Once more: what mended it is durable too.
    let mut device = Device::start(&state).expect("a second start that needed a person");
    told.hold_to(&mut device);
}

#[test]
fn a_state_file_emptied_cut_or_overwritten_is_survived_or_named() {
    let directory = tempfile::tempdir().unwrap();
    assert!(play(directory.path(), None).success());
    let trace = read_trace(&directory.path().join("trace"));
    let told = Told::from_marks(&disk::marks(&trace, trace.len()));
    let world = directory.path().join("world");
    let files = disk::files(&world.join("state"));
    assert!(files.len() > 8, "{files:?}");
    let newest = files
        .iter()
        .rfind(|file| file.extension().is_some_and(|e| e == "log"));
    for file in &files {
        let whole = std::fs::read(file).unwrap();
        let noise: Vec<u8> = (0..whole.len().max(64))
            .map(|i| (i * 131 + 7) as u8)
            .collect();
        for (how, bytes) in [
            ("emptied", &[][..]),
            ("cut", &whole[..whole.len() / 2]),
            ("overwritten", &noise[..]),
        ] {
            let copy = tempfile::tempdir().unwrap();
            disk::copy(&world, copy.path());
            let name = file.strip_prefix(&world).unwrap();
            std::fs::write(copy.path().join(name), bytes).unwrap();
            let state = copy.path().join("state");
            match Device::start(&state) {
                Ok(mut device) => {
                    println!("{} {how}: survived", name.display());
                    let older = Some(file) == newest && how != "overwritten";
                    told.hold_to_without(&mut device, name, older);
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
fn an_older_copy_of_the_store_is_shown_by_any_later_head_and_runs_no_command_that_is_over() {
    let directory = tempfile::tempdir().unwrap();
    assert!(play(directory.path(), None).success());
    let trace = read_trace(&directory.path().join("trace"));
    let world = directory.path().join("world");
    let told = Told::from_marks(&disk::marks(&trace, trace.len()));
    let head = {
        let log = read_log(&world.join("state/log")).unwrap();
        let last = log.records.last().unwrap();
        last.head(doorward_protocol::wire::hash(&last.encode()))
    };
    let mut played = 0;
    for at in (0..trace.len()).step_by(trace.len() / 20) {
        let target = tempfile::tempdir().unwrap();
        let then = disk::as_it_was(&trace, at, target.path(), &world);
        let state = target.path().join("state");
        if then.is_empty() || !state.join("identity/device.id").exists() {
            continue;
        }
        // Near the end only the cache is older.
        let before = read_log(&state.join("log")).unwrap();
        if before
            .records
            .last()
            .is_some_and(|last| last.seq + 1 == head.size)
        {
            continue;
        }
        played += 1;
        let mut device = Device::start(&state).expect("a start that needed a person");
        let log = read_log(&state.join("log")).unwrap();
        let differs = log.agrees_with(head).unwrap_err();
        assert_ne!(differs, Differs::Gone, "operation {at}");
        told.hold_to_later(&mut device);
    }
    assert!(played > 10, "{played}");
}

#[test]
fn with_the_clock_in_1970_or_in_2099_nothing_comes_back_and_the_owner_is_served() {
    let directory = tempfile::tempdir().unwrap();
    assert!(play(directory.path(), None).success());
    let trace = read_trace(&directory.path().join("trace"));
    let told = Told::from_marks(&disk::marks(&trace, trace.len()));
    let state = directory.path().join("world/state");
    for clock in [0, 4_070_908_800, 0] {
        let mut device = Device::start_at(&state, clock).expect("a start that needed a person");
        told.hold_to_elsewhen(&mut device);
    }
}

impl Mode {
    /// Each seed has one way of losing what was not synced.
    fn of(seed: u64) -> Self {
        match seed % 4 {
            0 => Self::Lost,
            1 => Self::Kept,
            2 => Self::Torn,
            _ => Self::Zeroed,
        }
    }
}
