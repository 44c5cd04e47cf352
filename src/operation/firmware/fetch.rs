//! Fetches an image from the first source that has it, with the size and hash of the release. After
//! an interruption, only the missing bytes are fetched.

use std::io::{ErrorKind, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio::time::sleep;

use crate::config::Source;
use crate::core::OperationResult;
use crate::operation::firmware::http::{Body, open};
use crate::operation::firmware::{FirmwareJob, failed};
use doorward_protocol::gate::Code;
use doorward_protocol::wire::{Bytes, Hash, ReleaseBody};
use doorward_transport::files;

/// Attempts at a source without receiving further bytes.
const ATTEMPTS: u32 = 5;
/// Size of the read buffer, in bytes.
const BUFFER: usize = 64 * 1024;

/// The reason why an image could not be fetched.
pub(super) enum FetchError {
    /// The transfer was interrupted and can be continued.
    Retryable(String),
    /// The source cannot be used; a retry would not help.
    Unusable(String),
    /// The source has something other than the image.
    WrongImage(String),
    /// The disk has too little free space.
    DiskFull(String),
}

impl From<std::io::Error> for FetchError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::DiskFull(error.to_string()),
            _ => Self::Retryable(error.to_string()),
        }
    }
}

/// Returns the path of the complete, checked image.
pub(super) async fn staged(
    job: &FirmwareJob<'_>,
    release: &ReleaseBody,
) -> Result<PathBuf, OperationResult> {
    let directory = directory(job.state);
    let error = |error: files::FileError| failed(Code::Failed, &error.to_string());
    files::create_private_directory(&directory).map_err(error)?;
    let name = release.sha256.hex();
    let (image, part) = (
        directory.join(format!("{name}.image")),
        directory.join(format!("{name}.part")),
    );
    // Only one image is kept, since the disk of a device is small.
    files::sweep(&directory, |path| path == image || path == part);
    if image.exists() {
        match hash_of(image.clone()).await {
            Ok((size, hash)) if size == release.size && hash == release.sha256 => return Ok(image),
            _ => drop(std::fs::remove_file(&image)),
        }
    }
    let (mut reasons, mut code) = (Vec::new(), Code::Failed);
    for source in &job.firmware.sources {
        match from_source(job, release, source, &part).await {
            Ok(()) => {
                // The file is hashed again from the disk.
                let kept = hash_of(part.clone()).await;
                if !kept.is_ok_and(|kept| kept == (release.size, release.sha256)) {
                    let _ = std::fs::remove_file(&part);
                    return Err(failed(
                        Code::BadImage,
                        "the file on disk differs from the fetched image",
                    ));
                }
                let named = std::fs::rename(&part, &image);
                let named = named.and_then(|()| files::sync_parent(&image));
                return match named {
                    Ok(()) => Ok(image),
                    Err(error) => Err(failed(Code::Failed, &error.to_string())),
                };
            }
            Err(error) => {
                if let FetchError::WrongImage(_) = &error {
                    code = Code::BadImage;
                }
                let disk_full = matches!(error, FetchError::DiskFull(_));
                let (FetchError::Retryable(why)
                | FetchError::Unusable(why)
                | FetchError::WrongImage(why)
                | FetchError::DiskFull(why)) = error;
                reasons.push(why);
                if disk_full {
                    let _ = std::fs::remove_file(&part);
                    break;
                }
            }
        }
    }
    Err(failed(code, &reasons.join("; ")))
}

/// Deletes staged images.
pub(in crate::operation) fn clear(state: &Path) {
    files::sweep(&directory(state), |_| false);
}

/// Deletes partly fetched images.
pub(in crate::operation) fn drop_parts(state: &Path) {
    let is_part = |path: &Path| path.extension().is_some_and(|it| it == "part");
    files::sweep(&directory(state), |path| !is_part(path));
}

fn directory(state: &Path) -> PathBuf {
    state.join("firmware")
}

async fn from_source(
    job: &FirmwareJob<'_>,
    release: &ReleaseBody,
    source: &Source,
    part: &Path,
) -> Result<(), FetchError> {
    let mut attempts = 0;
    let mut before = 0;
    loop {
        let had_part = std::fs::metadata(part).is_ok_and(|it| it.len() > 0);
        let interrupted = match one_attempt(job, release, source, part).await {
            Err(FetchError::Retryable(why)) => why,
            Err(FetchError::WrongImage(why)) => {
                let _ = std::fs::remove_file(part);
                // The existing part may have been of another file.
                match had_part {
                    true => continue,
                    false => return Err(FetchError::WrongImage(why)),
                }
            }
            result => return result,
        };
        let got = std::fs::metadata(part).map_or(0, |it| it.len());
        attempts = if got > before { 0 } else { attempts + 1 };
        before = got;
        if attempts >= ATTEMPTS {
            return Err(FetchError::Retryable(interrupted));
        }
        sleep(Duration::from_millis(250 << attempts)).await;
    }
}

async fn one_attempt(
    job: &FirmwareJob<'_>,
    release: &ReleaseBody,
    source: &Source,
    part: &Path,
) -> Result<(), FetchError> {
    let mut file = tokio::fs::OpenOptions::new()
        .create(true)
        .read(true)
        .write(true)
        .truncate(false)
        .mode(0o600)
        .open(part)
        .await?;
    let mut sha = Sha256::new();
    let mut got = hashed(&mut file, &mut sha).await?;
    if got > release.size {
        return Err(FetchError::WrongImage(
            "the bytes fetched before are more than the image has".to_owned(),
        ));
    }
    if got < release.size {
        check_free_space(job, part, release.size - got)?;
        let mut body = match source {
            Source::File(path) => Body::from(local(release, path, got).await?),
            Source::Https { host, port, path } => {
                let path = fill_placeholders(path, release);
                open(job, (host, *port, &path), got, release.size).await?
            }
        };
        if body.offset() < got {
            // The source cannot continue in the middle and sends the complete image.
            file.set_len(0).await?;
            file.rewind().await?;
            (sha, got) = (Sha256::new(), 0);
        }
        let mut reported = percent(got, release.size);
        job.report_progress("fetching", reported).await;
        while let Some(bytes) = body.next().await? {
            got += bytes.len() as u64;
            if got > release.size {
                return Err(FetchError::WrongImage(format!(
                    "the image is longer than the {} bytes of the release",
                    release.size
                )));
            }
            sha.update(&bytes);
            file.write_all(&bytes).await?;
            let now = percent(got, release.size);
            if now >= reported + 10 {
                reported = now;
                job.report_progress("fetching", reported).await;
            }
        }
    }
    file.sync_all().await?;
    if got < release.size {
        let why = format!(
            "the transfer was interrupted after {got} of {} bytes",
            release.size
        );
        return match source {
            // A file is complete, so a retry would not help.
            Source::File(_) => Err(FetchError::WrongImage(why)),
            Source::Https { .. } => Err(FetchError::Retryable(why)),
        };
    }
    match Bytes(sha.finalize().into()) == release.sha256 {
        true => Ok(()),
        false => Err(FetchError::WrongImage(
            "the SHA-256 of the image is not that of the release".to_owned(),
        )),
    }
}

/// Checks that `more` bytes leave enough free space for the event log. On a full disk, every
/// command is denied.
fn check_free_space(job: &FirmwareJob<'_>, part: &Path, more: u64) -> Result<(), FetchError> {
    let disk = rustix::fs::statvfs(part).map_err(std::io::Error::from)?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    match more.saturating_add(job.reserve) > free {
        true => Err(FetchError::DiskFull(format!(
            "{} MiB are free; the image needs {} MiB, and {} MiB are reserved for the event log",
            free >> 20,
            (more >> 20) + 1,
            job.reserve >> 20
        ))),
        false => Ok(()),
    }
}

fn percent(got: u64, size: u64) -> u64 {
    got.saturating_mul(100).checked_div(size).unwrap_or(100)
}

/// Hashes the existing part of the image and leaves the file at its end.
async fn hashed(file: &mut tokio::fs::File, sha: &mut Sha256) -> std::io::Result<u64> {
    file.rewind().await?;
    let mut buffer = vec![0; BUFFER];
    loop {
        match file.read(&mut buffer).await? {
            0 => return file.stream_position().await,
            read => sha.update(buffer.get(..read).unwrap_or_default()),
        }
    }
}

/// Opens a file source, for example on a USB drive: a regular file of the right size, and no
/// symbolic link.
async fn local(
    release: &ReleaseBody,
    path: &Path,
    from: u64,
) -> Result<tokio::fs::File, FetchError> {
    let path = fill_placeholders(path.to_str().unwrap_or_default(), release);
    let unusable = |error: std::io::Error| FetchError::Unusable(format!("{path}: {error}"));
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(&path, flags, Mode::empty());
    let file = std::fs::File::from(file.map_err(|error| unusable(error.into()))?);
    let metadata = file.metadata().map_err(unusable)?;
    if !metadata.is_file() {
        return Err(FetchError::Unusable(format!("{path}: not a regular file")));
    }
    if metadata.len() != release.size {
        let (size, expected) = (metadata.len(), release.size);
        let why = format!("{path} has {size} bytes, the release {expected}");
        return Err(FetchError::WrongImage(why));
    }
    let mut file = tokio::fs::File::from_std(file);
    file.seek(SeekFrom::Start(from)).await?;
    Ok(file)
}

/// Replaces the placeholders of a source by the values of the release. Characters of the model
/// other than letters, digits, `-` and `_` are percent-encoded, so that it cannot change the path;
/// a dot between letters or digits is kept.
fn fill_placeholders(text: &str, release: &ReleaseBody) -> String {
    let bytes = release.model.as_str().as_bytes();
    let is_alphanumeric = |at: Option<usize>| {
        let byte = at.and_then(|at| bytes.get(at));
        byte.is_some_and(|byte| byte.is_ascii_alphanumeric())
    };
    let mut model = String::new();
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'.' if is_alphanumeric(at.checked_sub(1)) && is_alphanumeric(Some(at + 1)) => {
                model.push('.')
            }
            b'-' | b'_' => model.push(char::from(*byte)),
            _ if byte.is_ascii_alphanumeric() => model.push(char::from(*byte)),
            _ => model.push_str(&format!("%{byte:02X}")),
        }
    }
    text.replace("{model}", &model)
        .replace("{version}", &release.version.to_string())
        .replace("{sha256}", &release.sha256.hex())
}

async fn hash_of(path: PathBuf) -> std::io::Result<(u64, Hash)> {
    let hashed = tokio::task::spawn_blocking(move || files::measure(&path)).await;
    hashed.map_err(std::io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorward_protocol::wire::{Id, Text};

    #[test]
    fn a_model_leads_to_no_other_place() {
        let path = |model: &str| {
            let release = ReleaseBody {
                format: 1,
                vendor: Id::new("acme").unwrap(),
                model: Text::new(model).unwrap(),
                version: 8,
                size: 1,
                sha256: Bytes([0xab; 32]),
                minimum: 0,
            };
            fill_placeholders("/fw/{model}/{version}", &release)
        };
        for (model, expected) in [
            ("Smart-UPS 1500", "/fw/Smart-UPS%201500/8"),
            ("v1.2", "/fw/v1.2/8"),
            ("..", "/fw/%2E%2E/8"),
            ("../../etc", "/fw/%2E%2E%2F%2E%2E%2Fetc/8"),
            ("a/../b", "/fw/a%2F%2E%2E%2Fb/8"),
            ("x?y#z", "/fw/x%3Fy%23z/8"),
            ("a\u{e9}", "/fw/a%C3%A9/8"),
            ("{version}", "/fw/%7Bversion%7D/8"),
        ] {
            assert_eq!(path(model), expected, "{model}");
        }
    }
}
