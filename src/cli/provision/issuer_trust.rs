//! The issuer that a device will trust permanently: read, shown, and confirmed by a person.

use std::io::Read;
use std::path::Path;

use crate::cli::provision::prompt::Prompt;
use crate::store::{Pinned, issuers_in};
use doorward_protocol::wire::{Hash, Id, decode_issuers, format_fingerprint, hash};
use doorward_terminal::{CliError, exit_status};
use doorward_transport::files;

/// The largest issuer file that is read, in bytes.
const LIMIT: u64 = 65536;

/// An issuer's file with verified signatures.
pub(super) struct Trusted {
    /// Content of the file; empty if the device has it already.
    pub(super) bytes: Vec<u8>,
    /// Name of the issuer.
    pub(super) name: Id,
    /// SHA-256 of the file.
    pub(super) fingerprint: Hash,
}

impl Trusted {
    /// The issuer that the device trusts already.
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
        CliError::new(exit_status::DATA, format!("not an issuer: {error}")).with_remedy(
            "Give the file issuers.cwt, or the text that `doorkey issuer show` prints.",
        )
    })?;
    Ok(Trusted {
        fingerprint: hash(&bytes),
        name: issuers.iss,
        bytes,
    })
}

/// Confirms the issuer by its expected fingerprint, by `--yes`, or by a question.
pub(super) fn confirm(
    issuers: &Trusted,
    expected: Option<&str>,
    yes: bool,
    prompt: &mut Prompt,
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
            "It differs from --fingerprint. The author of this file would control the device.",
        ));
    }
    if yes {
        return Ok(());
    }
    let Trusted { name, .. } = issuers;
    if !prompt.is_interactive() {
        let why = format!(
            "the issuer {name} was not confirmed: SHA-256 {}",
            format_fingerprint(&found)
        );
        return Err(CliError::new(exit_status::USAGE, why)
            .with_remedy("Compare it with `doorkey issuer show`, then give it as --fingerprint."));
    }
    eprintln!("The issuer is {name}. The holder of its keys decides who may command this device.");
    eprintln!("  SHA-256 {}", format_fingerprint(&found));
    match prompt.confirm("Does `doorkey issuer show` print the same fingerprint?")? {
        true => Ok(()),
        false => Err(CliError::new(
            exit_status::DENIED,
            "the issuer was not confirmed",
        )),
    }
}
