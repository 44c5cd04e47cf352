//! A holder of shares, or the owner: a key, and a counter that never goes back.

use std::path::{Path, PathBuf};

use super::random;
use crate::files::{self, Doing, FileError};
use crate::wire::{
    Audience, Bytes, Command, CommandBody, Id, MAX_TTL, Map, Operation, SecretKey, Standing, Text,
    Timestamp, Value, sign,
};

const LIMIT: u64 = 4096;

/// What is to be asked of a device.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The device.
    pub device: Id,
    /// The operation.
    pub operation: Operation,
    /// Its arguments.
    pub args: Map<Text, Value>,
    /// How long the command lives, in seconds.
    pub ttl: u64,
    /// Only ask whether it would be allowed.
    pub dry: bool,
}

/// A key file and the counter beside it.
#[derive(Debug)]
pub struct Holder {
    key: SecretKey,
    counter_file: PathBuf,
}

impl Holder {
    /// Makes a new key.
    ///
    /// # Errors
    /// If the file exists or cannot be written.
    pub fn create(path: &Path) -> Result<Self, FileError> {
        if path.exists() {
            let error = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
            return Err(error).doing("overwrite the key in", path);
        }
        let key = SecretKey::from_seed(&random().doing("make a key for", path)?);
        files::replace(path, key.to_text().as_bytes(), 0o600)?;
        Self::open(path)
    }

    /// Opens a key file.
    ///
    /// # Errors
    /// If it cannot be read or holds no key.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let key = SecretKey::from_text(&files::read(path, LIMIT)?)
            .ok_or_else(|| files::invalid("it does not hold 64 hexadecimal digits"))
            .doing("use", path)?;
        Ok(Self {
            key,
            counter_file: path.with_extension("count"),
        })
    }

    /// Signs something of one's own.
    #[must_use]
    pub fn sign<T: crate::wire::Object>(&self, claims: &T) -> Vec<u8> {
        crate::wire::sign(claims, &self.key)
    }

    /// Signs text that is no envelope: the answer to a challenge.
    #[must_use]
    pub fn sign_text(&self, text: &str) -> Bytes<64> {
        self.key.sign_text(text)
    }

    /// The public key: who this is.
    #[must_use]
    pub fn public(&self) -> crate::wire::KeyBytes {
        self.key.public()
    }

    /// Signs a command for a device of which `standing` is known, at a time that the device
    /// will believe. Of several commands with one counter a device runs one at most, so what is
    /// only signed anew keeps its counter.
    ///
    /// # Errors
    /// If the kernel has no random bytes.
    pub fn command(
        &self,
        wish: &Wish,
        (instance, counter): (Bytes<4>, u64),
        standing: &Standing,
        now: Timestamp,
        until: Option<u64>,
    ) -> Result<Vec<u8>, FileError> {
        let command = Command {
            aud: Audience::Device(wish.device.clone()),
            exp: now.plus(wish.ttl.clamp(1, MAX_TTL)),
            iat: now,
            cti: Bytes(random().doing("make an id with", &self.counter_file)?),
            body: CommandBody {
                format: 1,
                counter,
                instance,
                epoch: standing.epoch,
                operation: wish.operation.clone(),
                args: wish.args.clone(),
                dry: wish.dry.then_some(true),
                until: until.map(|uptime| crate::wire::BootTime {
                    uptime,
                    boot: standing.boot,
                }),
            },
        };
        Ok(sign(&command, &self.key))
    }

    /// The instance of this client, and a counter that it has never used. The file holds
    /// `INSTANCE COUNTER`, and is durable first. Without it this is a new client.
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
                .ok_or_else(|| files::invalid("it holds no counter; delete it to begin anew"))
                .doing("use", path)?,
            Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => {
                (Bytes(random().doing("begin", path)?), 0)
            }
            Err(error) => return Err(error),
        };
        let next = (kept.0, kept.1 + 1);
        files::replace(path, format!("{} {}\n", next.0, next.1).as_bytes(), 0o600)?;
        Ok(next)
    }
}
