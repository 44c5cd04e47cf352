//! `doorward doctor`: what is wrong with this device, and what to do about it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::doorward::ConfigFile;
use super::{Failure, block_on, paint, status};
use crate::clock;
use crate::config::{Config, LinkSection};
use crate::files;
use crate::link::{Caller, topics};
use crate::operation::probe::{Finding, Level, probe};
use crate::store::Identity;
use crate::wire::{Audience, Id};

/// How long a name or an address may take.
const PATIENCE: Duration = Duration::from_secs(5);
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

pub(super) fn run(args: &Doctor) -> Result<ExitCode, Failure> {
    let config = match Config::load(&args.file.config) {
        Ok(config) => config,
        Err(error) => {
            let remedy = "config/doorward.toml in the source is an example with comments.";
            return Ok(conclude(
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
    found.extend(config.broken().into_iter().map(|(name, why)| {
        let text = format!("[operations.\"{name}\"]: {why}");
        Finding::new(
            "configuration",
            Level::Broken,
            text,
            "It would only fail; mend or remove it.",
        )
    }));
    found.push(clock_is(clock::system().0));
    let identity = Identity::load(&config.state);
    found.extend(state(
        &config.state,
        identity.as_ref().err().map(ToString::to_string),
    ));
    found.extend(secrets(&config));
    found.push(daemon(&config.state));
    let device = identity.ok().map(|identity| identity.device);
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
    Ok(conclude(&found, args.json))
}

/// Prints what was found; the exit status says whether anything is broken.
fn conclude(found: &[Finding], json: bool) -> ExitCode {
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
        println!("{}", json!({"broken": broken, "findings": rows}));
    } else {
        for it in found {
            let level = format!("{:<6}", word(it.level));
            let level = match it.level {
                Level::Good => paint::good(&level),
                Level::Doubtful | Level::Broken => paint::bad(&level),
            };
            println!("{level} {:<18} {}", it.what, it.text);
            if !it.remedy.is_empty() {
                println!("{:<25} -> {}", "", it.remedy);
            }
        }
        match broken {
            0 => println!("\nNothing is broken."),
            1 => println!("\nOne thing is broken."),
            _ => println!("\n{broken} things are broken."),
        }
    }
    match broken {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(status::FAILED),
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
    Finding::good("configuration", text)
}

/// A clock from before this program was built is wrong.
fn clock_is(now: u64) -> Finding {
    let built: u64 = env!("DOORWARD_BUILT").parse().unwrap_or(0);
    let text = crate::wire::Timestamp(now).to_string();
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
    Finding::good("clock", text)
}

fn state(directory: &Path, unusable: Option<String>) -> Vec<Finding> {
    let what = "state directory";
    if let Some(why) = unusable {
        let remedy = format!(
            "If this device is new: doorward provision --state {} --device ID --issuers FILE",
            directory.display()
        );
        return vec![Finding::new(what, Level::Broken, why, &remedy)];
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
    let written = files::replace(&directory.join("doctor"), b"", 0o600);
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
                    false => Finding::good(what, text),
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

/// Files with passwords and keys are there, and not for everybody.
fn secrets(config: &Config) -> Vec<Finding> {
    let links = [&config.links.cloud, &config.links.local, &config.bus];
    let links = links.into_iter().flatten();
    let of_links = links.flat_map(|link| [&link.password_file, &link.tls.key]);
    let nut = config.nut.as_ref();
    let firmware = config.firmware.as_ref();
    let listener = config.links.listener.as_ref();
    let others = [
        nut.and_then(|nut| nut.tls.as_ref()?.key.as_ref()),
        nut.map(|nut| &nut.password_file),
        firmware.and_then(|firmware| firmware.tls.key.as_ref()),
        listener.and_then(|listener| listener.key.as_ref()),
    ];
    let paths: Vec<&Path> = of_links
        .flatten()
        .chain(others.into_iter().flatten())
        .map(PathBuf::as_path)
        .collect();
    paths
        .iter()
        .filter_map(|path| files::read_secret(path, 1 << 20).err())
        .map(|error| {
            let remedy = "doorward's user must be able to read it, and not everybody: chgrp \
                          doorward, chmod 640.";
            Finding::new("secrets", Level::Broken, error.to_string(), remedy)
        })
        .collect()
}

/// Whether it runs is no fault of the machine.
fn daemon(state: &Path) -> Finding {
    use std::os::unix::net::UnixStream;
    match UnixStream::connect(state.join(crate::agent::STATUS_SOCKET)) {
        Ok(_) => Finding::good("daemon", "it runs; `doorward status` says how it is"),
        Err(_) => Finding::new(
            "daemon",
            Level::Doubtful,
            "it does not run",
            "systemctl start doorward, or doorward run",
        ),
    }
}

/// The way to a broker, step by step: the name, the address, TLS and log-in, and what it lets the
/// device hear.
async fn reach(what: &str, link: &LinkSection, device: Option<&Id>) -> Vec<Finding> {
    let url = &link.url;
    let broken = |text: String, remedy: &str| vec![Finding::new(what, Level::Broken, text, remedy)];
    let addresses = timeout(PATIENCE, lookup_host((url.host.as_str(), url.port))).await;
    let addresses: Vec<_> = match addresses {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => {
            let text = format!("{} has no address: {error}", url.host);
            return broken(
                text,
                "Mend the name in the configuration, or the machine's DNS.",
            );
        }
        Err(_) => {
            let text = format!("nobody says which address {} has", url.host);
            return broken(
                text,
                "Is there a network, and a DNS server in /etc/resolv.conf?",
            );
        }
    };
    let mut why = String::new();
    let mut connected = false;
    for address in &addresses {
        match timeout(PATIENCE, TcpStream::connect(address)).await {
            Ok(Ok(_)) => {
                connected = true;
                break;
            }
            Ok(Err(error)) => why = format!("{address}: {error}"),
            Err(_) => why = format!("{address}: no answer"),
        }
    }
    if !connected {
        return broken(
            why,
            "Does the broker run, and is the port right? A firewall may be between.",
        );
    }
    let caller = match Caller::connect(&link.broker()).await {
        Ok(caller) => caller,
        Err(error) => {
            return broken(
                error.to_string(),
                "Compare the certificates, the user and the password of this link with the \
                 broker's.",
            );
        }
    };
    let mut found = vec![Finding::good(what, format!("{url} lets the device in"))];
    if let Some(device) = device {
        let own = Audience::Device(device.clone());
        let filters = vec![topics::command(device), topics::statements(&own)];
        if let Err(error) = caller.subscribe(filters).await {
            found.push(Finding::new(
                what,
                Level::Broken,
                error.to_string(),
                "The broker's rules must let the device read its own topics: see \
                 config/mosquitto.acl.",
            ));
        }
        // What belongs to people is not the device's to read.
        let others = vec![format!("doorward/v1/{device}/receipts/+")];
        if caller.subscribe(others).await.is_ok() {
            found.push(Finding::new(
                what,
                Level::Doubtful,
                "the broker lets everybody who logs in read everybody's receipts",
                "Give it rules: config/mosquitto.acl or config/emqx-acl.conf. The decision stays \
                 on the device; these keep neighbours from reading along.",
            ));
        }
    }
    found
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
