//! `doorward demo`: the main job from beginning to end, on real parts. What a row says has
//! happened on the path that it names; a row that comes out otherwise fails the demo.

use doorward_terminal::outln;
mod scratch;
mod world;

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use doorward_client::{ClientError, SendParams, code_of, send};
use doorward_protocol::gate::Code;
use doorward_protocol::wire::topics;
use doorward_protocol::wire::{Receipt, Value};
use doorward_terminal::{CliError, block_on, exit_status, style};
use doorward_transport::Broker;
use doorward_transport::MqttClient;
use doorward_transport::clock;
use doorward_transport::clock::Stopwatch;
use doorward_transport::event_log::read_log;
use scratch::Scratch;
use world::{DemoBroker, Person, World, broken};

/// Options of `doorward demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// Keep the brokers and the daemon running afterwards, to go on by hand.
    #[arg(long)]
    stay: bool,
    /// Print the rows as JSON, one a line.
    #[arg(long)]
    json: bool,
}

const DONE: &str = "done";
const REBOOT: &str = "device.reboot";
const STATUS: &str = "status.read";
/// How long the contractor's share lasts, in seconds.
const CONTRACT: u64 = 6;
/// How long to listen for an answer that should come, and for one that should not.
const ANSWER: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(1);

/// Plays the demo.
///
/// # Errors
/// If the machine cannot show it, or a step did not come out as described.
pub fn run(demo: &Demo) -> Result<ExitCode, CliError> {
    let mut scratch = Scratch::new()?;
    block_on(play(demo, &mut scratch))
}

/// The stage: prints rows and notes, and remembers whether all came out as the story says.
struct Stage {
    json: bool,
    surprises: usize,
}

impl Stage {
    fn note(&self, text: &str) {
        if !self.json {
            outln!("\n{}", style::bold(text));
        }
    }

    fn row(&mut self, who: &str, operation: &str, link: &str, came: &Outcome, expected: &str) {
        let as_told = came.code == expected;
        self.surprises += usize::from(!as_told);
        if self.json {
            outln!(
                "{}",
                json!({
                    "who": who, "operation": operation, "link": link, "decision": came.decision,
                    "code": came.code, "took_ms": came.took.as_secs_f64() * 1000.0,
                    "as_told": as_told,
                })
            );
            return;
        }
        let decision = format!("{:<11}", came.decision);
        let decision = if came.decision == DONE {
            style::green(&decision)
        } else {
            style::red(&decision)
        };
        let code = if came.code == DONE { "" } else { &came.code };
        outln!(
            "  {who:<12} {operation:<14} {link:<6} {decision} {code:<13} {:>7.1} ms{}",
            came.took.as_secs_f64() * 1000.0,
            if as_told {
                String::new()
            } else {
                format!("  EXPECTED {expected}")
            }
        );
    }

    fn check(&mut self, holds: bool, text: &str) {
        self.surprises += usize::from(!holds);
        if self.json {
            outln!("{}", json!({ "check": text, "holds": holds }));
        } else if holds {
            outln!("  {} {text}", style::green("ok"));
        } else {
            outln!("  {} {text}", style::red("NOT SO:"));
        }
    }
}

struct Outcome {
    decision: &'static str,
    code: String,
    took: Duration,
    receipt: Option<Receipt>,
    bundle: Vec<u8>,
}

async fn ask(
    world: &World,
    person: &Person,
    operation: &str,
    broker: &Broker,
    wait: Duration,
) -> Result<Outcome, CliError> {
    let command = world.command(operation)?;
    let params = SendParams {
        carry: &person.carry,
        wait,
        ..SendParams::new(broker, &world.device_key, &person.holder, &command)
    };
    let sent = send(&params).await.map_err(cli_error)?;
    let (decision, code) = match &sent.receipt {
        None => ("no answer", "silence".to_owned()),
        Some(receipt) => {
            let outcome = receipt.body.outcome.name();
            let code = code_of(receipt).map_or_else(|| outcome.to_owned(), |c| c.to_string());
            (outcome, code)
        }
    };
    Ok(Outcome {
        decision,
        code,
        took: sent.took,
        receipt: sent.receipt,
        bundle: sent.bundle,
    })
}

/// Sends recorded bytes once more, as somebody on the network can; how many replays that was.
async fn replay(
    world: &World,
    owner: &Person,
    recorded: &[u8],
    broker: &Broker,
) -> Result<(Outcome, i64), CliError> {
    let before = refused(world, owner, Code::Replay, broker).await?;
    let watch = Stopwatch::start();
    let caller = MqttClient::connect(broker).await?;
    let topic = topics::command(&world.device);
    caller.publish(topic, recorded.to_vec(), false).await?;
    let took = watch.elapsed();
    let seen = refused(world, owner, Code::Replay, broker).await? - before;
    let code = if seen > 0 { Code::Replay.name() } else { DONE }.to_owned();
    let outcome = Outcome {
        decision: "not run",
        code,
        took,
        receipt: None,
        bundle: Vec::new(),
    };
    Ok((outcome, seen))
}

/// What the device's own counters say, asked by the owner.
async fn refused(
    world: &World,
    owner: &Person,
    code: Code,
    broker: &Broker,
) -> Result<i64, CliError> {
    let status = ask(world, owner, STATUS, broker, ANSWER).await?;
    let counter = status.receipt.as_ref().and_then(|receipt| {
        let name = format!("refused.{code}");
        receipt.body.result.get(name.as_str()).cloned()
    });
    match counter {
        Some(Value::Int(count)) => Ok(count),
        _ => Ok(0),
    }
}

async fn play(demo: &Demo, scratch: &mut Scratch) -> Result<ExitCode, CliError> {
    let mut stage = Stage {
        json: demo.json,
        surprises: 0,
    };
    let cloud = DemoBroker::start()?;
    let local = DemoBroker::start()?;
    let now = clock::system();
    let (mut world, owner) = World::build(&scratch.path, &cloud.url, &local.url, now).await?;
    if !demo.json {
        outln!("doorward demo: two brokers on loopback, one daemon, real keys, MQTT and sled");
        outln!("{}", style::dim(&scratch.path.display().to_string()));
    }
    scratch.watch(world.start_daemon()?);
    world.ready(&cloud.url, true).await?;
    world.ready(&local.url, true).await?;

    stage.note("The owner shares a UPS: a technician may reboot and read, an auditor may read.");
    let mut technician = world.person("technician")?;
    let mut auditor = world.person("auditor")?;
    let mut contractor = world.person("contractor")?;
    let stranger = world.person("stranger")?;
    let month = now.plus(30 * 86400);
    let share = world
        .share(
            &mut technician,
            &[REBOOT, STATUS],
            month,
            now,
            Some(&cloud.url),
        )
        .await?;
    world
        .share(&mut auditor, &[STATUS], month, now, Some(&cloud.url))
        .await?;
    stage.head();
    let first = ask(&world, &technician, REBOOT, &cloud.url, ANSWER).await?;
    stage.row("technician", REBOOT, "cloud", &first, DONE);
    let came = ask(&world, &auditor, STATUS, &cloud.url, ANSWER).await?;
    stage.row("auditor", STATUS, "cloud", &came, DONE);
    let came = ask(&world, &auditor, REBOOT, &cloud.url, ANSWER).await?;
    stage.row("auditor", REBOOT, "cloud", &came, "not_granted");
    let came = ask(&world, &stranger, REBOOT, &cloud.url, SILENCE).await?;
    stage.row("stranger", REBOOT, "cloud", &came, "silence");
    let counted = refused(&world, &owner, Code::NoGrant, &cloud.url).await?;
    stage.check(
        counted == 1,
        "strangers get no answer, but the device has counted it (refused.no_grant = 1)",
    );
    let (came, seen) = replay(&world, &owner, &first.bundle, &cloud.url).await?;
    stage.row("eavesdropper", REBOOT, "cloud", &came, "replay");
    stage.check(
        seen == 1 && world.reboots() == 1,
        "the recorded reboot came again, and the program has still run once",
    );

    stage.note("The cloud is gone: its broker is shut down, every connection to it cut.");
    let unreachable = cloud.url.clone();
    cloud.stop();
    stage.head();
    let watch = Stopwatch::start();
    let outcome = ask(&world, &technician, REBOOT, &unreachable, ANSWER).await;
    let came = Outcome {
        decision: "unreachable",
        code: if outcome.is_err() { "no broker" } else { DONE }.to_owned(),
        took: watch.elapsed(),
        receipt: None,
        bundle: Vec::new(),
    };
    stage.row("technician", REBOOT, "cloud", &came, "no broker");
    let came = ask(&world, &technician, REBOOT, &local.url, ANSWER).await?;
    stage.row("technician", REBOOT, "local", &came, DONE);

    stage.note("The owner cancels the technician. The auditor, on the way in, carries the news.");
    let list = world.revocations(2, &[(share, month)], clock::system())?;
    auditor.carry.push(list);
    stage.head();
    let came = ask(&world, &auditor, STATUS, &local.url, ANSWER).await?;
    stage.row("auditor", STATUS, "local", &came, DONE);
    let came = ask(&world, &technician, REBOOT, &local.url, ANSWER).await?;
    stage.row("technician", REBOOT, "local", &came, "revoked");

    stage.note(&format!(
        "A contractor gets {CONTRACT} seconds, by a pass alone; nothing tells the device when they end."
    ));
    let now = clock::system();
    let end = now.plus(CONTRACT);
    world
        .share(&mut contractor, &[STATUS], end, now, None)
        .await?;
    stage.head();
    let came = ask(&world, &contractor, STATUS, &local.url, ANSWER).await?;
    stage.row("contractor", STATUS, "local", &came, DONE);
    while clock::system() < end {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // The token has ended by now, so the device would not take it anew: it knows it.
    let came = ask(&world, &contractor, STATUS, &local.url, ANSWER).await?;
    stage.row("contractor", STATUS, "local", &came, "expired");

    stage.note("The daemon is killed (SIGKILL) and started again. The cloud is still gone.");
    world.kill_daemon();
    scratch.watch(world.start_daemon()?);
    stage.head();
    let watch = Stopwatch::start();
    let came = loop {
        let came = ask(&world, &technician, REBOOT, &local.url, SILENCE).await?;
        if came.receipt.is_some() || watch.elapsed() > ANSWER {
            break came;
        }
    };
    stage.row("technician", REBOOT, "local", &came, "revoked");
    let (came, seen) = replay(&world, &owner, &first.bundle, &local.url).await?;
    stage.row("eavesdropper", REBOOT, "local", &came, "replay");
    let came = ask(&world, &auditor, STATUS, &local.url, ANSWER).await?;
    stage.row("auditor", STATUS, "local", &came, DONE);

    stage.note("What the device can prove.");
    let found = read_log(&scratch.path.join("device").join("log"))?;
    let text = format!(
        "the event log: {} records, each holding the hash of the one before, unbroken",
        found.records.len()
    );
    stage.check(found.damage.is_none() && found.records.len() > 20, &text);
    stage.check(
        seen == 1 && world.reboots() == 2,
        "the reboot program has run twice, once for each reboot that was allowed",
    );
    if demo.stay {
        stay(&world, &owner, &auditor, &local.url).await?;
    } else if !demo.json {
        outln!(
            "\nTo go on by hand: doorward demo --stay  (with cargo: cargo run --release -- demo --stay)"
        );
    }
    local.stop();
    match stage.surprises {
        0 => Ok(ExitCode::SUCCESS),
        n => Err(CliError::new(
            exit_status::FAILED,
            format!("{n} things did not come out as told above"),
        )),
    }
}

impl Stage {
    fn head(&self) {
        if !self.json {
            let head = format!(
                "  {:<12} {:<14} {:<6} {:<11} {:<13} {:>10}",
                "who", "operation", "link", "decision", "code", "time taken"
            );
            outln!("{}", style::dim(&head));
        }
    }
}

/// Keeps everything running until a signal ends it, and prints what to type.
async fn stay(
    world: &World,
    owner: &Person,
    auditor: &Person,
    local: &Broker,
) -> Result<(), CliError> {
    let directory = world.directory.display();
    let device = &world.device;
    let beside = std::env::current_exe()
        .ok()
        .map(|path| path.with_file_name("doorkey"))
        .filter(|path| path.exists());
    let doorkey = beside.map_or_else(
        || "cargo run --release -p doorkey --".to_owned(),
        |path| path.display().to_string(),
    );
    let key = world.device_key.bytes();
    let flags = format!("--broker {local} --device-key {key}");
    eprintln!("\nStill running; Ctrl-C ends it. Type in another terminal:");
    for Person { name, .. } in [owner, auditor] {
        eprintln!("  {doorkey} send {device} {REBOOT} {flags} --key {directory}/{name}.key");
    }
    eprintln!("  {doorkey} inspect {directory}/{}.pass", auditor.name);
    eprintln!("  {doorkey} explain not_granted");
    end_signal()
        .await
        .map_err(|error| broken("waiting for a signal", error))
}

/// Ready at the first signal that asks the program to end.
async fn end_signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut hangup = signal(SignalKind::hangup())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut quit = signal(SignalKind::quit())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = hangup.recv() => {}
        _ = interrupt.recv() => {}
        _ = quit.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

fn cli_error(error: ClientError) -> CliError {
    let remedy = error.remedy().unwrap_or_default();
    CliError::new(exit_status::UNAVAILABLE, error).with_remedy(remedy)
}
