//! `config.read` and `config.write`. A change that must be confirmed is reverted unless its sender,
//! or the owner, sends it once more in time, which proves that the device is still reachable. Its
//! command ends only then, so the event log has the result in both cases.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::config::{Config, Setting};
use crate::core::OperationResult;
use crate::operation::OperationContext;
use crate::operation::exec;
use crate::operation::exec::filled;
use crate::operation::nut;
use crate::operation::nut::Ups;
use crate::operation::retry::retry;
use doorward_protocol::gate::{Code, Permit};
use doorward_protocol::wire::{Bytes, Hash, KeyBytes, Map, Text, Value};
use doorward_transport::files;

/// Timeout for reading or writing a setting.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Attempts to revert a change.
const ATTEMPTS: u32 = 120;
/// Delay between two attempts.
const DELAY: Duration = Duration::from_secs(5);
/// Maximum number of settings in one result; the others can be read by name.
const MAX_SETTINGS: usize = 40;
/// Maximum length of a value that is read, in bytes.
const MAX_VALUE: u64 = 256;

/// Access to the settings.
#[derive(Clone, Copy)]
pub(super) struct SettingsContext<'a> {
    pub(super) config: &'a Config,
    pub(super) ups: Option<&'a Ups>,
}

/// A change that waits for its confirmation.
struct Waiting {
    key: KeyBytes,
    name: String,
    value: Value,
    confirmed: oneshot::Sender<()>,
}

/// The state of the current change; there is at most one.
#[derive(Clone, Default)]
pub(super) struct Pending(Arc<Mutex<State>>);

#[derive(Default)]
enum State {
    #[default]
    None,
    /// A change is being written or reverted.
    Busy,
    Waiting(Waiting),
}

impl Pending {
    /// The state after a start: busy while there is an unconfirmed change to revert. An unreadable
    /// undo file does not block further changes.
    pub(super) fn found(config: &Config) -> Self {
        let pending = Self::default();
        if undo(config).is_some() {
            *pending.state() = State::Busy;
        }
        pending
    }
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pending")
    }
}

/// The undo file, which allows a change to be reverted after a restart.
#[derive(Serialize, Deserialize)]
struct Undo {
    command: String,
    name: String,
    old: String,
}

fn undo_file(config: &Config) -> PathBuf {
    config.state.join("undo.json")
}

fn undo(config: &Config) -> Option<Undo> {
    let bytes = files::read(&undo_file(config), 4096).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Returns the command of a change that was not confirmed before the daemon stopped.
pub(super) fn unconfirmed(config: &Config) -> Option<Hash> {
    Bytes::from_hex(&undo(config)?.command)
}

/// Reads one setting, or all.
pub(super) async fn read(access: SettingsContext<'_>, args: &Map<Text, Value>) -> OperationResult {
    let one = match args.get("key") {
        Some(Value::Text(name)) => Some(name.as_str()),
        _ => None,
    };
    let mut rows = Vec::new();
    for (name, setting) in &access.config.settings {
        if one.is_some_and(|one| one != name) {
            continue;
        }
        if rows.len() == MAX_SETTINGS {
            rows.push(("more".to_owned(), Value::Bool(true)));
            break;
        }
        match get(access, setting).await {
            Ok(value) => rows.push((name.clone(), Value::Text(value))),
            Err(why) if one.is_some() => return OperationResult::failed(Code::Failed, &why),
            // One unreadable setting does not hide the others.
            Err(_) => {}
        }
    }
    done(rows)
}

/// Changes a setting, or confirms the change.
pub(super) async fn write(
    access: SettingsContext<'_>,
    pending: &Pending,
    permit: &Permit,
    context: &OperationContext,
) -> OperationResult {
    let (Some(Value::Text(name)), Some(value)) =
        (permit.args().get("key"), permit.args().get("value"))
    else {
        return OperationResult::failed(Code::Param, "key and value are needed");
    };
    let Some(setting) = access
        .config
        .settings
        .get(name)
        .filter(|it| it.value.takes(value))
    else {
        return OperationResult::failed(Code::Param, "this setting does not accept the value");
    };
    if setting.owner_only && permit.share().is_some() {
        return OperationResult::failed(Code::OwnerOnly, "only the owner may change this setting");
    }
    match pending.start(permit, name, value) {
        Start::New => {}
        Start::Confirmation => return done(vec![("confirmed".to_owned(), Value::Bool(true))]),
        Start::Blocked => {
            let why = "another change is being made or waits for its confirmation";
            return OperationResult::failed(Code::Busy, why);
        }
    }
    let result = change(access, pending, permit, context, (name, setting, value)).await;
    pending.end();
    result
}

async fn change(
    access: SettingsContext<'_>,
    pending: &Pending,
    permit: &Permit,
    context: &OperationContext,
    (name, setting, value): (&str, &Setting, &Value),
) -> OperationResult {
    let failed = |why: &str| OperationResult::failed(Code::Failed, why);
    let old = match get(access, setting).await {
        Ok(old) => old,
        Err(why) => return failed(&why),
    };
    if old == value.to_string() || Some(&old) == nut::plain(value).as_ref() {
        return OperationResult::failed(Code::NoEffect, &format!("{name} is already {old}"));
    }
    let undo = Undo {
        command: context.command().hex(),
        name: name.to_owned(),
        old: old.clone(),
    };
    let file = undo_file(access.config);
    if let Err(error) = save(&file, &undo) {
        return failed(&error.to_string());
    }
    if let Err(why) = set(access, setting, value).await {
        // The value may have been written in part.
        return match revert(access, &undo).await {
            Ok(()) => failed(&format!("{why}; {name} is {old} as before")),
            Err(back) => OperationResult::failed(
                Code::Unknown,
                &format!("{why}; reverting it failed too: {back}"),
            ),
        };
    }
    let observed = get(access, setting).await;
    if let Err(why) = &observed {
        tracing::warn!(%name, %why, "cannot read a setting after it was written");
    }
    let mut rows = vec![("old".to_owned(), Value::Text(old.clone()))];
    rows.extend(observed.map(|observed| (name.to_owned(), Value::Text(observed))));
    let seconds = setting.confirm_s;
    if seconds > 0 {
        let confirmed = pending.wait(permit.caller().key, name, value);
        let within = i64::try_from(seconds).unwrap_or(i64::MAX);
        let mut progress = rows.clone();
        progress.push(("confirm_within_s".to_owned(), Value::Int(within)));
        context.report_progress(Map::named(progress)).await;
        let confirmed = timeout(Duration::from_secs(seconds), confirmed).await;
        if !matches!(confirmed, Ok(Ok(()))) {
            return match revert_with_retries(access, &undo).await {
                Ok(()) => failed(&format!(
                    "the change was not confirmed within {seconds} s; {name} is {old} again"
                )),
                Err(why) => OperationResult::failed(
                    Code::Unknown,
                    &format!("the change cannot be reverted: {why}"),
                ),
            };
        }
    }
    match remove(&file) {
        Ok(()) => done(rows),
        Err(error) => OperationResult::failed(Code::Store, &error.to_string()),
    }
}

/// Reverts a change that was not confirmed before the daemon stopped.
pub(super) async fn resume(
    access: SettingsContext<'_>,
    pending: &Pending,
    command: &Hash,
) -> OperationResult {
    let Some(undo) = undo(access.config).filter(|undo| undo.command == command.hex()) else {
        return OperationResult::failed(Code::Unknown, "the device stopped while it ran");
    };
    let reverted = revert_with_retries(access, &undo).await;
    pending.end();
    match reverted {
        Ok(()) => OperationResult::failed(
            Code::Failed,
            &format!(
                "the device stopped before the change was confirmed; {} is {} again",
                undo.name, undo.old
            ),
        ),
        Err(why) => OperationResult::failed(
            Code::Unknown,
            &format!("the change cannot be reverted: {why}"),
        ),
    }
}

/// Reverts a change, with retries: services may still be starting.
async fn revert_with_retries(access: SettingsContext<'_>, undo: &Undo) -> Result<(), String> {
    retry(ATTEMPTS, DELAY, || async {
        let reverted = revert(access, undo).await;
        if let Err(why) = &reverted {
            tracing::warn!(setting = %undo.name, %why, "cannot revert a change of a setting yet");
        }
        reverted
    })
    .await
}

/// The meaning of a `config.write` command.
enum Start {
    /// A new change.
    New,
    /// The confirmation of the waiting change.
    Confirmation,
    /// Another change is in progress.
    Blocked,
}

impl Pending {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a change, or confirms the waiting one.
    fn start(&self, permit: &Permit, name: &str, value: &Value) -> Start {
        let mut state = self.state();
        let owner = permit.share().is_none();
        match std::mem::replace(&mut *state, State::Busy) {
            State::None => Start::New,
            State::Waiting(waiting)
                if waiting.name == name
                    && waiting.value == *value
                    && (owner || waiting.key == permit.caller().key) =>
            {
                // Fails if the timeout has just ended, after which the change is reverted.
                match waiting.confirmed.send(()) {
                    Ok(()) => Start::Confirmation,
                    Err(()) => Start::Blocked,
                }
            }
            other => {
                *state = other;
                Start::Blocked
            }
        }
    }

    fn wait(&self, key: KeyBytes, name: &str, value: &Value) -> oneshot::Receiver<()> {
        let (confirmed, receiver) = oneshot::channel();
        *self.state() = State::Waiting(Waiting {
            key,
            name: name.to_owned(),
            value: value.clone(),
            confirmed,
        });
        receiver
    }

    fn end(&self) {
        *self.state() = State::None;
    }
}

fn save(file: &Path, undo: &Undo) -> Result<(), files::FileError> {
    let bytes = serde_json::to_vec(undo).unwrap_or_default();
    files::replace(file, &bytes, 0o600)
}

fn remove(file: &Path) -> Result<(), files::FileError> {
    use doorward_transport::files::Doing;
    match std::fs::remove_file(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed.and_then(|()| files::sync_parent(file)),
    }
    .doing("remove", file)
}

async fn revert(access: SettingsContext<'_>, undo: &Undo) -> Result<(), String> {
    let setting = access.config.settings.get(&undo.name);
    let setting = setting.ok_or("the setting is no longer configured")?;
    set(access, setting, &Value::Text(undo.old.clone())).await?;
    remove(&undo_file(access.config)).map_err(|error| error.to_string())
}

async fn get(access: SettingsContext<'_>, setting: &Setting) -> Result<String, String> {
    let value = async {
        match (&setting.variable, access.ups) {
            (Some(variable), Some(ups)) => ups.get(variable).await,
            _ => exec::output(&setting.get, MAX_VALUE).await?.printed(),
        }
    };
    let timed_out = |_| Err("reading the value timed out".to_owned());
    timeout(TIMEOUT, value).await.unwrap_or_else(timed_out)
}

async fn set(access: SettingsContext<'_>, setting: &Setting, value: &Value) -> Result<(), String> {
    let written = async {
        match (&setting.variable, access.ups) {
            (Some(variable), Some(ups)) => ups.set(variable, value).await,
            _ => {
                let args = Map::named([("value", value.clone())]);
                let argv = filled(&setting.set, &args).ok_or("no program is configured")?;
                exec::output(&argv, MAX_VALUE).await?.printed().map(drop)
            }
        }
    };
    let timed_out = |_| Err("setting the value timed out".to_owned());
    timeout(TIMEOUT, written).await.unwrap_or_else(timed_out)
}

fn done(rows: Vec<(String, Value)>) -> OperationResult {
    OperationResult::done(Map::named(rows))
}
