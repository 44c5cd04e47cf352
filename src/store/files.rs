//! Small files that are either the old one or the new one, never half of each.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::{Doing, StoreError};

/// Replaces a file: write beside it, fsync, rename, fsync the directory.
pub(super) fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), StoreError> {
    let temporary = path.with_extension("new");
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        sync_parent(path)
    };
    write().doing("replace", path)
}

/// Makes a file's name durable.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Reads a file of at most `limit` bytes.
pub(super) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, StoreError> {
    let read = || -> io::Result<Vec<u8>> {
        if fs::metadata(path)?.len() > limit {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("it is larger than {limit} bytes"),
            ));
        }
        fs::read(path)
    };
    read().doing("read", path)
}

/// Takes the lock that only one process can hold; it ends with the process.
pub(super) fn lock(path: &Path) -> Result<File, StoreError> {
    let lock = || -> io::Result<File> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(io::Error::new(
                io::ErrorKind::WouldBlock,
                "another doorward is using this state directory; stop it first",
            )),
            Err(TryLockError::Error(error)) => Err(error),
        }
    };
    lock().doing("lock", path)
}
