//! The key of a recipient or an owner, and its command counter, which never decreases.

use std::path::{Path, PathBuf};

use doorward_protocol::wire::{
    Audience, Bytes, Command, CommandBody, DeviceStanding, Id, MAX_TTL, Map, Operation, SecretKey,
    Text, Timestamp, Value, sign,
};
use doorward_transport::files;
use doorward_transport::files::{Doing, FileError};
use doorward_transport::random;

const LIMIT: u64 = 4096;

/// A command before it is signed.
#[derive(Debug, Clone)]
pub struct CommandRequest {
    /// The device.
    pub device: Id,
    /// The operation.
    pub operation: Operation,
    /// Its arguments.
    pub args: Map<Text, Value>,
    /// Lifetime of the command, in seconds.
    pub ttl: u64,
    /// Whether it is a dry run: the decision without running the operation.
    pub dry: bool,
}

/// A key file and the counter beside it.
#[derive(Debug)]
pub struct HolderKey {
    key: SecretKey,
    counter_file: PathBuf,
}

impl HolderKey {
    /// Creates a key file.
    ///
    /// # Errors
    /// If the file exists or cannot be written.
    pub fn create(path: &Path) -> Result<Self, FileError> {
        if path.exists() {
            let error = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
            return Err(error).doing("overwrite the key in", path);
        }
        let key = SecretKey::from_seed(&random().doing("create a key for", path)?);
        files::replace(path, key.to_text().as_bytes(), 0o600)?;
        Self::open(path)
    }

    /// Creates a key file and beside it the file with the public half, `*.pub`. Neither may exist.
    ///
    /// # Errors
    /// If one of them exists or cannot be written, or if the key file were a `*.pub` itself.
    pub fn create_pair(path: &Path) -> Result<Self, FileError> {
        check_name(path)?;
        let public = path.with_extension("pub");
        if public.exists() {
            let error = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
            return Err(error).doing("overwrite the public key in", &public);
        }
        let holder = Self::create(path)?;
        let text = format!("{}\n", holder.public());
        files::replace(&public, text.as_bytes(), 0o644)?;
        Ok(holder)
    }

    /// Opens a key file.
    ///
    /// # Errors
    /// If it cannot be read or contains no key, or if it is a public key.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        check_name(path)?;
        let key = SecretKey::from_text(&files::read(path, LIMIT)?)
            .ok_or_else(|| files::invalid("it does not contain 64 hexadecimal digits"))
            .doing("use", path)?;
        Ok(Self {
            key,
            counter_file: path.with_extension("count"),
        })
    }

    /// Signs a statement or approval.
    #[must_use]
    pub fn sign<T: doorward_protocol::wire::Object>(&self, claims: &T) -> Vec<u8> {
        doorward_protocol::wire::sign(claims, &self.key)
    }

    /// Signs a text outside of an envelope: the answer to a sign-in challenge.
    #[must_use]
    pub fn sign_text(&self, text: &str) -> Bytes<64> {
        self.key.sign_text(text)
    }

    /// The public key.
    #[must_use]
    pub fn public(&self) -> doorward_protocol::wire::KeyBytes {
        self.key.public()
    }

    /// Signs a command for a device with the given `standing`, at a time that the device accepts.
    /// Of several commands with the same counter a device runs at most one, so a command that is
    /// signed again keeps its counter.
    ///
    /// # Errors
    /// If the kernel has no random bytes.
    pub fn command(
        &self,
        request: &CommandRequest,
        (instance, counter): (Bytes<4>, u64),
        standing: &DeviceStanding,
        now: Timestamp,
        until: Option<u64>,
    ) -> Result<Vec<u8>, FileError> {
        let command = Command {
            aud: Audience::Device(request.device.clone()),
            exp: now.plus(request.ttl.clamp(1, MAX_TTL)),
            iat: now,
            cti: Bytes(random().doing("create a command id for", &self.counter_file)?),
            body: CommandBody {
                format: 1,
                counter,
                instance,
                epoch: standing.epoch,
                operation: request.operation.clone(),
                args: request.args.clone(),
                dry: request.dry.then_some(true),
                until: until.map(|uptime| doorward_protocol::wire::BootTime {
                    uptime,
                    boot: standing.boot,
                }),
            },
        };
        Ok(sign(&command, &self.key))
    }

    /// Reserves a counter: the instance of this client and a value that it has never used. The
    /// file contains `INSTANCE COUNTER` and is durable before this returns. Without the file, this
    /// is a new client.
    ///
    /// # Errors
    /// If the file cannot be used.
    pub fn next_counter(&self) -> Result<(Bytes<4>, u64), FileError> {
        let path = &self.counter_file;
        let _lock = files::wait_for_lock(&path.with_extension("count.lock"))?;
        let kept = match files::read(path, LIMIT) {
            Ok(bytes) => std::str::from_utf8(&bytes)
                .ok()
                .and_then(|text| text.trim().split_once(' '))
                .and_then(|(instance, count)| {
                    Some((Bytes::from_hex(instance)?, count.parse::<u64>().ok()?))
                })
                .ok_or_else(|| {
                    files::invalid("it contains no counter; delete it to start as a new client")
                })
                .doing("use", path)?,
            Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => {
                (Bytes(random().doing("create", path)?), 0)
            }
            Err(error) => return Err(error),
        };
        let next = (kept.0, kept.1 + 1);
        files::replace(path, format!("{} {}\n", next.0, next.1).as_bytes(), 0o600)?;
        Ok(next)
    }
}

/// Refuses a public key where the secret one is needed: its text has the same form.
fn check_name(path: &Path) -> Result<(), FileError> {
    match path.extension().is_some_and(|extension| extension == "pub") {
        true => Err(files::invalid(
            "a *.pub file is a public key; name the file with the secret key",
        ))
        .doing("use", path),
        false => Ok(()),
    }
}
