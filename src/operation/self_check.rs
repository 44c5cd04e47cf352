//! Checks that everything operations need is available, without running an operation.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;

use crate::config::{Config, Confirm, HandlerKind, UpdaterKind};
use crate::operation::nut::Ups;
use crate::operation::{dbus, firmware, logind};
use doorward_transport::{MqttClient, TrustedTime};

/// Timeout of one request.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// No problem.
    Ok,
    /// It works, but should be corrected.
    Warning,
    /// It does not work.
    Error,
}

impl Level {
    /// The name, as `doorward doctor` prints it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// The result of one check, with its remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The checked item.
    pub what: String,
    /// The severity.
    pub level: Level,
    /// The description.
    pub text: String,
    /// The remedy; empty if there is nothing to do.
    pub remedy: String,
}

impl Finding {
    /// A finding without a problem.
    #[must_use]
    pub fn ok(what: &str, text: impl Into<String>) -> Self {
        Self::new(what, Level::Ok, text, "")
    }

    /// A finding of the given severity.
    #[must_use]
    pub fn new(what: &str, level: Level, text: impl Into<String>, remedy: &str) -> Self {
        Self {
            what: what.to_owned(),
            level,
            text: text.into(),
            remedy: remedy.to_owned(),
        }
    }
}

/// Checks every service and program that the operations of this configuration use.
pub async fn probe(config: &Config) -> Vec<Finding> {
    let mut found = programs(config);
    found.extend(ups(config).await);
    if let Some(bus) = &config.bus {
        found.push(match MqttClient::connect(&bus.broker()).await {
            Ok(_) => Finding::ok("bus", format!("{}: connected and logged in", bus.url)),
            Err(error) => Finding::new(
                "bus",
                Level::Error,
                error.to_string(),
                "Start the machine's own broker, or correct [bus].",
            ),
        });
    }
    found.extend(services(config).await);
    found
}

/// Checks that every program in the configuration can be started.
fn programs(config: &Config) -> Vec<Finding> {
    let mut programs = BTreeSet::new();
    for definition in config.operations.values() {
        programs.extend(definition.argv.first());
    }
    for setting in config.settings.values() {
        programs.extend(setting.get.first().into_iter().chain(setting.set.first()));
    }
    if let Some(firmware) = &config.firmware {
        programs.extend(firmware.self_check.first());
        if firmware.updater == UpdaterKind::Swupdate {
            let more = [
                &firmware.argv,
                &firmware.mark_good,
                &firmware.mark_bad,
                &firmware.keep,
            ];
            programs.extend(more.into_iter().filter_map(|argv| argv.first()));
        }
    }
    programs.extend(
        config
            .diagnostics
            .programs
            .iter()
            .filter_map(|argv| argv.first()),
    );
    let missing: Vec<Finding> = programs
        .iter()
        .filter_map(|program| {
            let why = match std::fs::metadata(Path::new(program)) {
                Err(error) => error.to_string(),
                Ok(it) if !it.is_file() => "not a file".to_owned(),
                Ok(it) if it.permissions().mode() & 0o111 == 0 => "not executable".to_owned(),
                Ok(it) if it.permissions().mode() & 0o002 != 0 => {
                    "writable by every user; run chmod o-w".to_owned()
                }
                Ok(_) => return None,
            };
            let text = format!("{program}: {why}");
            Some(Finding::new(
                "programs",
                Level::Error,
                text,
                "Install it, or correct the operation that uses it.",
            ))
        })
        .collect();
    match (missing.is_empty(), programs.len()) {
        (_, 0) => Vec::new(),
        (true, count) => vec![Finding::ok("programs", format!("{count} executable"))],
        (false, _) => missing,
    }
}

async fn ups(config: &Config) -> Vec<Finding> {
    let Some(nut) = config.nut.clone() else {
        return Vec::new();
    };
    let address = nut.address;
    let ups = Ups {
        nut,
        time: TrustedTime::default(),
    };
    let status = timeout(TIMEOUT, ups.get("ups.status")).await;
    let status = status.unwrap_or_else(|_| Err("no answer from upsd".to_owned()));
    let mut found = vec![match status {
        Ok(status) => Finding::ok("ups", format!("upsd at {address}: status {status}")),
        Err(why) => Finding::new(
            "ups",
            Level::Error,
            why,
            "Check that nut-server is running, and [nut]. `upsc -l` lists the UPS names.",
        ),
    }];
    if let Err(why) = ups.log_in().await {
        found.push(Finding::new(
            "ups",
            Level::Error,
            why,
            "Fix `password_file` in [nut].",
        ));
    }
    if address.ip().is_loopback() && listens_to_all(address.port()) {
        found.push(Finding::new(
            "ups",
            Level::Warning,
            format!(
                "upsd accepts connections from the network on port {}",
                address.port()
            ),
            "Anyone with an upsd password can bypass doorward: set LISTEN 127.0.0.1 in upsd.conf.",
        ));
    }
    found
}

/// Whether a process listens on this port on an address other than loopback, according to
/// `/proc/net/tcp`.
fn listens_to_all(port: u16) -> bool {
    let is_open = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let (Some(local), Some(state)) = (fields.next(), fields.nth(1)) else {
            return false;
        };
        let Some((address, at)) = local.rsplit_once(':') else {
            return false;
        };
        let loopback = address.ends_with("7F") && address.len() == 8
            || address == "00000000000000000000000001000000";
        state == "0A" && u16::from_str_radix(at, 16) == Ok(port) && !loopback
    };
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().any(|table| {
        let text = std::fs::read_to_string(table).unwrap_or_default();
        text.lines().skip(1).any(is_open)
    })
}

/// Checks the D-Bus services that the operations need.
async fn services(config: &Config) -> Vec<Finding> {
    let uses = |handler| config.operations.values().any(|it| it.handler == handler);
    let firmware = config
        .firmware
        .as_ref()
        .filter(|_| uses(HandlerKind::Firmware));
    let rauc = firmware.filter(|it| it.updater == UpdaterKind::Rauc);
    let by_program = config.operations.values().any(|it| {
        it.confirm == Confirm::Boot && it.argv.iter().any(|it| it.ends_with("systemctl"))
    });
    if !uses(HandlerKind::Logind) && !uses(HandlerKind::Unit) && firmware.is_none() && !by_program {
        return Vec::new();
    }
    if let Err(error) = dbus::connect().await {
        let remedy = "Start D-Bus (dbus.service).";
        return vec![Finding::new(
            "D-Bus system bus",
            Level::Error,
            error.to_string(),
            remedy,
        )];
    }
    let mut found = Vec::new();
    if uses(HandlerKind::Logind) || firmware.is_some() || by_program {
        found.push(match logind::may_reboot().await {
            Ok(()) => Finding::ok("logind", "doorward may reboot the machine"),
            Err(why) => Finding::new(
                "logind",
                Level::Error,
                why,
                "Install systemd/50-doorward.rules in polkit's rules.d directory.",
            ),
        });
    }
    if rauc.is_some() {
        found.push(match firmware::updater_answers().await {
            Ok(said) => Finding::ok("rauc", said),
            Err(why) => Finding::new(
                "rauc",
                Level::Error,
                why,
                "Install RAUC and its D-Bus service.",
            ),
        });
    }
    if let Some(firmware) = firmware {
        found.push(match firmware::running(config) {
            0 => Finding::new(
                "firmware",
                Level::Error,
                format!(
                    "{} contains no version number",
                    firmware.version_file.display()
                ),
                "The image must contain its version there; until then no release is installed.",
            ),
            version => Finding::ok("firmware", format!("version {version} is running")),
        });
        if firmware.updater == UpdaterKind::Swupdate && firmware.keep.is_empty() {
            found.push(Finding::new(
                "firmware",
                Level::Warning,
                "an installation that ends without a reboot cannot be rolled back",
                "Set `keep` in [firmware]; without it, such a result is `unknown`.",
            ));
        }
    }
    found
}
