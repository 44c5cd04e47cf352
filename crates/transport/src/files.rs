//! Small files that are replaced atomically, and lock files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use sha2::{Digest, Sha256};

use doorward_protocol::wire::{Bytes, Hash};

/// A file error with its path.
#[derive(Debug)]
pub struct FileError {
    /// The failed action and the path, for people.
    pub doing: String,
    /// The cause.
    pub source: io::Error,
}

impl std::fmt::Display for FileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot {}: {}", self.doing, self.source)
    }
}

impl std::error::Error for FileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Adds the failed action and its path to an I/O error.
pub trait Doing<T> {
    /// Converts the error: `what` is the action, such as "read".
    ///
    /// # Errors
    /// The error itself.
    fn doing(self, what: &str, path: &Path) -> Result<T, FileError>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, what: &str, path: &Path) -> Result<T, FileError> {
        self.map_err(|source| FileError {
            doing: format!("{what} {}", path.display()),
            source,
        })
    }
}

/// An I/O error for invalid content.
pub fn invalid(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Creates a directory and its parents with mode 0700.
pub fn create_private_directory(path: &Path) -> Result<(), FileError> {
    create_directory(path, 0o700)
}

/// Creates a directory and its parents with a mode.
pub fn create_directory(path: &Path, mode: u32) -> Result<(), FileError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .and_then(|()| sync_parent(path))
        .doing("create", path)
}

/// Changes the owner of `path`, recursively, to the owner of `like`. Only root can do so.
pub fn give_to_owner_of(like: &Path, path: &Path) -> Result<(), FileError> {
    let owner = fs::metadata(like).doing("inspect", like)?;
    let current = fs::symlink_metadata(path).doing("inspect", path)?;
    if (current.uid(), current.gid()) != (owner.uid(), owner.gid()) {
        std::os::unix::fs::lchown(path, Some(owner.uid()), Some(owner.gid()))
            .doing("change the owner of", path)?;
    }
    if current.is_dir() {
        for entry in fs::read_dir(path).doing("read", path)? {
            give_to_owner_of(like, &entry.doing("read", path)?.path())?;
        }
    }
    Ok(())
}

/// Creates a file with mode 0600, if it does not exist.
pub fn create_private(path: &Path) -> Result<(), FileError> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map(drop)
        .doing("create", path)
}

/// Replaces a file atomically: writes a temporary file, fsync, rename, fsync of the directory.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let temporary = path.with_extension("new");
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&temporary)?;
        // The mode does not depend on the umask.
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        sync_parent(path)
    };
    write().doing("replace", path)
}

/// Makes a file's directory entry durable.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        // A bare file name is in the working directory.
        Some(parent) if parent.as_os_str().is_empty() => File::open(".")?.sync_all(),
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Returns the length and the SHA-256 of a file of any size.
pub fn measure(path: &Path) -> io::Result<(u64, Hash)> {
    let mut file = File::open(path)?;
    let (mut sha, mut size) = (Sha256::new(), 0);
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((size, Bytes(sha.finalize().into()))),
            read => {
                size += read as u64;
                sha.update(buffer.get(..read).unwrap_or_default());
            }
        }
    }
}

/// Deletes the files of a directory that are not needed. Errors are ignored.
pub fn sweep(directory: &Path, is_needed: impl Fn(&Path) -> bool) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if !is_needed(&entry.path()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Reads a file of at most `limit` bytes.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let read = || -> io::Result<Vec<u8>> {
        let too_large = || invalid(format!("it is larger than {limit} bytes"));
        let file = File::open(path)?;
        if file.metadata()?.len() > limit {
            return Err(too_large());
        }
        // Devices, pipes and files in /proc do not tell their length.
        let mut bytes = Vec::new();
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        match bytes.len() as u64 > limit {
            true => Err(too_large()),
            false => Ok(bytes),
        }
    };
    read().doing("read", path)
}

/// Reads a file of at most `limit` bytes; `None` if it does not exist.
pub fn read_if_there(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, FileError> {
    match read(path, limit) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Deletes a file, if it exists.
pub fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).doing("remove", path),
        _ => Ok(()),
    }
}

/// Reads a file of at most `limit` bytes, and refuses one that all users can access.
pub fn read_secret(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let mode = fs::metadata(path).doing("read", path)?.mode();
    if mode & 0o007 != 0 {
        let why = "it is secret, but all users can access it; run chmod o-rwx";
        return Err(invalid(why)).doing("use", path);
    }
    read(path, limit)
}
/// Acquires an exclusive lock, which is released when the process ends. Waits up to a second: a
/// child process of a killed process may hold the lock a little longer.
pub fn lock(path: &Path) -> Result<File, FileError> {
    let lock = || -> io::Result<File> {
        let file = lock_file(path)?;
        if try_lock_briefly(&file)? {
            return Ok(file);
        }
        Err(io::Error::new(
            io::ErrorKind::WouldBlock,
            "another process holds the lock; stop that process first",
        ))
    };
    lock().doing("lock", path)
}
/// Acquires a lock within a second. Returns whether it was acquired.
pub fn try_lock_briefly(file: &File) -> io::Result<bool> {
    const ATTEMPTS: u32 = 200;
    for _ in 0..ATTEMPTS {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(fs::TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(5)),
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(false)
}
/// Waits for a lock and acquires it.
pub fn wait_for_lock(path: &Path) -> Result<File, FileError> {
    let lock = || -> io::Result<File> {
        let file = lock_file(path)?;
        file.lock()?;
        Ok(file)
    };
    lock().doing("lock", path)
}

fn lock_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}
