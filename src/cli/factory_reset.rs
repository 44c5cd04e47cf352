//! `doorward factory-reset`: resets a device to its factory state. Requires physical presence: a
//! remote owner uses `device.delete`, and a stolen password alone is not sufficient.

use doorward_terminal::outln;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use clap::Args;
use serde_json::json;

use crate::cli::DeviceFiles;
use crate::cli::provision;
use crate::config::Config;
use crate::store;
use crate::store::Pinned;
use doorward_protocol::wire::hash;
use doorward_terminal::{CliError, exit_status};
use doorward_transport::event_log::read_log;

#[derive(Debug, Args)]
pub(super) struct FactoryReset {
    #[command(flatten)]
    files: DeviceFiles,
    /// Print one JSON object. Presence is then proven only by the program in the configuration.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &FactoryReset) -> Result<ExitCode, CliError> {
    let path = args.files.config_path();
    let config = Config::load(path).map_err(|error| CliError::new(exit_status::CONFIG, error))?;
    let state = args.files.state.as_ref().unwrap_or(&config.state);
    let before = Pinned::read(state)?;
    let name = before.as_ref().map_or("reset", |it| it.device.as_str());
    prove_presence(&config.factory_reset.presence, name, args.json)?;
    // The owner can still compare a collected copy of the log with this head.
    let log = read_log(&state.join("log")).ok();
    let last = log.as_ref().and_then(|log| log.records.last());
    let head = last.map(|last| format!("{}:{}", last.seq + 1, hash(&last.encode()).hex()));
    store::forget(state)?;
    // The links belong to the device that the configuration is for.
    if *state == config.state {
        provision::forget(path)?;
    }
    if args.json {
        let out = json!({ "reset": before.map(|it| it.device.to_string()), "head": head });
        outln!("{out}");
        return Ok(ExitCode::SUCCESS);
    }
    match &before {
        Some(before) => outln!(
            "{} was reset: its identity and key are deleted",
            before.device
        ),
        None => outln!("nothing to reset: this device was not provisioned"),
    }
    if let Some(head) = head {
        outln!("last head of its event log: {head}");
    }
    if let Some(owner) = before.and_then(|it| it.owner) {
        outln!(
            "The platform still has it as a device of {owner}. Until {owner} releases it with \
             `doorkey forget`, it cannot be claimed again."
        );
    }
    outln!("Next: doorward provision");
    Ok(ExitCode::SUCCESS)
}

/// Proves physical presence: by the configured program, such as one that reads a button, or without
/// one by typing at the device's own console.
#[expect(
    clippy::disallowed_methods,
    reason = "run locally at the device, never by a remote command"
)]
fn prove_presence(program: &[String], name: &str, silent: bool) -> Result<(), CliError> {
    if let Some((program, args)) = program.split_first() {
        let mut command = Command::new(program);
        command.args(args).env_clear().stdin(Stdio::null());
        return match command.status() {
            Ok(ended) if ended.success() => Ok(()),
            Ok(ended) => Err(denied(format!(
                "{program} did not confirm physical presence: {ended}"
            ))),
            Err(error) => Err(CliError::new(
                exit_status::IO,
                format!("{program}: {error}"),
            )),
        };
    }
    let terminal = terminal().filter(|path| !silent && is_console(path));
    if terminal.is_none() {
        return Err(denied("physical presence could not be verified".into()));
    }
    eprint!("All data of {name} will be deleted. Type its ID to continue: ");
    let mut typed = String::new();
    std::io::stdin()
        .read_line(&mut typed)
        .map_err(|error| CliError::new(exit_status::IO, error))?;
    match typed.trim() == name {
        true => Ok(()),
        false => Err(denied("the ID does not match".into())),
    }
}

fn denied(why: String) -> CliError {
    CliError::new(exit_status::DENIED, why).with_remedy(
        "Run it at the device's own console (screen and keyboard, or serial line), or hold the \
         button that [factory_reset] presence reads.",
    )
}

/// The path of the terminal on standard input, if it is one.
fn terminal() -> Option<PathBuf> {
    use std::io::IsTerminal;
    std::io::stdin()
        .is_terminal()
        .then(|| std::fs::read_link("/proc/self/fd/0").ok())?
}

/// Whether a terminal is a physical one: not a pseudo-terminal of a program such as sshd.
fn is_console(path: &Path) -> bool {
    let name = path.strip_prefix("/dev").ok().and_then(Path::to_str);
    let name = name.unwrap_or_default();
    name == "console" || (name.starts_with("tty") && name.len() > 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_console_is_a_screen_or_a_serial_line() {
        for console in ["console", "tty1", "ttyS0", "ttyAMA0", "ttymxc1", "ttyUSB0"] {
            assert!(is_console(&Path::new("/dev").join(console)), "{console}");
        }
        for other in [
            "/dev/pts/0",
            "/dev/tty",
            "/dev/null",
            "/tmp/tty1",
            "pipe:[1]",
        ] {
            assert!(!is_console(Path::new(other)), "{other}");
        }
    }
}
