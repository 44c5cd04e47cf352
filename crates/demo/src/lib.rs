//! `doorward demo`: the main use case from beginning to end, on real parts. Each row is the result
//! of a command that was sent over the named connection; an unexpected result fails the demo.
#![allow(clippy::print_stderr, reason = "the demo prints for people")]

use doorward_terminal::outln;
mod broker;
mod issuer;
mod printer;
mod scratch;
mod world;

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use broker::DemoBroker;
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
use printer::Printer;
use scratch::Scratch;
use world::{Person, World};

/// Options of `doorward demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// Keep the brokers and the daemon running afterwards, to continue by hand.
    #[arg(long)]
    stay: bool,
    /// Print the rows as JSON, one object per line.
    #[arg(long)]
    json: bool,
}

const DONE: &str = "done";
const REBOOT: &str = "device.reboot";
const STATUS: &str = "status.read";
/// Validity of the contractor's share, in seconds.
const CONTRACT: u64 = 6;
/// Timeout for an answer that is expected, and for one that is not.
const ANSWER: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(1);

/// Runs the demo.
///
/// # Errors
/// If the machine cannot run it, or the result of a step is not the expected one.
pub fn run(demo: &Demo) -> Result<ExitCode, CliError> {
    let mut scratch = Scratch::new()?;
    block_on(play(demo, &mut scratch))
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

/// Replays recorded bytes, as an attacker on the network can. Returns how many replays the device
/// has counted for it.
async fn replay(
    world: &World,
    owner: &Person,
    recorded: &[u8],
    broker: &Broker,
) -> Result<(Outcome, i64), CliError> {
    let before = refused(world, owner, Code::Replay, broker).await?;
    let watch = Stopwatch::start();
    let client = MqttClient::connect(broker).await?;
    let topic = topics::command(&world.device);
    client.publish(topic, recorded.to_vec(), false).await?;
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

/// The device's counter of commands refused with `code`, read by the owner.
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
    let mut printer = Printer {
        json: demo.json,
        unexpected: 0,
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

    printer
        .heading("The owner shares a UPS: a technician may reboot and read, an auditor may read.");
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
    printer.column_names();
    let first = ask(&world, &technician, REBOOT, &cloud.url, ANSWER).await?;
    printer.row("technician", REBOOT, "cloud", &first, DONE);
    let result = ask(&world, &auditor, STATUS, &cloud.url, ANSWER).await?;
    printer.row("auditor", STATUS, "cloud", &result, DONE);
    let result = ask(&world, &auditor, REBOOT, &cloud.url, ANSWER).await?;
    printer.row("auditor", REBOOT, "cloud", &result, "not_granted");
    let result = ask(&world, &stranger, REBOOT, &cloud.url, SILENCE).await?;
    printer.row("stranger", REBOOT, "cloud", &result, "silence");
    let counted = refused(&world, &owner, Code::NoGrant, &cloud.url).await?;
    printer.check(
        counted == 1,
        "a stranger gets no answer, but the device has counted the command (refused.no_grant = 1)",
    );
    let (result, seen) = replay(&world, &owner, &first.bundle, &cloud.url).await?;
    printer.row("eavesdropper", REBOOT, "cloud", &result, "replay");
    printer.check(
        seen == 1 && world.reboots() == 1,
        "the recorded reboot was replayed, and the program has still run only once",
    );

    printer.heading("The cloud is gone: its broker is shut down, every connection to it cut.");
    let unreachable = cloud.url.clone();
    cloud.stop();
    printer.column_names();
    let watch = Stopwatch::start();
    let outcome = ask(&world, &technician, REBOOT, &unreachable, ANSWER).await;
    let result = Outcome {
        decision: "unreachable",
        code: if outcome.is_err() { "no broker" } else { DONE }.to_owned(),
        took: watch.elapsed(),
        receipt: None,
        bundle: Vec::new(),
    };
    printer.row("technician", REBOOT, "cloud", &result, "no broker");
    let result = ask(&world, &technician, REBOOT, &local.url, ANSWER).await?;
    printer.row("technician", REBOOT, "local", &result, DONE);

    printer.heading(
        "The owner cancels the technician. The auditor's next command delivers the revocation list.",
    );
    let list = world.revocations(2, &[(share, month)], clock::system())?;
    auditor.carry.push(list);
    printer.column_names();
    let result = ask(&world, &auditor, STATUS, &local.url, ANSWER).await?;
    printer.row("auditor", STATUS, "local", &result, DONE);
    let result = ask(&world, &technician, REBOOT, &local.url, ANSWER).await?;
    printer.row("technician", REBOOT, "local", &result, "revoked");

    printer.heading(&format!(
        "A contractor gets access for {CONTRACT} seconds, by a pass alone; no message tells the \
         device when it ends."
    ));
    let now = clock::system();
    let end = now.plus(CONTRACT);
    world
        .share(&mut contractor, &[STATUS], end, now, None)
        .await?;
    printer.column_names();
    let result = ask(&world, &contractor, STATUS, &local.url, ANSWER).await?;
    printer.row("contractor", STATUS, "local", &result, DONE);
    while clock::system() < end {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // The expired token would not be accepted now: the device has it from the first command.
    let result = ask(&world, &contractor, STATUS, &local.url, ANSWER).await?;
    printer.row("contractor", STATUS, "local", &result, "expired");

    printer.heading("The daemon is killed (SIGKILL) and started again. The cloud is still gone.");
    world.kill_daemon();
    scratch.watch(world.start_daemon()?);
    printer.column_names();
    let watch = Stopwatch::start();
    let result = loop {
        let result = ask(&world, &technician, REBOOT, &local.url, SILENCE).await?;
        if result.receipt.is_some() || watch.elapsed() > ANSWER {
            break result;
        }
    };
    printer.row("technician", REBOOT, "local", &result, "revoked");
    let (result, seen) = replay(&world, &owner, &first.bundle, &local.url).await?;
    printer.row("eavesdropper", REBOOT, "local", &result, "replay");
    let result = ask(&world, &auditor, STATUS, &local.url, ANSWER).await?;
    printer.row("auditor", STATUS, "local", &result, DONE);

    printer.heading("What the device can prove.");
    let log = read_log(&scratch.path.join("device").join("log"))?;
    let text = format!(
        "the event log: {} records, each holding the hash of the one before, unbroken",
        log.records.len()
    );
    printer.check(log.damage.is_none() && log.records.len() > 20, &text);
    printer.check(
        seen == 1 && world.reboots() == 2,
        "the reboot program has run twice, once for each reboot that was allowed",
    );
    if demo.stay {
        stay(&world, &owner, &auditor, &local.url).await?;
    } else if !demo.json {
        outln!(
            "\nTo continue by hand: doorward demo --stay  (with cargo: cargo run --release -- demo --stay)"
        );
    }
    local.stop();
    match printer.unexpected {
        0 => Ok(ExitCode::SUCCESS),
        n => Err(CliError::new(
            exit_status::FAILED,
            format!("{n} results differ from the expected ones"),
        )),
    }
}

/// Keeps everything running until a signal, and prints example commands.
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
    let flags = format!("--broker {local} --device-public-key {key}");
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

/// Completes at the first signal that asks the program to end.
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

/// An error of the machine that runs the demo.
fn broken(what: &str, error: impl std::fmt::Display) -> CliError {
    CliError::new(exit_status::IO, format!("{what}: {error}"))
}
