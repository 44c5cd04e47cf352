//! The state directory: opened by one process, written in batches.

use crate::core::{Batch, RecoveredState};
use std::fs::File;
use std::path::{Path, PathBuf};

use crate::store::{Cache, Identity};
use doorward_protocol::event_log::record::Record;
use doorward_transport::event_log::{self, Damage, Log};
use doorward_transport::files;
use doorward_transport::files::{Doing, FileError};

/// The open state directory, used by one process at a time.
pub struct Store {
    directory: PathBuf,
    log: Log,
    cache: Cache,
    failed: bool,
    _lock: File,
}

/// An opened store with its content.
pub struct Opened {
    /// The store, for writing.
    pub store: Store,
    /// The device's identity.
    pub identity: Identity,
    /// The records of the log, oldest first.
    pub records: Vec<Record>,
    /// Statements from the cache, not verified.
    pub statements: Vec<Vec<u8>>,
    /// Damage found in the log.
    pub damage: Option<Damage>,
    /// Intact records after the damage.
    pub salvaged: Vec<Record>,
    /// Other notes for the administrator, as sentences.
    pub notes: Vec<String>,
}

impl Opened {
    /// Splits into the store, the state for the core, and the notes, which include the damage.
    #[must_use]
    pub fn into_parts(self) -> (Store, RecoveredState, Vec<String>) {
        let Identity {
            device,
            key,
            issuers,
            registration,
        } = self.identity;
        let mut notes = self.notes;
        notes.extend(self.damage.as_ref().map(ToString::to_string));
        let found = RecoveredState {
            device,
            key,
            issuers,
            registration,
            records: self.records,
            statements: self.statements,
            log_broken: self.damage.as_ref().is_some_and(Damage::is_break),
            salvaged: self.salvaged,
        };
        (self.store, found, notes)
    }
}

/// The version of the layout that this program reads and writes. Version 0 had no `schema` file.
const SCHEMA: u32 = 1;

/// Refuses a store of a later version and upgrades one of an earlier version.
fn check_schema(directory: &Path) -> Result<(), FileError> {
    let path = directory.join("schema");
    let found = match files::read_if_there(&path, 1 << 16)? {
        Some(bytes) => std::str::from_utf8(&bytes)
            .ok()
            .and_then(|text| text.trim().parse().ok()),
        None => Some(0),
    };
    match found {
        Some(SCHEMA) => Ok(()),
        // Version 1 changed nothing else that is not requested from the brokers again. A file that
        // is empty or unreadable counts as version 0; other damage is detected when files are read.
        Some(0) | None => files::replace(&path, SCHEMA.to_string().as_bytes(), 0o600),
        Some(later) => Err(files::invalid(format!(
            "its layout has version {later}; this doorward supports versions up to {SCHEMA}"
        )))
        .doing("open", directory),
    }
}

impl Store {
    /// Opens the state directory of a provisioned device and repairs what can be repaired.
    ///
    /// # Errors
    /// If it is not provisioned, is in use by another process, or cannot be read or written.
    pub fn open(directory: &Path) -> Result<Opened, FileError> {
        let identity = Identity::load(directory)?;
        let lock = files::lock(&directory.join("lock"))?;
        check_schema(directory)?;
        let event_log::Opened {
            log,
            records,
            damage,
            salvaged,
        } = Log::open(&directory.join("log"))?;
        let cache = directory.join("cache");
        let lost = !cache.exists() && !records.is_empty();
        let mut found = Cache::open(&cache)?;
        if lost {
            found.notes.push(
                "the cache of statements was missing; its statements are requested again".into(),
            );
        }
        if records.is_empty() && identity.registration.is_some() {
            found.notes.push(
                "the event log was missing; a new epoch invalidates all commands signed before"
                    .into(),
            );
        }
        Ok(Opened {
            store: Self {
                directory: directory.to_owned(),
                log,
                cache: found.cache,
                failed: false,
                _lock: lock,
            },
            identity,
            records,
            statements: found.statements,
            damage,
            salvaged,
            notes: found.notes,
        })
    }

    /// Makes a batch durable. The cache is written before the log: a statement that is in the log
    /// but not in the cache would have to be requested again. New issuers are written after it: the
    /// log must record that sequence numbers restart before anything signed by the new keys counts.
    ///
    /// # Errors
    /// If any part could not be made durable; then none of it may have effects, and every later
    /// batch is refused too, since it depends on this one.
    pub fn commit(&mut self, batch: &Batch) -> Result<(), FileError> {
        if self.failed {
            let error =
                std::io::Error::other("an earlier write failed; the store must be reopened");
            return Err(error).doing("write to", &self.directory);
        }
        let result = self.try_commit(batch);
        if result.is_err() {
            self.failed = true;
            self.cache.abandon();
        }
        result
    }

    fn try_commit(&mut self, batch: &Batch) -> Result<(), FileError> {
        let (deleted, new): (Vec<_>, Vec<_>) =
            batch.registration.iter().partition(|it| it.is_empty());
        for registration in new {
            Identity::replace_registration(&self.directory, registration)?;
        }
        if !batch.put.is_empty() || !batch.remove.is_empty() {
            self.cache.write(&batch.put, &batch.remove)?;
        }
        if !batch.log.is_empty() {
            self.log.write(&batch.log)?;
        }
        // The log must record first that the device was deleted.
        for empty in deleted {
            Identity::replace_registration(&self.directory, empty)?;
        }
        if let Some(issuers) = &batch.issuers {
            Identity::replace_issuers(&self.directory, issuers)?;
        }
        Ok(())
    }
}

/// Deletes all segments of the log but the newest, on a device whose daemon is stopped. Returns the
/// number of deleted records.
///
/// # Errors
/// If the daemon runs, the log is damaged, or a file cannot be removed.
pub fn trim_log(state: &Path) -> Result<u64, FileError> {
    let _lock = files::lock(&state.join("lock"))?;
    event_log::trim(&state.join("log"))
}

/// Deletes the content of the state directory of a device whose daemon is stopped: identity,
/// registration, statements and log. It can be called again after an interruption.
///
/// # Errors
/// If the daemon runs, or a file cannot be removed.
pub fn forget(state: &Path) -> Result<(), FileError> {
    let _lock = files::lock(&state.join("lock"))?;
    crate::store::pinned::wipe(state)
}
