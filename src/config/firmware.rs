//! `[firmware]`: sources of images, the updater, and the self-check of a new version.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use doorward_transport::Tls;

/// The machine's firmware.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Firmware {
    /// Sources of images, in this order: `https://...` or an absolute path. `{model}`, `{version}`
    /// and `{sha256}` are replaced by the values of the release.
    pub sources: Vec<Source>,
    /// TLS of https sources.
    #[serde(default)]
    pub tls: Tls,
    /// The file with the version number of the running firmware.
    pub version_file: PathBuf,
    /// The updater.
    pub updater: UpdaterKind,
    /// `swupdate`: the program that passes an image to it; `{image}` is replaced by the path.
    #[serde(default = "swupdate")]
    pub argv: Vec<String>,
    /// `swupdate`: the program that makes the boot loader keep the running version. RAUC needs
    /// none.
    #[serde(default)]
    pub mark_good: Vec<String>,
    /// `swupdate`: the program that makes the boot loader return to the other version.
    #[serde(default)]
    pub mark_bad: Vec<String>,
    /// `swupdate`: the program that makes the boot loader boot the running version again, although
    /// another one was installed.
    #[serde(default)]
    pub keep: Vec<String>,
    /// The program that checks the new version after the reboot, by its exit status. Without it, a
    /// version in which doorward runs is accepted.
    #[serde(default)]
    pub self_check: Vec<String>,
    /// Timeout of `self_check` in seconds.
    #[serde(default = "self_check_s")]
    pub self_check_s: u64,
    /// Maximum size of an image in MiB.
    #[serde(default = "limit_mib")]
    pub limit_mib: u64,
}

/// The kind of the updater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UpdaterKind {
    /// RAUC, by D-Bus.
    Rauc,
    /// SWUpdate, by its own client.
    Swupdate,
}

/// A source of images.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Source {
    /// A web server.
    Https {
        /// Host name or address.
        host: String,
        /// Port.
        port: u16,
        /// Path and query.
        path: String,
    },
    /// A file, for example on a USB drive.
    File(PathBuf),
}

fn swupdate() -> Vec<String> {
    ["/usr/bin/swupdate-client", "{image}"]
        .map(str::to_owned)
        .into()
}

fn self_check_s() -> u64 {
    300
}

fn limit_mib() -> u64 {
    512
}

impl TryFrom<String> for Source {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let is_valid = text.len() <= 500 && text.chars().all(|c| matches!(c, '!'..='~'));
        if !is_valid {
            return Err("a source is at most 500 ASCII characters, without spaces".into());
        }
        let bare = PLACEHOLDERS
            .iter()
            .fold(text.clone(), |rest, name| rest.replace(name, ""));
        if bare.contains(['{', '}']) {
            return Err(
                "a source can only contain the placeholders {model}, {version} and {sha256}".into(),
            );
        }
        if let Some(rest) = text.strip_prefix("https://") {
            return https(rest);
        }
        let path = Path::new(&text);
        let up = path.components().any(|part| part.as_os_str() == "..");
        if path.is_absolute() && !up {
            return Ok(Self::File(path.to_owned()));
        }
        Err("a source is https://HOST/PATH, or an absolute path without ..".into())
    }
}

/// Placeholders for values of the release.
const PLACEHOLDERS: [&str; 3] = ["{model}", "{version}", "{sha256}"];

fn https(rest: &str) -> Result<Source, String> {
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let is_valid_authority = !authority.contains(['@', '{', '}', '?', '#']);
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            let port = port
                .parse()
                .map_err(|_| "the port is not a number".to_owned())?;
            (host, port)
        }
        _ => (authority, 443),
    };
    let host = host.trim_matches(['[', ']']);
    if host.is_empty() || !is_valid_authority || path.is_empty() {
        return Err("a source is https://HOST/PATH or https://HOST:PORT/PATH".into());
    }
    Ok(Source::Https {
        host: host.to_owned(),
        port,
        path: format!("/{path}"),
    })
}

impl Firmware {
    /// Refuses values that cannot work.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.sources.is_empty() || self.sources.len() > 8 {
            return Err("sources: 1 to 8 sources are needed".into());
        }
        if self.tls.certificate.is_some() != self.tls.key.is_some() {
            return Err("tls: a certificate needs its key, and a key its certificate".into());
        }
        for (name, argv) in [
            ("argv", &self.argv),
            ("mark_good", &self.mark_good),
            ("mark_bad", &self.mark_bad),
            ("keep", &self.keep),
            ("self_check", &self.self_check),
        ] {
            if argv
                .first()
                .is_some_and(|program| !program.starts_with('/'))
            {
                return Err(format!("{name} must begin with an absolute path"));
            }
        }
        if !self.argv.iter().any(|part| part == "{image}") {
            return Err("argv needs {image} as a whole argument".into());
        }
        let swupdate = self.updater == UpdaterKind::Swupdate;
        if swupdate && !self.self_check.is_empty() && self.mark_bad.is_empty() {
            return Err(
                "self_check needs mark_bad, or the machine would boot the same version again"
                    .into(),
            );
        }
        if !(1..=3600).contains(&self.self_check_s) {
            return Err("self_check_s must be from 1 to 3600".into());
        }
        if !(1..=65536).contains(&self.limit_mib) {
            return Err("limit_mib must be from 1 to 65536".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_whole_address_or_path() {
        let source = |text: &str| Source::try_from(text.to_owned());
        let https = |host: &str, port, path: &str| Source::Https {
            host: host.to_owned(),
            port,
            path: path.to_owned(),
        };
        for (text, expected) in [
            (
                "https://fw.example/{model}/{version}.raucb",
                https("fw.example", 443, "/{model}/{version}.raucb"),
            ),
            (
                "https://10.0.0.1:8443/x?v={version}",
                https("10.0.0.1", 8443, "/x?v={version}"),
            ),
            ("https://[::1]:8443/x", https("::1", 8443, "/x")),
            (
                "/media/usb/{sha256}.raucb",
                Source::File("/media/usb/{sha256}.raucb".into()),
            ),
        ] {
            assert_eq!(source(text), Ok(expected), "{text}");
        }
        for text in [
            "http://fw.example/x",
            "https://fw.example",
            "https:///x",
            "https://user@fw.example/x",
            "https://{model}/x",
            "https://fw.example:x/y",
            "/media/../etc/{version}",
            "media/usb/x",
            "/media/usb/{name}",
            "/media/usb/a b",
            "",
        ] {
            assert!(source(text).is_err(), "{text}");
        }
    }
}
