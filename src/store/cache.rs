//! Cache of statements as received, in sled. It may be damaged at any time: it is compared with
//! the log at the start, and lost statements are requested again.
//!
//! sled's own `flush` does not survive a power cut (it calls `sync_file_range`), a left-over
//! `snap.*.generating` keeps it from opening, and damage can make it panic while it opens.
//! Dropping it panics if the disk fails at that moment, and until it is dropped it keeps its
//! lock. The workarounds are in this file; no other module uses sled.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use doorward_transport::files;
use doorward_transport::files::{Doing, FileError};

/// Size limit of a statement that is read back, in bytes.
const MAX_STATEMENT: usize = doorward_protocol::wire::MAX_BUNDLE;

/// Timer slack of sled's threads.
const TIMER_SLACK: std::time::Duration = std::time::Duration::from_secs(3600);

/// An opened cache with its content.
pub struct OpenedCache {
    /// The cache, for writing.
    pub cache: Cache,
    /// The statements in it, not verified.
    pub statements: Vec<Vec<u8>>,
    /// Notes for the administrator, as sentences.
    pub notes: Vec<String>,
}

/// The open cache.
pub struct Cache {
    /// `None` only while this is dropped.
    db: Option<sled::Db>,
    file: File,
    path: PathBuf,
    failed: bool,
}

impl Drop for Cache {
    /// Closes the database. After a failed write it is leaked instead, since dropping it may panic.
    fn drop(&mut self) {
        let db = self.db.take();
        let flushed = db.as_ref().is_none_or(|db| db.flush().is_ok());
        if self.failed || !flushed || self.file.sync_all().is_err() {
            std::mem::forget(db);
        }
    }
}

impl Cache {
    /// Opens the cache and reads all of it. A cache that cannot be opened, or during whose opening
    /// two starts in a row ended, is quarantined and replaced by a new one.
    ///
    /// # Errors
    /// If a new cache cannot be created either.
    pub fn open(path: &Path) -> Result<OpenedCache, FileError> {
        let mut notes = Vec::new();
        // A release build aborts when sled panics, so each attempt is recorded first.
        let marker = path.with_extension("opening");
        let attempts = fs::read(&marker).map_or(0, |tries| tries.len());
        fs::write(&marker, vec![b'.'; attempts + 1]).doing("write", &marker)?;
        if attempts >= 2 {
            notes.push(quarantine(path, "doorward failed to start with it twice")?);
        }
        let (cache, statements) = match Self::read_all(path) {
            Ok(opened) => opened,
            Err(error) => {
                notes.push(quarantine(path, &error.to_string())?);
                Self::read_all(path)?
            }
        };
        fs::remove_file(&marker).doing("remove", &marker)?;
        Ok(OpenedCache {
            cache,
            statements,
            notes,
        })
    }

    fn read_all(path: &Path) -> Result<(Self, Vec<Vec<u8>>), FileError> {
        remove_partial_snapshots(path).doing("clean up", path)?;
        if !path.exists() {
            // Created under another name, so that a crash leaves no incomplete cache.
            let fresh = path.with_extension("fresh");
            if fresh.exists() {
                fs::remove_dir_all(&fresh).doing("remove", &fresh)?;
            }
            drop(open_sled(&fresh)?);
            fs::rename(&fresh, path)
                .and_then(|()| files::sync_parent(path))
                .doing("create", path)?;
        }
        if !is_free(path).doing("check the lock of", path)? {
            replace_by_copy(path).doing("copy", path)?;
        }
        let (db, file) = open_sled(path)?;
        let mut statements = Vec::new();
        for entry in db.iter() {
            let (_, value) = entry.map_err(io::Error::from).doing("read", path)?;
            if value.len() <= MAX_STATEMENT {
                statements.push(value.to_vec());
            }
        }
        let cache = Self {
            db: Some(db),
            file,
            path: path.to_owned(),
            failed: false,
        };
        Ok((cache, statements))
    }

    /// Writes and removes statements and makes the changes durable.
    ///
    /// # Errors
    /// If the changes could not be made durable.
    pub fn write(&mut self, put: &[(String, Vec<u8>)], remove: &[String]) -> Result<(), FileError> {
        let write = || -> io::Result<()> {
            let mut batch = sled::Batch::default();
            for name in remove {
                batch.remove(name.as_bytes());
            }
            for (name, bytes) in put {
                batch.insert(name.as_bytes(), bytes.as_slice());
            }
            if let Some(db) = &self.db {
                db.apply_batch(batch)?;
                db.flush()?;
            }
            // sled stores values larger than a quarter of a segment in separate files and never
            // makes them durable.
            sync_blobs(&self.path.join("blobs"))?;
            self.file.sync_data()
        };
        let written = write().doing("write to", &self.path);
        self.failed |= written.is_err();
        written
    }

    /// Marks the cache as failed after another write to the disk failed: it is not used any more,
    /// nor closed.
    pub fn abandon(&mut self) {
        self.failed = true;
    }
}

/// Whether the lock of the cache is free. No other process can hold it, since the state directory
/// has a lock of its own; but a thread of sled may hold it a moment longer than its database, and
/// an abandoned database holds it permanently.
fn is_free(path: &Path) -> io::Result<bool> {
    match File::open(path.join("db")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        opened => files::try_lock_briefly(&opened?),
    }
}

/// Replaces the files, whose lock is held, by copies of them.
fn replace_by_copy(path: &Path) -> io::Result<()> {
    let (copy, held) = (path.with_extension("copy"), path.with_extension("held"));
    for leftover in [&copy, &held] {
        if leftover.exists() {
            fs::remove_dir_all(leftover)?;
        }
    }
    copy_directory(path, &copy)?;
    fs::rename(path, &held)?;
    fs::rename(&copy, path)?;
    files::sync_parent(path)?;
    fs::remove_dir_all(held)
}

fn copy_directory(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_directory(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
            File::open(target)?.sync_all()?;
        }
    }
    File::open(to)?.sync_all()
}

/// Runs `work` on a thread with a large timer slack. sled's threads poll every second although they
/// are also woken when there is work. They inherit the timer slack of the thread that starts them
/// (prctl(2), PR_SET_TIMERSLACK), so these polls wait until the processor is awake anyway.
fn with_timer_slack<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let slack = std::num::NonZeroU64::new(TIMER_SLACK.as_nanos() as u64);
    std::thread::scope(|scope| {
        let opening = scope.spawn(|| {
            let _ = rustix::thread::set_current_timer_slack(slack);
            work()
        });
        match opening.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn open_sled(path: &Path) -> Result<(sled::Db, File), FileError> {
    let open = || -> io::Result<(sled::Db, File)> {
        let db = with_timer_slack(|| {
            sled::Config::new()
                .path(path)
                .cache_capacity(2 << 20)
                .segment_size(64 << 10)
                .flush_every_ms(None)
                .open()
        })?;
        db.flush()?;
        for name in ["conf", "db"] {
            File::open(path.join(name))?.sync_all()?;
        }
        File::open(path)?.sync_all()?;
        let file = File::options().write(true).open(path.join("db"))?;
        Ok((db, file))
    };
    open().doing("open", path)
}

fn sync_blobs(blobs: &Path) -> io::Result<()> {
    if !blobs.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(blobs)? {
        File::open(entry?.path())?.sync_data()?;
    }
    File::open(blobs)?.sync_all()
}

fn remove_partial_snapshots(path: &Path) -> io::Result<()> {
    let Ok(entries) = fs::read_dir(path) else {
        return Ok(());
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().ends_with(".generating") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Moves a damaged cache to `cache.broken` for inspection, replacing an earlier one. Returns the
/// note for the administrator.
fn quarantine(path: &Path, why: &str) -> Result<String, FileError> {
    let broken = path.with_extension("broken");
    if broken.exists() {
        fs::remove_dir_all(&broken).doing("remove", &broken)?;
    }
    if path.exists() {
        fs::rename(path, &broken)
            .and_then(|()| files::sync_parent(path))
            .doing("quarantine", path)?;
    }
    Ok(format!(
        "the cache of statements was moved to {} and a new one was created: {why}",
        broken.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> (Cache, Vec<Vec<u8>>, Vec<String>) {
        let found = Cache::open(path).unwrap();
        (found.cache, found.statements, found.notes)
    }

    fn entries(statements: &[Vec<u8>]) -> Vec<&str> {
        let mut texts: Vec<_> = statements
            .iter()
            .map(|s| std::str::from_utf8(s).unwrap())
            .collect();
        texts.sort_unstable();
        texts
    }

    #[test]
    fn statements_come_back_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache");
        let (mut cache, found, _) = open(&path);
        assert!(found.is_empty());
        let put = |name: &str, text: &str| (name.to_owned(), text.as_bytes().to_vec());
        cache
            .write(&[put("a", "one"), put("b", "two")], &[])
            .unwrap();
        cache.write(&[put("a", "three")], &["b".into()]).unwrap();
        drop(cache);
        let (_, found, notes) = open(&path);
        assert_eq!(entries(&found), ["three"]);
        assert!(notes.is_empty());
    }

    #[test]
    fn a_half_written_snapshot_does_not_keep_it_from_opening() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache");
        let (mut cache, ..) = open(&path);
        cache.write(&[("a".into(), b"one".to_vec())], &[]).unwrap();
        drop(cache);
        fs::write(path.join("snap.00000.generating"), b"half").unwrap();
        let (_, found, notes) = open(&path);
        assert_eq!((entries(&found), notes.len()), (vec!["one"], 0));
    }

    #[test]
    fn an_abandoned_cache_is_left_alone_and_its_statements_live_on() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache");
        let (mut cache, ..) = open(&path);
        cache.write(&[("a".into(), b"one".to_vec())], &[]).unwrap();
        cache.abandon();
        drop(cache);
        let (mut cache, found, notes) = open(&path);
        assert_eq!((entries(&found), notes.len()), (vec!["one"], 0));
        cache.write(&[("b".into(), b"two".to_vec())], &[]).unwrap();
        drop(cache);
        assert_eq!(entries(&open(&path).1), ["one", "two"]);
    }

    #[test]
    fn a_cache_that_does_not_open_is_set_aside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache");
        drop(Cache::open(&path).unwrap());
        fs::remove_file(path.join("db")).unwrap();
        fs::create_dir(path.join("db")).unwrap();
        let (_, found, notes) = open(&path);
        assert_eq!((found.len(), notes.len()), (0, 1));
        assert!(directory.path().join("cache.broken").exists());
    }

    #[test]
    fn a_cache_that_ended_two_starts_is_set_aside_at_the_third() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache");
        let (mut cache, ..) = open(&path);
        cache.write(&[("a".into(), b"one".to_vec())], &[]).unwrap();
        drop(cache);
        let marker = directory.path().join("cache.opening");
        fs::write(&marker, b".").unwrap();
        let (cache, found, notes) = open(&path);
        assert_eq!((found.len(), notes.len()), (1, 0));
        drop(cache);
        fs::write(&marker, b"..").unwrap();
        let (_, found, notes) = open(&path);
        assert_eq!((found.len(), notes.len()), (0, 1));
        assert!(!marker.exists());
    }
}
