//! `config.read` and `config.write`. A change that must be confirmed is taken back unless its
//! sender, or the owner, sends it once more in time: who still reaches the device afterwards has
//! not cut it off. Until then its command has not ended, so the log tells either way.

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

/// How long it may take to read or set one.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a change is taken back that cannot be yet, and the pause between.
const ATTEMPTS: u32 = 120;
const PAUSE: Duration = Duration::from_secs(5);
/// Most settings in one answer; the others can be named.
const MOST: usize = 40;
/// Longest value that is read.
const LONGEST: u64 = 256;

/// Where settings are.
#[derive(Clone, Copy)]
pub(super) struct SettingsContext<'a> {
    pub(super) config: &'a Config,
    pub(super) ups: Option<&'a Ups>,
}

/// A change that waits to be confirmed.
struct Waiting {
    key: KeyBytes,
    name: String,
    value: Value,
    confirmed: oneshot::Sender<()>,
}

/// The one change that may be waiting.
#[derive(Clone, Default)]
pub(super) struct Pending(Arc<Mutex<State>>);

#[derive(Default)]
enum State {
    #[default]
    Nothing,
    /// It is being written.
    Begun,
    Waiting(Waiting),
}

impl Pending {
    /// While there is a change that a stop has left unconfirmed, no other is begun. A file that says
    /// nothing stands in nobody's way.
    pub(super) fn found(config: &Config) -> Self {
        let pending = Self::default();
        if undo(config).is_some() {
            *pending.state() = State::Begun;
        }
        pending
    }
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pending")
    }
}

/// What a start needs to take a change back.
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

/// The command of a change that a stop has left unconfirmed.
pub(super) fn unconfirmed(config: &Config) -> Option<Hash> {
    Bytes::from_hex(&undo(config)?.command)
}

/// Settings as they are: one, or all.
pub(super) async fn read(here: SettingsContext<'_>, args: &Map<Text, Value>) -> OperationResult {
    let one = match args.get("key") {
        Some(Value::Text(name)) => Some(name.as_str()),
        _ => None,
    };
    let mut rows = Vec::new();
    for (name, setting) in &here.config.settings {
        if one.is_some_and(|one| one != name) {
            continue;
        }
        if rows.len() == MOST {
            rows.push(("more".to_owned(), Value::Bool(true)));
            break;
        }
        match get(here, setting).await {
            Ok(value) => rows.push((name.clone(), Value::Text(value))),
            Err(why) if one.is_some() => return OperationResult::failed(Code::Failed, &why),
            // The others can still be told.
            Err(_) => {}
        }
    }
    done(rows)
}

/// Changes one, or confirms that it was changed.
pub(super) async fn write(
    here: SettingsContext<'_>,
    pending: &Pending,
    permit: &Permit,
    context: &OperationContext,
) -> OperationResult {
    let (Some(Value::Text(name)), Some(value)) =
        (permit.args().get("key"), permit.args().get("value"))
    else {
        return OperationResult::failed(Code::Param, "key and value are needed");
    };
    let Some(setting) = here
        .config
        .settings
        .get(name)
        .filter(|it| it.value.takes(value))
    else {
        return OperationResult::failed(Code::Param, "the value is not what this setting takes");
    };
    if setting.owner_only && permit.share().is_some() {
        return OperationResult::failed(Code::OwnerOnly, "only the owner may change this setting");
    }
    match pending.begin(permit, name, value) {
        Begin::New => {}
        Begin::Confirms => return done(vec![("confirmed".to_owned(), Value::Bool(true))]),
        Begin::Other => {
            let why = "another change waits to be confirmed, or is being made";
            return OperationResult::failed(Code::Busy, why);
        }
    }
    let ended = change(here, pending, permit, context, (name, setting, value)).await;
    pending.end();
    ended
}

async fn change(
    here: SettingsContext<'_>,
    pending: &Pending,
    permit: &Permit,
    context: &OperationContext,
    (name, setting, value): (&str, &Setting, &Value),
) -> OperationResult {
    let failed = |why: &str| OperationResult::failed(Code::Failed, why);
    let old = match get(here, setting).await {
        Ok(old) => old,
        Err(why) => return failed(&why),
    };
    if old == value.to_string() || Some(&old) == nut::plain(value).as_ref() {
        return OperationResult::failed(Code::NoEffect, &format!("{name} is {old} already"));
    }
    let undo = Undo {
        command: context.command().hex(),
        name: name.to_owned(),
        old: old.clone(),
    };
    let file = undo_file(here.config);
    if let Err(error) = keep(&file, &undo) {
        return failed(&error.to_string());
    }
    if let Err(why) = set(here, setting, value).await {
        // How far it came is not known.
        return match take_back(here, &undo).await {
            Ok(()) => failed(&format!("{why}; {name} is {old} as before")),
            Err(back) => {
                OperationResult::failed(Code::Unknown, &format!("{why}; nor back: {back}"))
            }
        };
    }
    let observed = get(here, setting).await;
    if let Err(why) = &observed {
        tracing::warn!(%name, %why, "a setting that was written cannot be read");
    }
    let mut rows = vec![("old".to_owned(), Value::Text(old.clone()))];
    rows.extend(observed.map(|observed| (name.to_owned(), Value::Text(observed))));
    let seconds = setting.confirm_s;
    if seconds > 0 {
        let confirmed = pending.wait(permit.caller().key, name, value);
        let within = i64::try_from(seconds).unwrap_or(i64::MAX);
        let mut said = rows.clone();
        said.push(("confirm_within_s".to_owned(), Value::Int(within)));
        context.report_progress(Map::named(said)).await;
        let confirmed = timeout(Duration::from_secs(seconds), confirmed).await;
        if !matches!(confirmed, Ok(Ok(()))) {
            return match take_back_for_certain(here, &undo).await {
                Ok(()) => failed(&format!(
                    "nobody confirmed it within {seconds} s; {name} is {old} again"
                )),
                Err(why) => OperationResult::failed(
                    Code::Unknown,
                    &format!("it cannot be taken back: {why}"),
                ),
            };
        }
    }
    match remove(&file) {
        Ok(()) => done(rows),
        Err(error) => OperationResult::failed(Code::Store, &error.to_string()),
    }
}

/// After a stop: a change that was not confirmed is taken back.
pub(super) async fn resume(
    here: SettingsContext<'_>,
    pending: &Pending,
    command: &Hash,
) -> OperationResult {
    let Some(undo) = undo(here.config).filter(|undo| undo.command == command.hex()) else {
        return OperationResult::failed(Code::Unknown, "the device stopped while it ran");
    };
    let taken_back = take_back_for_certain(here, &undo).await;
    pending.end();
    match taken_back {
        Ok(()) => OperationResult::failed(
            Code::Failed,
            &format!(
                "the device stopped before it was confirmed; {} is {} again",
                undo.name, undo.old
            ),
        ),
        Err(why) => {
            OperationResult::failed(Code::Unknown, &format!("it cannot be taken back: {why}"))
        }
    }
}

/// Takes a change back for as long as it takes: what it needs may only be starting.
async fn take_back_for_certain(here: SettingsContext<'_>, undo: &Undo) -> Result<(), String> {
    retry(ATTEMPTS, PAUSE, || async {
        let taken_back = take_back(here, undo).await;
        if let Err(why) = &taken_back {
            tracing::warn!(setting = %undo.name, %why, "it cannot be taken back yet");
        }
        taken_back
    })
    .await
}

enum Begin {
    New,
    Confirms,
    Other,
}

impl Pending {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a command means, with what is waiting.
    fn begin(&self, permit: &Permit, name: &str, value: &Value) -> Begin {
        let mut state = self.state();
        let owner = permit.share().is_none();
        match std::mem::replace(&mut *state, State::Begun) {
            State::Nothing => Begin::New,
            State::Waiting(waiting)
                if waiting.name == name
                    && waiting.value == *value
                    && (owner || waiting.key == permit.caller().key) =>
            {
                // If its time was over just now, it has been taken back.
                match waiting.confirmed.send(()) {
                    Ok(()) => Begin::Confirms,
                    Err(()) => Begin::Other,
                }
            }
            other => {
                *state = other;
                Begin::Other
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
        *self.state() = State::Nothing;
    }
}

fn keep(file: &Path, undo: &Undo) -> Result<(), files::FileError> {
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

async fn take_back(here: SettingsContext<'_>, undo: &Undo) -> Result<(), String> {
    let setting = here.config.settings.get(&undo.name);
    let setting = setting.ok_or("it is no longer configured")?;
    set(here, setting, &Value::Text(undo.old.clone())).await?;
    remove(&undo_file(here.config)).map_err(|error| error.to_string())
}

async fn get(here: SettingsContext<'_>, setting: &Setting) -> Result<String, String> {
    let asked = async {
        match (&setting.variable, here.ups) {
            (Some(variable), Some(ups)) => ups.get(variable).await,
            _ => exec::output(&setting.get, LONGEST).await?.printed(),
        }
    };
    let late = |_| Err("its value cannot be read in time".to_owned());
    timeout(PATIENCE, asked).await.unwrap_or_else(late)
}

async fn set(here: SettingsContext<'_>, setting: &Setting, value: &Value) -> Result<(), String> {
    let asked = async {
        match (&setting.variable, here.ups) {
            (Some(variable), Some(ups)) => ups.set(variable, value).await,
            _ => {
                let args = Map::named([("value", value.clone())]);
                let argv = filled(&setting.set, &args).ok_or("no program is configured")?;
                exec::output(&argv, LONGEST).await?.printed().map(drop)
            }
        }
    };
    let late = |_| Err("it cannot be set in time".to_owned());
    timeout(PATIENCE, asked).await.unwrap_or_else(late)
}

fn done(rows: Vec<(String, Value)>) -> OperationResult {
    OperationResult::done(Map::named(rows))
}
