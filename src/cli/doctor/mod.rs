//! `doorward doctor`: what is wrong with this device, and what to do about it.

use doorward_terminal::outln;
mod connectivity;
mod files;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use crate::cli::ConfigFile;
use crate::config::Config;
use crate::operation::self_check::{Finding, Level, probe};
use crate::store::Pinned;
use connectivity::reach;
use doorward_terminal::{CliError, block_on, exit_status, style};
use doorward_transport::clock;

/// Less room than this for the state directory is too little, in MiB.
const ROOM: u64 = 64;

#[derive(Debug, Args)]
pub(super) struct Doctor {
    #[command(flatten)]
    file: ConfigFile,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Doctor) -> Result<ExitCode, CliError> {
    let config = match Config::load(&args.file.config) {
        Ok(config) => config,
        Err(error) => {
            let remedy = "`doorward provision` makes one that works.";
            return Ok(print_findings(
                &[Finding::new(
                    "configuration",
                    Level::Broken,
                    error.to_string(),
                    remedy,
                )],
                args.json,
            ));
        }
    };
    let mut found = vec![configuration(&config, &args.file.config)];
    found.extend(config.unusable_operations().into_iter().map(|(name, why)| {
        let text = format!("[operations.\"{name}\"]: {why}");
        Finding::new(
            "configuration",
            Level::Broken,
            text,
            "It would only fail; mend or remove it.",
        )
    }));
    found.extend(files::configuration(&config, &args.file.config));
    found.push(clock_is(clock::system().0));
    let pinned = match Pinned::read(&config.state) {
        Ok(Some(pinned)) => Ok(pinned),
        Ok(None) => Err(format!("{} holds no identity", config.state.display())),
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

/// Prints what was found; the exit status says whether anything is broken.
fn print_findings(found: &[Finding], json: bool) -> ExitCode {
    let broken = found.iter().filter(|it| it.level == Level::Broken).count();
    if json {
        let rows: Vec<_> = found
            .iter()
            .map(|it| {
                json!({
                    "what": it.what, "level": word(it.level), "text": it.text,
                    "remedy": (!it.remedy.is_empty()).then_some(&it.remedy),
                })
            })
            .collect();
        outln!("{}", json!({"broken": broken, "findings": rows}));
    } else {
        for it in found {
            let level = format!("{:<6}", word(it.level));
            let level = match it.level {
                Level::Good => style::green(&level),
                Level::Doubtful | Level::Broken => style::red(&level),
            };
            outln!("{level} {:<18} {}", it.what, it.text);
            if !it.remedy.is_empty() {
                outln!("{:<25} -> {}", "", it.remedy);
            }
        }
        match broken {
            0 => outln!("\nNothing is broken."),
            1 => outln!("\nOne thing is broken."),
            _ => outln!("\n{broken} things are broken."),
        }
    }
    match broken {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(exit_status::FAILED),
    }
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Good => "ok",
        Level::Doubtful => "look",
        Level::Broken => "broken",
    }
}

fn configuration(config: &Config, path: &Path) -> Finding {
    let text = format!("{}: {} operations", path.display(), config.operations.len());
    Finding::ok("configuration", text)
}

/// A clock from before this program was built is wrong.
fn clock_is(now: u64) -> Finding {
    let built: u64 = env!("DOORWARD_BUILT").parse().unwrap_or(0);
    let text = doorward_protocol::wire::Timestamp(now).to_string();
    if now < built {
        let remedy = "Set it, or give the machine a source of time. Until then, what interrupts \
                      needs a command with an uptime in it, and weekly windows stay shut.";
        return Finding::new(
            "clock",
            Level::Doubtful,
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
        return vec![Finding::new(what, Level::Broken, why.clone(), remedy)];
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
            found.push(Finding::new(what, Level::Broken, text, &remedy));
        }
    }
    let probe = directory.join("doctor.new");
    let written = doorward_transport::files::replace(&directory.join("doctor"), b"", 0o600);
    let _ = std::fs::remove_file(directory.join("doctor"));
    let _ = std::fs::remove_file(probe);
    match written {
        Err(error) => found.push(Finding::new(
            what,
            Level::Broken,
            error.to_string(),
            "Nothing is done that cannot be written down. Run this as doorward's user or root.",
        )),
        Ok(()) => match rustix::fs::statvfs(directory) {
            Ok(disk) => {
                let free = (disk.f_bavail.saturating_mul(disk.f_frsize)) >> 20;
                let text = format!("{}, {free} MiB free", directory.display());
                found.push(match free < ROOM {
                    true => Finding::new(
                        what,
                        Level::Doubtful,
                        text,
                        "When the disk is full, everything is denied. Make room.",
                    ),
                    false => Finding::ok(what, text),
                });
            }
            Err(error) => {
                let text = format!("{}: {error}", directory.display());
                found.push(Finding::new(what, Level::Doubtful, text, ""));
            }
        },
    }
    found
}

/// Whose it is.
fn ownership(pinned: &Pinned) -> Finding {
    let (device, issuer) = (&pinned.device, &pinned.issuers.iss);
    match &pinned.owner {
        Some(owner) => Finding::ok("owner", format!("{device} belongs to {owner}, by {issuer}")),
        None => Finding::new(
            "owner",
            Level::Doubtful,
            format!("{device} trusts {issuer} and belongs to nobody"),
            "Its claim, or doorkey register, makes somebody the owner; until then it does nothing.",
        ),
    }
}

/// Whether it runs is no fault of the machine.
fn daemon(state: &Path) -> Finding {
    use std::os::unix::net::UnixStream;
    match UnixStream::connect(state.join(crate::daemon::STATUS_SOCKET)) {
        Ok(_) => Finding::ok("daemon", "it runs; `doorward status` says how it is"),
        Err(_) => Finding::new(
            "daemon",
            Level::Doubtful,
            "it does not run",
            "systemctl start doorward, or doorward run",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_from_before_the_program_was_made_is_named() {
        assert_eq!(clock_is(0).level, Level::Doubtful);
        assert_eq!(clock_is(4_000_000_000).level, Level::Good);
    }
}
