//! The state directory as a whole: opened by one process, written to in batches.

use crate::core::{Batch, RecoveredState};
use std::fs::File;
use std::path::{Path, PathBuf};

use crate::store::{Cache, Identity};
use doorward_protocol::event_log::record::Record;
use doorward_transport::event_log::{self, Damage, Log};
use doorward_transport::files;
use doorward_transport::files::{Doing, FileError};

/// The open state directory. One process at a time.
pub struct Store {
    directory: PathBuf,
    log: Log,
    cache: Cache,
    failed: bool,
    _lock: File,
}

/// A store as it was found.
pub struct Opened {
    /// For writing.
    pub store: Store,
    /// Who this device is.
    pub identity: Identity,
    /// The log, oldest record first.
    pub records: Vec<Record>,
    /// Statements from the cache, unchecked.
    pub statements: Vec<Vec<u8>>,
    /// What was found damaged in the log.
    pub damage: Option<Damage>,
    /// Whole records from beyond a break.
    pub salvaged: Vec<Record>,
    /// What else people should know, as sentences.
    pub notes: Vec<String>,
}

impl Opened {
    /// The open store, the state for the core, and the notes for people, with the damage among them.
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

/// The layout that this version reads and writes. Version 0 had no file of this name.
const SCHEMA: u32 = 1;

/// Refuses a store of a later version, and brings one of an earlier version up to this one.
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
        // Between 0 and 1 nothing else has changed that is not read again from the brokers.
        // A file that was emptied or overwritten says nothing; the rest looks after itself.
        Some(0) | None => files::replace(&path, SCHEMA.to_string().as_bytes(), 0o600),
        Some(later) => Err(files::invalid(format!(
            "it is of version {later}, made by a later doorward; this one reads up to {SCHEMA}"
        )))
        .doing("open", directory),
    }
}

impl Store {
    /// Opens the state directory of a provisioned device, mending what can be mended.
    ///
    /// # Errors
    /// If it is not provisioned, in use by another process, or cannot be read or written.
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
                "the cache of statements was gone; what the log knows is asked for again".into(),
            );
        }
        if records.is_empty() && identity.registration.is_some() {
            found.notes.push(
                "the event log was gone; a new epoch ends every command signed before".into(),
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

    /// Makes a batch durable. The cache comes before the log: a statement that the log knows
    /// and the cache lacks would have to be asked for again. New issuers come after it: the
    /// log must know that numbers begin anew before anything is signed by the new keys.
    ///
    /// # Errors
    /// If any part could not be made durable; then nothing of it may be acted upon, and every
    /// later batch is refused too, since it would build on this one.
    pub fn commit(&mut self, batch: &Batch) -> Result<(), FileError> {
        if self.failed {
            let error = std::io::Error::other("an earlier write failed; restart doorward");
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
        let (gone, new): (Vec<_>, Vec<_>) = batch.registration.iter().partition(|it| it.is_empty());
        for registration in new {
            Identity::replace_registration(&self.directory, registration)?;
        }
        if !batch.put.is_empty() || !batch.remove.is_empty() {
            self.cache.write(&batch.put, &batch.remove)?;
        }
        if !batch.log.is_empty() {
            self.log.write(&batch.log)?;
        }
        // The log must know first that the device was deleted.
        for nothing in gone {
            Identity::replace_registration(&self.directory, nothing)?;
        }
        if let Some(issuers) = &batch.issuers {
            Identity::replace_issuers(&self.directory, issuers)?;
        }
        Ok(())
    }
}

/// Makes room in the log of a device whose daemon is stopped: every segment but the newest
/// goes. Returns how many records went.
///
/// # Errors
/// If the daemon runs, the log is damaged, or a file cannot be removed.
pub fn trim_log(state: &Path) -> Result<u64, FileError> {
    let _lock = files::lock(&state.join("lock"))?;
    event_log::trim(&state.join("log"))
}

/// Forgets all that is in the state directory of a device whose daemon is stopped: who it is, whose
/// it was, what it knew and what it has written down. When this was cut short it is called again.
///
/// # Errors
/// If the daemon runs, or something cannot be removed.
pub fn forget(state: &Path) -> Result<(), FileError> {
    let _lock = files::lock(&state.join("lock"))?;
    crate::store::pinned::forget(state)
}
