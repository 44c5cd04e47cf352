//! Getting an image: from the first source that has it, whole, with the size and hash of the
//! release; what was fetched before a break is not fetched again.

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

/// How often a source is asked again that breaks off and does not get any further.
const ATTEMPTS: u32 = 5;
/// How much is read at once from a file.
const PIECE: usize = 64 * 1024;

/// Why an image could not be got.
pub(super) enum FetchError {
    /// The source is to be asked again from where it broke off.
    Off(String),
    /// It will not get any better.
    Useless(String),
    /// What it has is not the image.
    NotTheImage(String),
    /// The disk is needed for other things.
    NoRoom(String),
}

impl From<std::io::Error> for FetchError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::NoRoom(error.to_string()),
            _ => Self::Off(error.to_string()),
        }
    }
}

/// The path of an image that is whole.
pub(super) async fn staged(
    work: &FirmwareJob<'_>,
    release: &ReleaseBody,
) -> Result<PathBuf, OperationResult> {
    let directory = directory(work.state);
    let error = |error: files::FileError| failed(Code::Failed, &error.to_string());
    files::create_private_directory(&directory).map_err(error)?;
    let name = release.sha256.hex();
    let (image, part) = (
        directory.join(format!("{name}.image")),
        directory.join(format!("{name}.part")),
    );
    // One image at a time is kept; the disk of a device is small.
    files::sweep(&directory, |path| path == image || path == part);
    if image.exists() {
        match hash_of(image.clone()).await {
            Ok((size, hash)) if size == release.size && hash == release.sha256 => return Ok(image),
            _ => drop(std::fs::remove_file(&image)),
        }
    }
    let (mut reasons, mut code) = (Vec::new(), Code::Failed);
    for source in &work.firmware.sources {
        match from_source(work, release, source, &part).await {
            Ok(()) => {
                // What is on the disk counts, not what went by.
                let kept = hash_of(part.clone()).await;
                if !kept.is_ok_and(|kept| kept == (release.size, release.sha256)) {
                    let _ = std::fs::remove_file(&part);
                    return Err(failed(
                        Code::BadImage,
                        "the disk has not kept what was fetched",
                    ));
                }
                let named = std::fs::rename(&part, &image);
                let named = named.and_then(|()| files::sync_parent(&image));
                return match named {
                    Ok(()) => Ok(image),
                    Err(error) => Err(failed(Code::Failed, &error.to_string())),
                };
            }
            Err(broken) => {
                if let FetchError::NotTheImage(_) = &broken {
                    code = Code::BadImage;
                }
                let no_room = matches!(broken, FetchError::NoRoom(_));
                let (FetchError::Off(why)
                | FetchError::Useless(why)
                | FetchError::NotTheImage(why)
                | FetchError::NoRoom(why)) = broken;
                reasons.push(why);
                if no_room {
                    let _ = std::fs::remove_file(&part);
                    break;
                }
            }
        }
    }
    Err(failed(code, &reasons.join("; ")))
}

/// Lets go of what was staged.
pub(in crate::operation) fn clear(state: &Path) {
    files::sweep(&directory(state), |_| false);
}

/// Lets go of what was fetched in part.
pub(in crate::operation) fn drop_parts(state: &Path) {
    let is_part = |path: &Path| path.extension().is_some_and(|it| it == "part");
    files::sweep(&directory(state), |path| !is_part(path));
}

fn directory(state: &Path) -> PathBuf {
    state.join("firmware")
}

async fn from_source(
    work: &FirmwareJob<'_>,
    release: &ReleaseBody,
    source: &Source,
    part: &Path,
) -> Result<(), FetchError> {
    let mut attempts = 0;
    let mut before = 0;
    loop {
        let begun = std::fs::metadata(part).is_ok_and(|it| it.len() > 0);
        let broken = match one_attempt(work, release, source, part).await {
            Err(FetchError::Off(why)) => why,
            Err(FetchError::NotTheImage(why)) => {
                let _ = std::fs::remove_file(part);
                // The beginning may have been somebody else's.
                match begun {
                    true => continue,
                    false => return Err(FetchError::NotTheImage(why)),
                }
            }
            ended => return ended,
        };
        let got = std::fs::metadata(part).map_or(0, |it| it.len());
        attempts = if got > before { 0 } else { attempts + 1 };
        before = got;
        if attempts >= ATTEMPTS {
            return Err(FetchError::Off(broken));
        }
        sleep(Duration::from_millis(250 << attempts)).await;
    }
}

async fn one_attempt(
    work: &FirmwareJob<'_>,
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
        return Err(FetchError::NotTheImage(
            "what was fetched before is too long".to_owned(),
        ));
    }
    if got < release.size {
        has_room(work, part, release.size - got)?;
        let mut body = match source {
            Source::File(path) => Body::from(local(release, path, got).await?),
            Source::Https { host, port, path } => {
                let path = places(path, release);
                open(work, (host, *port, &path), got, release.size).await?
            }
        };
        if body.begins_at() < got {
            // It cannot go on in the middle, so all of it comes again.
            file.set_len(0).await?;
            file.rewind().await?;
            (sha, got) = (Sha256::new(), 0);
        }
        let mut told = percent(got, release.size);
        work.report_progress("fetching", told).await;
        while let Some(piece) = body.next().await? {
            got += piece.len() as u64;
            if got > release.size {
                return Err(FetchError::NotTheImage(format!(
                    "it is longer than the {} bytes of the release",
                    release.size
                )));
            }
            sha.update(&piece);
            file.write_all(&piece).await?;
            let now = percent(got, release.size);
            if now >= told + 10 {
                told = now;
                work.report_progress("fetching", told).await;
            }
        }
    }
    file.sync_all().await?;
    if got < release.size {
        let why = format!("it broke off after {got} of {} bytes", release.size);
        return match source {
            // A file does not grow.
            Source::File(_) => Err(FetchError::NotTheImage(why)),
            Source::Https { .. } => Err(FetchError::Off(why)),
        };
    }
    match Bytes(sha.finalize().into()) == release.sha256 {
        true => Ok(()),
        false => Err(FetchError::NotTheImage(
            "its SHA-256 is not that of the release".to_owned(),
        )),
    }
}

/// Whether that much more leaves enough for the log. A full disk would keep everybody out.
fn has_room(work: &FirmwareJob<'_>, part: &Path, more: u64) -> Result<(), FetchError> {
    let disk = rustix::fs::statvfs(part).map_err(std::io::Error::from)?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    match more.saturating_add(work.reserve) > free {
        true => Err(FetchError::NoRoom(format!(
            "{} MiB are free, and the image needs {} beside {} for the log",
            free >> 20,
            (more >> 20) + 1,
            work.reserve >> 20
        ))),
        false => Ok(()),
    }
}

fn percent(got: u64, size: u64) -> u64 {
    got.saturating_mul(100).checked_div(size).unwrap_or(100)
}

/// Hashes what there is already, to its end.
async fn hashed(file: &mut tokio::fs::File, sha: &mut Sha256) -> std::io::Result<u64> {
    file.rewind().await?;
    let mut buffer = vec![0; PIECE];
    loop {
        match file.read(&mut buffer).await? {
            0 => return file.stream_position().await,
            read => sha.update(buffer.get(..read).unwrap_or_default()),
        }
    }
}

/// A file on a stick: a plain file of the right length, and no link to another.
async fn local(
    release: &ReleaseBody,
    path: &Path,
    from: u64,
) -> Result<tokio::fs::File, FetchError> {
    let path = places(path.to_str().unwrap_or_default(), release);
    let useless = |error: std::io::Error| FetchError::Useless(format!("{path}: {error}"));
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(&path, flags, Mode::empty());
    let file = std::fs::File::from(file.map_err(|error| useless(error.into()))?);
    let metadata = file.metadata().map_err(useless)?;
    if !metadata.is_file() {
        return Err(FetchError::Useless(format!("{path}: it is no plain file")));
    }
    if metadata.len() != release.size {
        let (has, says) = (metadata.len(), release.size);
        let why = format!("{path}: it has {has} bytes, the release says {says}");
        return Err(FetchError::NotTheImage(why));
    }
    let mut file = tokio::fs::File::from_std(file);
    file.seek(SeekFrom::Start(from)).await?;
    Ok(file)
}

/// Fills in what a source leaves to the release. What is no letter, digit, `-` or `_` is
/// written as %XX, so that a model can lead nowhere else; a dot stays between those.
fn places(text: &str, release: &ReleaseBody) -> String {
    let bytes = release.model.as_str().as_bytes();
    let is_plain = |at: Option<usize>| {
        let byte = at.and_then(|at| bytes.get(at));
        byte.is_some_and(|byte| byte.is_ascii_alphanumeric())
    };
    let mut model = String::new();
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'.' if is_plain(at.checked_sub(1)) && is_plain(Some(at + 1)) => model.push('.'),
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
            places("/fw/{model}/{version}", &release)
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
