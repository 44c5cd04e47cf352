//! `doorward doctor`: finds problems of this device and prints a remedy for each.

use doorward_terminal::outln;
mod connectivity;
mod files;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use crate::cli::DeviceFiles;
use crate::config::Config;
use crate::operation::self_check::{Finding, Level, probe};
use crate::operation::unusable_operations;
use crate::store::Pinned;
use connectivity::reach;
use doorward_terminal::{CliError, block_on, exit_status, style};
use doorward_transport::clock;

/// Free disk space of the state directory below which there is a warning, in MiB.
const MIN_FREE: u64 = 64;

#[derive(Debug, Args)]
pub(super) struct Doctor {
    #[command(flatten)]
    files: DeviceFiles,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Doctor) -> Result<ExitCode, CliError> {
    let config_path = args.files.config_path();
    let config = match args.files.load() {
        Ok(config) => config,
        Err(error) => {
            let remedy = "Correct it; without one, `doorward provision` creates it.";
            return Ok(print_findings(
                &[Finding::new(
                    "configuration",
                    Level::Error,
                    error.message,
                    remedy,
                )],
                args.json,
            ));
        }
    };
    let mut found = vec![configuration(&config, config_path)];
    found.extend(unusable_operations(&config).into_iter().map(|(name, why)| {
        let text = format!("[operations.\"{name}\"]: {why}");
        Finding::new(
            "configuration",
            Level::Error,
            text,
            "This can never work; fix or remove it.",
        )
    }));
    found.extend(files::configuration(&config, config_path));
    found.push(check_clock(clock::system().0));
    let pinned = match Pinned::read(&config.state) {
        Ok(Some(pinned)) => Ok(pinned),
        Ok(None) => Err(format!("{} contains no identity", config.state.display())),
        Err(error) => Err(error.to_string()),
    };
    found.extend(state(&config.state, pinned.as_ref().err()));
    found.extend(pinned.iter().map(ownership));
    found.extend(files::secrets(&config));
    found.extend(files::certificates(&config, clock::system()));
    found.push(daemon(&config.state));
    let device = pinned.ok().map(|pinned| pinned.device);
    found.extend(block_on(async {
        let mut found = Vec::new();
        let links = [
            ("cloud", &config.links.cloud),
            ("local", &config.links.local),
        ];
        for (name, link) in links {
            if let Some(link) = link {
                found.extend(reach(&format!("link {name}"), link, device.as_ref()).await);
            }
        }
        found.extend(probe(&config).await);
        Ok(found)
    })?);
    Ok(print_findings(&found, args.json))
}

/// Prints the findings; the exit status is a failure if one is an error.
fn print_findings(found: &[Finding], json: bool) -> ExitCode {
    let count = |level| found.iter().filter(|it| it.level == level).count();
    let (errors, warnings) = (count(Level::Error), count(Level::Warning));
    if json {
        let rows: Vec<_> = found
            .iter()
            .map(|it| {
                json!({
                    "what": it.what, "level": it.level.name(), "text": it.text,
                    "remedy": (!it.remedy.is_empty()).then_some(&it.remedy),
                })
            })
            .collect();
        outln!("{}", json!({"broken": errors, "findings": rows}));
    } else {
        for it in found {
            let level = format!("{:<7}", it.level.name());
            let level = match it.level {
                Level::Ok => style::green(&level),
                Level::Warning => style::yellow(&level),
                Level::Error => style::red(&level),
            };
            outln!("{level} {:<18} {}", it.what, it.text);
            if !it.remedy.is_empty() {
                outln!("{:<26} -> {}", "", it.remedy);
            }
        }
        let plural = |count, noun| match count {
            0 => format!("no {noun}s"),
            1 => format!("1 {noun}"),
            _ => format!("{count} {noun}s"),
        };
        outln!(
            "\n{}, {}",
            plural(errors, "error"),
            plural(warnings, "warning")
        );
    }
    match errors {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(exit_status::FAILED),
    }
}

fn configuration(config: &Config, path: &Path) -> Finding {
    let text = format!("{}: {} operations", path.display(), config.operations.len());
    Finding::ok("configuration", text)
}

/// A clock that is earlier than the build of this program is wrong.
fn check_clock(now: u64) -> Finding {
    let built: u64 = env!("DOORWARD_BUILT").parse().unwrap_or(0);
    let text = doorward_protocol::wire::Timestamp(now).to_string();
    if now < built {
        let remedy = "Set it, or configure time synchronization (NTP). Until then, disruptive \
                      operations need a command that names the device's uptime, and weekly \
                      schedules do not apply.";
        return Finding::new(
            "clock",
            Level::Warning,
            format!("{text} is in the past"),
            remedy,
        );
    }
    Finding::ok("clock", text)
}

fn state(directory: &Path, unusable: Option<&String>) -> Vec<Finding> {
    let what = "state directory";
    if let Some(why) = unusable {
        let remedy = "If this device is new: doorward provision";
        return vec![Finding::new(what, Level::Error, why.clone(), remedy)];
    }
    let mut found = Vec::new();
    let mode = |path: &Path| std::fs::metadata(path).map(|it| it.permissions().mode() & 0o777);
    for (path, allowed) in [
        (directory.to_owned(), 0o755),
        (directory.join("identity"), 0o700),
        (directory.join("identity/device.key"), 0o600),
    ] {
        if let Ok(mode) = mode(&path)
            && mode & !allowed != 0
        {
            let remedy = format!("chmod {allowed:o} {}", path.display());
            let text = format!("{} has mode {mode:o}", path.display());
            found.push(Finding::new(what, Level::Error, text, &remedy));
        }
    }
    let probe = directory.join("doctor.new");
    let written = doorward_transport::files::replace(&directory.join("doctor"), b"", 0o600);
    let _ = std::fs::remove_file(directory.join("doctor"));
    let _ = std::fs::remove_file(probe);
    match written {
        Err(error) => found.push(Finding::new(
            what,
            Level::Error,
            error.to_string(),
            "Operations that cannot be recorded are not run. Run this as doorward's user or root.",
        )),
        Ok(()) => match rustix::fs::statvfs(directory) {
            Ok(disk) => {
                let free = (disk.f_bavail.saturating_mul(disk.f_frsize)) >> 20;
                let text = format!("{}, {free} MiB free", directory.display());
                found.push(match free < MIN_FREE {
                    true => Finding::new(
                        what,
                        Level::Warning,
                        text,
                        "When the disk is full, every command is denied. Free disk space.",
                    ),
                    false => Finding::ok(what, text),
                });
            }
            Err(error) => {
                let text = format!("{}: {error}", directory.display());
                found.push(Finding::new(what, Level::Warning, text, ""));
            }
        },
    }
    found
}

/// The owner of the device.
fn ownership(pinned: &Pinned) -> Finding {
    let (device, issuer) = (&pinned.device, &pinned.issuers.iss);
    match &pinned.owner {
        Some(owner) => {
            let text = format!("{device} belongs to {owner} (issuer {issuer})");
            Finding::ok("owner", text)
        }
        None => Finding::new(
            "owner",
            Level::Warning,
            format!("{device} trusts {issuer} and has no owner"),
            "Register an owner with its claim (`doorkey register`); until then it runs no command.",
        ),
    }
}

/// Whether the daemon is running. If not, that is only a warning.
fn daemon(state: &Path) -> Finding {
    use std::os::unix::net::UnixStream;
    match UnixStream::connect(state.join(crate::daemon::STATUS_SOCKET)) {
        Ok(_) => Finding::ok("daemon", "running; `doorward status` shows its status"),
        Err(_) => Finding::new(
            "daemon",
            Level::Warning,
            "not running",
            "Start it: systemctl start doorward, or doorward run",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_from_before_the_program_was_made_is_named() {
        assert_eq!(check_clock(0).level, Level::Warning);
        assert_eq!(check_clock(4_000_000_000).level, Level::Ok);
    }
}
