//! Whether what operations need is there: asked without doing any of it.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;

use crate::config::{Config, Confirm, Handler, UpdaterKind};
use crate::operation::nut::Ups;
use crate::operation::{dbus, firmware, logind};
use doorward_transport::{MqttClient, TrustedTime};

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Good,
    /// It works, and somebody should look at it.
    Doubtful,
    /// It does not work.
    Broken,
}

/// What was found, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub what: String,
    /// How it is.
    pub level: Level,
    /// In words.
    pub text: String,
    /// What to do; empty if there is nothing to do.
    pub remedy: String,
}

impl Finding {
    /// All is well.
    #[must_use]
    pub fn ok(what: &str, text: impl Into<String>) -> Self {
        Self::new(what, Level::Good, text, "")
    }

    /// Something is not as it should be.
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

/// Asks everything that an operation of this configuration would ask.
pub async fn probe(config: &Config) -> Vec<Finding> {
    let mut found = programs(config);
    found.extend(ups(config).await);
    if let Some(bus) = &config.bus {
        found.push(match MqttClient::connect(&bus.broker()).await {
            Ok(_) => Finding::ok("bus", format!("{} answers", bus.url)),
            Err(error) => Finding::new(
                "bus",
                Level::Broken,
                error.to_string(),
                "Start the machine's own broker, or mend [bus].",
            ),
        });
    }
    found.extend(services(config).await);
    found
}

/// Every program that the configuration names can be started.
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
                Ok(it) if !it.is_file() => "it is no file".to_owned(),
                Ok(it) if it.permissions().mode() & 0o111 == 0 => "it cannot be run".to_owned(),
                Ok(it) if it.permissions().mode() & 0o002 != 0 => {
                    "everybody may write to it, and would decide what is done".to_owned()
                }
                Ok(_) => return None,
            };
            let text = format!("{program}: {why}");
            Some(Finding::new(
                "programs",
                Level::Broken,
                text,
                "Install it, or mend its operation.",
            ))
        })
        .collect();
    match (missing.is_empty(), programs.len()) {
        (_, 0) => Vec::new(),
        (true, count) => vec![Finding::ok("programs", format!("{count} can be started"))],
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
    let status = timeout(PATIENCE, ups.get("ups.status")).await;
    let status = status.unwrap_or_else(|_| Err("upsd does not answer".to_owned()));
    let mut found = vec![match status {
        Ok(status) => Finding::ok("ups", format!("upsd at {address} says: {status}")),
        Err(why) => Finding::new(
            "ups",
            Level::Broken,
            why,
            "Is nut-server running, and [nut] right? `upsc -l` lists what it knows.",
        ),
    }];
    if let Err(why) = ups.log_in().await {
        found.push(Finding::new(
            "ups",
            Level::Broken,
            why,
            "Mend password_file in [nut].",
        ));
    }
    if address.ip().is_loopback() && listens_to_all(address.port()) {
        found.push(Finding::new(
            "ups",
            Level::Doubtful,
            format!("upsd listens to the network at port {}", address.port()),
            "Whoever knows its passwords can switch the UPS past doorward: LISTEN 127.0.0.1 in \
             upsd.conf.",
        ));
    }
    found
}

/// Whether something listens at this port on an address that others reach, by the kernel's word.
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

/// Services on the system's bus, as far as an operation needs them.
async fn services(config: &Config) -> Vec<Finding> {
    let uses = |handler| config.operations.values().any(|it| it.handler == handler);
    let firmware = config.firmware.as_ref().filter(|_| uses(Handler::Firmware));
    let rauc = firmware.filter(|it| it.updater == UpdaterKind::Rauc);
    let by_program = config.operations.values().any(|it| {
        it.confirm == Confirm::Boot && it.argv.iter().any(|it| it.ends_with("systemctl"))
    });
    if !uses(Handler::Logind) && !uses(Handler::Unit) && firmware.is_none() && !by_program {
        return Vec::new();
    }
    if let Err(error) = dbus::connect().await {
        let remedy = "Start the system's bus (dbus.service).";
        return vec![Finding::new(
            "bus of the system",
            Level::Broken,
            error.to_string(),
            remedy,
        )];
    }
    let mut found = Vec::new();
    if uses(Handler::Logind) || firmware.is_some() || by_program {
        found.push(match logind::may_reboot().await {
            Ok(()) => Finding::ok("logind", "doorward may boot the machine"),
            Err(why) => Finding::new(
                "logind",
                Level::Broken,
                why,
                "Put systemd/50-doorward.rules where polkit looks for rules.",
            ),
        });
    }
    if rauc.is_some() {
        found.push(match firmware::updater_answers().await {
            Ok(said) => Finding::ok("rauc", said),
            Err(why) => Finding::new(
                "rauc",
                Level::Broken,
                why,
                "Install RAUC and its D-Bus service.",
            ),
        });
    }
    if let Some(firmware) = firmware {
        found.push(match firmware::running(config) {
            0 => Finding::new(
                "firmware",
                Level::Broken,
                format!("{} has no number", firmware.version_file.display()),
                "Have the image write its own version there; until then none is installed.",
            ),
            version => Finding::ok("firmware", format!("version {version} runs")),
        });
        if firmware.updater == UpdaterKind::Swupdate && firmware.keep.is_empty() {
            found.push(Finding::new(
                "firmware",
                Level::Doubtful,
                "nothing takes an installation back that ends without a boot",
                "Set `keep` in [firmware]; without it such an end is `unknown`.",
            ));
        }
    }
    found
}
