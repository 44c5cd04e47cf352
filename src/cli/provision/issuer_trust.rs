//! The issuer that a device will trust for ever: read, shown, and confirmed by a person.

use std::io::Read;
use std::path::Path;

use crate::cli::provision::prompt::Ask;
use crate::store::{Pinned, issuers_in};
use doorward_protocol::wire::{Hash, Id, decode_issuers, format_fingerprint, hash};
use doorward_terminal::{CliError, exit_status};
use doorward_transport::files;

/// The largest file.
const LIMIT: u64 = 65536;

/// An issuer's file, with its signatures checked.
pub(super) struct Trusted {
    /// Empty if the device has it.
    pub(super) bytes: Vec<u8>,
    /// The platform's name.
    pub(super) name: Id,
    /// SHA-256 of the file.
    pub(super) fingerprint: Hash,
}

impl Trusted {
    /// The one that the device trusts already.
    pub(super) fn pinned(before: &Pinned) -> Self {
        Self {
            bytes: Vec::new(),
            name: before.issuers.iss.clone(),
            fingerprint: before.fingerprint,
        }
    }
}

/// Reads the issuer from a file, from text, or from either on standard input.
pub(super) fn read(given: &str) -> Result<Trusted, CliError> {
    let bytes = match given {
        "-" => {
            let mut bytes = Vec::new();
            let read = std::io::stdin()
                .lock()
                .take(LIMIT + 1)
                .read_to_end(&mut bytes);
            read.map_err(|error| CliError::new(exit_status::IO, error))?;
            bytes
        }
        text if decode_issuers(text).is_some() => text.as_bytes().to_owned(),
        path => files::read(Path::new(path), LIMIT)?,
    };
    let bytes = std::str::from_utf8(&bytes)
        .ok()
        .and_then(decode_issuers)
        .unwrap_or(bytes);
    let issuers = issuers_in(&bytes).map_err(|error| {
        CliError::new(exit_status::DATA, format!("that is no issuer: {error}"))
            .with_remedy("Give the file issuers.cwt, or what `doorkey issuer show` prints.")
    })?;
    Ok(Trusted {
        fingerprint: hash(&bytes),
        name: issuers.iss,
        bytes,
    })
}

/// A person, or a fingerprint that came another way, says that it is the right one.
pub(super) fn confirm(
    issuers: &Trusted,
    expected: Option<&str>,
    yes: bool,
    ask: &mut Ask,
) -> Result<(), CliError> {
    let found = issuers.fingerprint.hex();
    if let Some(expected) = expected {
        let digits = expected.chars().filter(|c| !c.is_whitespace() && *c != ':');
        let digits: String = digits.map(|c| c.to_ascii_lowercase()).collect();
        if digits == found {
            return Ok(());
        }
        let why = format!("the issuer's fingerprint is {}", format_fingerprint(&found));
        return Err(CliError::new(exit_status::DENIED, why).with_remedy(
            "It is not the one that was expected. Whoever made this file would command the device.",
        ));
    }
    if yes {
        return Ok(());
    }
    let Trusted { name, .. } = issuers;
    if !ask.somebody() {
        let why = format!(
            "nobody has confirmed the issuer {name}, {}",
            format_fingerprint(&found)
        );
        return Err(CliError::new(exit_status::USAGE, why)
            .with_remedy("Compare with `doorkey issuer show`, then give it as --fingerprint."));
    }
    eprintln!("The issuer is {name}. Whoever holds its keys says who may command this device.");
    eprintln!("  SHA-256 {}", format_fingerprint(&found));
    match ask.agrees("Does `doorkey issuer show` print the same where the issuer is?")? {
        true => Ok(()),
        false => Err(CliError::new(
            exit_status::DENIED,
            "the issuer was not confirmed",
        )),
    }
}
