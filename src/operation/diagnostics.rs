//! `diag.bundle`: files and program outputs for troubleshooting, as one tar.zst of bounded size.
//! Secrets are redacted, the device's identity is never included, and of the event log each user
//! gets the visible part.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use tokio::time::timeout;

use crate::config::Config;
use crate::core::DeviceStatus;
use crate::operation::exec;
use crate::operation::history::visible;
use doorward_protocol::event_log::describe::row;
use doorward_protocol::gate::Permit;
use doorward_protocol::wire::Timestamp;

/// Timeout of one program.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A file of the bundle.
struct Part {
    name: String,
    text: String,
}

/// Creates a bundle.
pub(super) async fn bundle(
    config: &Config,
    permit: &Permit,
    status: &DeviceStatus,
) -> Result<Vec<u8>, String> {
    let mut left = usize::try_from(config.diagnostics.limit_kib << 10).unwrap_or(usize::MAX);
    let mut parts = vec![
        Part {
            name: "doorward/version".to_owned(),
            text: format!("doorward {}\n", env!("CARGO_PKG_VERSION")),
        },
        Part {
            name: "doorward/status".to_owned(),
            text: super::status::text(status),
        },
    ];
    let (permit, state, files) = (
        permit.clone(),
        config.state.clone(),
        config.diagnostics.files.clone(),
    );
    let limit = left.min(1 << 20);
    let read = tokio::task::spawn_blocking(move || {
        let mut parts = vec![Part {
            name: "doorward/events".to_owned(),
            text: events(&permit, &state)?,
        }];
        parts.extend(files.iter().map(|path| Part {
            name: format!("files{}", path.display()),
            text: end_of(path, limit),
        }));
        Ok::<_, String>(parts)
    });
    parts.extend(read.await.map_err(|error| error.to_string())??);
    for (number, argv) in config.diagnostics.programs.iter().enumerate() {
        let name = argv.first().map(PathBuf::from);
        let name = name.as_ref().and_then(|path| path.file_name());
        let name = name.unwrap_or_default().to_string_lossy().into_owned();
        let output = timeout(TIMEOUT, exec::output(argv, left.min(1 << 20) as u64)).await;
        let text = match output {
            Ok(Ok(output)) => format!("{}\n{}{}", output.status, output.out, output.err),
            Ok(Err(why)) => why,
            Err(_) => "the program did not end within 20 s".to_owned(),
        };
        let name = format!("programs/{number}-{name}");
        parts.push(Part { name, text });
    }
    let created_at = status.now.estimate;
    let packed = tokio::task::spawn_blocking(move || {
        for part in &mut parts {
            part.text = redact(&part.text);
            keep_the_end(&mut part.text, left);
            left -= part.text.len();
        }
        pack(&parts, created_at)
    });
    packed.await.map_err(|error| error.to_string())?
}

/// The visible part of the event log, oldest record first.
fn events(permit: &Permit, state: &Path) -> Result<String, String> {
    let records = visible(permit, state)?;
    let lines = records.iter().map(|record| {
        let row = row(record);
        format!("{} {} {}: {}\n", row.seq, row.at, row.event, row.text)
    });
    Ok(lines.collect())
}

/// Returns the last `limit` bytes of a file, from the beginning of a line.
fn end_of(path: &Path, limit: usize) -> String {
    let read = || {
        // Opening a FIFO or a device must not block.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut file = std::fs::File::from(rustix::fs::open(path, flags, Mode::empty())?);
        if !file.metadata()?.is_file() {
            return Err(std::io::Error::other("not a regular file"));
        }
        let from = file.metadata()?.len().saturating_sub(limit as u64);
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(limit as u64).read_to_end(&mut bytes)?;
        // The missing beginning of a line may contain the word that marks a secret.
        if from > 0 {
            let end = bytes.iter().position(|byte| *byte == b'\n');
            bytes.drain(..end.map_or(bytes.len(), |end| end + 1));
        }
        Ok(bytes)
    };
    match read() {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => format!("{}: {error}\n", path.display()),
    }
}

fn keep_the_end(text: &mut String, limit: usize) {
    let mut cut = text.len().saturating_sub(limit);
    while !text.is_char_boundary(cut) {
        cut += 1;
    }
    text.drain(..cut);
}

fn pack(parts: &[Part], created_at: Timestamp) -> Result<Vec<u8>, String> {
    let mut tar = tar::Builder::new(Vec::new());
    for part in parts {
        let mut header = tar::Header::new_gnu();
        header.set_size(part.text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(created_at.0);
        let appended = tar.append_data(&mut header, &part.name, part.text.as_bytes());
        appended.map_err(|error| format!("{}: {error}", part.name))?;
    }
    let tar = tar.into_inner().map_err(|error| error.to_string())?;
    Ok(compress_to_vec(&tar[..], CompressionLevel::Fastest))
}

/// Words that mark the value after them as a secret.
const SECRET_NAMES: [&str; 10] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "psk",
    "api_key",
    "apikey",
    "private_key",
    "authorization",
];
/// The replacement of a secret.
const REMOVED: &str = "[removed]";

/// Replaces the values after [`SECRET_NAMES`], private keys in PEM, and passwords in URLs. In
/// doubt, a line is redacted.
fn redact(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    // A key whose beginning was cut off is recognised by its end.
    let begins = text.find("-----BEGIN").unwrap_or(text.len());
    let mut in_key = text.find("-----END").is_some_and(|end| end < begins);
    for line in text.split_inclusive('\n') {
        if in_key {
            in_key = !line.contains("-----END");
            continue;
        }
        if line.contains("-----BEGIN") && line.contains("PRIVATE KEY") {
            in_key = !line.contains("-----END");
            clean.push_str(REMOVED);
            clean.push('\n');
            continue;
        }
        clean.push_str(&redact_url_passwords(&redact_value(line)));
    }
    clean
}

fn redact_value(line: &str) -> String {
    let lower = line.to_ascii_lowercase();
    let places = SECRET_NAMES.iter().flat_map(|word| {
        let places = lower.match_indices(word);
        places.map(|(at, word)| at + word.len())
    });
    let words = places.filter_map(|end| {
        let rest = lower.get(end..)?;
        // A name such as `password_file` marks the path of a secret, which is not secret.
        let rest = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() && c != '_');
        let value = rest.trim_start_matches(['"', '\'', ' ', '\t']);
        let value = value.strip_prefix([':', '='])?;
        (!value.trim().is_empty()).then(|| line.len() - value.len())
    });
    match words.min() {
        Some(value) => {
            let end = if line.ends_with('\n') { "\n" } else { "" };
            format!("{} {REMOVED}{end}", line.get(..value).unwrap_or_default())
        }
        None => line.to_owned(),
    }
}

/// Replaces `user:password` in `scheme://user:password@host`.
fn redact_url_passwords(line: &str) -> String {
    let mut clean = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("://") {
        clean.push_str(before);
        clean.push_str("://");
        let end = after
            .find(['/', ' ', '"', '\'', '\n'])
            .unwrap_or(after.len());
        let (authority, behind) = after.split_at(end);
        match authority.rsplit_once('@') {
            Some((_, host)) => clean.push_str(&format!("{REMOVED}@{host}")),
            None => clean.push_str(authority),
        }
        rest = behind;
    }
    clean.push_str(rest);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_taken_out_and_the_rest_stays() {
        for (text, clean) in [
            ("user = doorward\n", "user = doorward\n"),
            ("password = s3cret\n", "password = [removed]\n"),
            ("  \"token\": \"abc\",\n", "  \"token\": [removed]\n"),
            ("WIFI_PSK=abc", "WIFI_PSK= [removed]"),
            ("Authorization: Bearer x\n", "Authorization: [removed]\n"),
            (
                "password_file = \"/etc/p\"\n",
                "password_file = \"/etc/p\"\n",
            ),
            (
                "mqtts://u:p@host:8883/x y",
                "mqtts://[removed]@host:8883/x y",
            ),
            ("https://host/x", "https://host/x"),
            ("no password was asked for\n", "no password was asked for\n"),
            (
                "a\n-----BEGIN PRIVATE KEY-----\nMC4C\n-----END PRIVATE KEY-----\nb\n",
                "a\n[removed]\nb\n",
            ),
            ("-----BEGIN EC PRIVATE KEY-----\nMC4C", "[removed]\n"),
            ("MC4C\n-----END PRIVATE KEY-----\nafter\n", "after\n"),
            (
                "{\"token_type\": \"bearer\", \"access_token\": \"abc\"}\n",
                "{\"token_type\": \"bearer\", \"access_token\": [removed]\n",
            ),
            (
                "password_file=/x password=y\n",
                "password_file=/x password= [removed]\n",
            ),
        ] {
            assert_eq!(redact(text), clean, "{text}");
        }
    }

    #[test]
    fn a_text_that_is_too_long_keeps_its_end() {
        let mut text = "a\u{e9}bc".to_owned();
        keep_the_end(&mut text, 3);
        assert_eq!(text, "bc");
        keep_the_end(&mut text, 0);
        assert_eq!(text, "");
    }
}
