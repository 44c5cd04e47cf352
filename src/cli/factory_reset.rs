//! `doorward factory-reset`: makes a device new, by whoever stands before it. Nobody can do so from
//! afar: the owner there is has `device.delete`, and a thief with a stolen password has nothing.

use doorward_terminal::outln;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use clap::Args;
use serde_json::json;

use crate::cli::ConfigFile;
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
    file: ConfigFile,
    /// Print one JSON object. Presence is then shown by the program in the configuration only.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &FactoryReset) -> Result<ExitCode, CliError> {
    let config = Config::load(&args.file.config)
        .map_err(|error| CliError::new(exit_status::CONFIG, error))?;
    let before = Pinned::read(&config.state)?;
    let name = before.as_ref().map_or("reset", |it| it.device.as_str());
    prove_presence(&config.factory_reset.presence, name, args.json)?;
    // What the log says can still be compared with what its owner has of it.
    let log = read_log(&config.state.join("log")).ok();
    let last = log.as_ref().and_then(|log| log.records.last());
    let head = last.map(|last| format!("{}:{}", last.seq + 1, hash(&last.encode()).hex()));
    store::forget(&config.state)?;
    provision::forget(&args.file.config)?;
    if args.json {
        let out = json!({ "reset": before.map(|it| it.device.to_string()), "head": head });
        outln!("{out}");
        return Ok(ExitCode::SUCCESS);
    }
    match &before {
        Some(before) => outln!("{} is forgotten here, and so is its key.", before.device),
        None => outln!("There was nothing to forget."),
    }
    if let Some(head) = head {
        outln!("Its event log ended with head {head}.");
    }
    if let Some(owner) = before.and_then(|it| it.owner) {
        outln!(
            "The platform still has it as a device of {owner}, who lets go of it with `doorkey \
             forget`; until then nobody else can claim it."
        );
    }
    outln!("Next: doorward provision");
    Ok(ExitCode::SUCCESS)
}

/// Whether somebody is before the device: by the program that knows, such as one that reads a
/// button, or, where there is none, by typing at its own console.
#[expect(
    clippy::disallowed_methods,
    reason = "who is at the device runs it, by no command from afar"
)]
fn prove_presence(program: &[String], name: &str, silent: bool) -> Result<(), CliError> {
    if let Some((program, args)) = program.split_first() {
        let mut command = Command::new(program);
        command.args(args).env_clear().stdin(Stdio::null());
        return match command.status() {
            Ok(ended) if ended.success() => Ok(()),
            Ok(ended) => Err(denied(format!(
                "{program} says that nobody is there: {ended}"
            ))),
            Err(error) => Err(CliError::new(
                exit_status::IO,
                format!("{program}: {error}"),
            )),
        };
    }
    let terminal = terminal().filter(|path| !silent && is_console(path));
    if terminal.is_none() {
        return Err(denied("nobody is seen to stand before this device".into()));
    }
    eprint!("Everything that {name} knows will be gone. Type its id to go on: ");
    let mut typed = String::new();
    std::io::stdin()
        .read_line(&mut typed)
        .map_err(|error| CliError::new(exit_status::IO, error))?;
    match typed.trim() == name {
        true => Ok(()),
        false => Err(denied("that was another id".into())),
    }
}

fn denied(why: String) -> CliError {
    CliError::new(exit_status::DENIED, why).with_remedy(
        "Do it at the device's own console (screen and keyboard, or serial line), or hold what \
         [factory_reset] presence asks for.",
    )
}

/// The terminal of standard input.
fn terminal() -> Option<PathBuf> {
    use std::io::IsTerminal;
    std::io::stdin()
        .is_terminal()
        .then(|| std::fs::read_link("/proc/self/fd/0").ok())?
}

/// Whether a terminal has wires of its own: not one that a program, such as sshd, stands behind.
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
