//! Small files that are either the old one or the new one, never half of each.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use sha2::{Digest, Sha256};

use doorward_protocol::wire::{Bytes, Hash};

/// Why a file could not be used, with its path.
#[derive(Debug)]
pub struct FileError {
    /// What was tried, for people.
    pub doing: String,
    /// What went wrong.
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

/// An error for content that makes no sense.
pub fn invalid(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Creates a directory, and those above it, that only their owner can enter.
pub fn create_private_directory(path: &Path) -> Result<(), FileError> {
    create_directory(path, 0o700)
}

/// Creates a directory, and those above it, with a mode.
pub fn create_directory(path: &Path, mode: u32) -> Result<(), FileError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .and_then(|()| sync_parent(path))
        .doing("create", path)
}

/// Gives a file, or a directory with all that is in it, to whoever `like` belongs to. Only root can
/// and need do so.
pub fn give_to_owner_of(like: &Path, path: &Path) -> Result<(), FileError> {
    let owner = fs::metadata(like).doing("look at", like)?;
    let given = fs::symlink_metadata(path).doing("look at", path)?;
    if (given.uid(), given.gid()) != (owner.uid(), owner.gid()) {
        std::os::unix::fs::lchown(path, Some(owner.uid()), Some(owner.gid()))
            .doing("change the owner of", path)?;
    }
    if given.is_dir() {
        for entry in fs::read_dir(path).doing("read", path)? {
            give_to_owner_of(like, &entry.doing("read", path)?.path())?;
        }
    }
    Ok(())
}

/// Makes a file that only its owner can read, if it is not there.
pub fn create_private(path: &Path) -> Result<(), FileError> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map(drop)
        .doing("create", path)
}

/// Replaces a file: write beside it, fsync, rename, fsync the directory.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let temporary = path.with_extension("new");
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&temporary)?;
        // Whatever the umask takes away: who may read it is said here.
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        sync_parent(path)
    };
    write().doing("replace", path)
}

/// Makes a file's name durable.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        // A bare file name is in the working directory.
        Some(parent) if parent.as_os_str().is_empty() => File::open(".")?.sync_all(),
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// The length of a file and the SHA-256 of all of it, however large.
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

/// Removes those files of a directory that are not needed, as far as that works.
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
        if fs::metadata(path)?.len() > limit {
            return Err(invalid(format!("it is larger than {limit} bytes")));
        }
        fs::read(path)
    };
    read().doing("read", path)
}

/// The same for a file that may be missing.
pub fn read_if_there(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, FileError> {
    match read(path, limit) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes a file, if it is there.
pub fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).doing("remove", path),
        _ => Ok(()),
    }
}

/// The same for a file that not everybody may read.
pub fn read_secret(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let mode = fs::metadata(path).doing("read", path)?.mode();
    if mode & 0o007 != 0 {
        let why = "it is secret, and everybody can get at it; run chmod o-rwx";
        return Err(invalid(why)).doing("use", path);
    }
    read(path, limit)
}
/// Takes the lock that only one process can hold; it ends with the process. A program that it
/// was just starting when it was killed may hold it a moment longer.
pub fn lock(path: &Path) -> Result<File, FileError> {
    let lock = || -> io::Result<File> {
        let file = lock_file(path)?;
        if lock_in_a_moment(&file)? {
            return Ok(file);
        }
        Err(io::Error::new(
            io::ErrorKind::WouldBlock,
            "another process holds it; stop that one first",
        ))
    };
    lock().doing("lock", path)
}
/// Takes a lock as soon as it is free, or gives up after a second. Whether it was taken.
pub fn lock_in_a_moment(file: &File) -> io::Result<bool> {
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
/// Takes the lock as soon as whoever holds it lets go.
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
