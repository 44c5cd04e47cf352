//! Checks of files with keys, passwords and certificates: that they exist, that the daemon's user
//! can read them and other users cannot, and when certificates expire.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::link::certificate;
use crate::operation::self_check::{Finding, Level};
use doorward_protocol::wire::Timestamp;
use doorward_transport::files;

/// Remaining validity of a certificate below which there is a warning, in seconds.
const SOON: u64 = 30 * 86400;

/// Checks that files with passwords and keys can be read, and by the daemon's user only.
pub(super) fn secrets(config: &Config) -> Vec<Finding> {
    let links = [&config.links.cloud, &config.links.local, &config.bus];
    let links = links.into_iter().flatten();
    let of_links = links.flat_map(|link| [&link.password_file, &link.tls.key]);
    let nut = config.nut.as_ref();
    let firmware = config.firmware.as_ref();
    let listener = config.links.listener.as_ref();
    let others = [
        nut.and_then(|nut| nut.tls.as_ref()?.key.as_ref()),
        nut.map(|nut| &nut.password_file),
        firmware.and_then(|firmware| firmware.tls.key.as_ref()),
        listener.and_then(|listener| listener.key.as_ref()),
    ];
    let paths: Vec<&Path> = of_links
        .flatten()
        .chain(others.into_iter().flatten())
        .map(PathBuf::as_path)
        .collect();
    let broken = paths.iter().filter_map(|path| {
        let why = match files::read_secret(path, 1 << 20) {
            Err(error) => error.to_string(),
            Ok(_) if !is_for_owner_of(&config.state, path) => {
                format!("the daemon's user cannot read {}", path.display())
            }
            Ok(_) => return None,
        };
        let remedy = "doorward's user must be able to read it, and other users must not: chgrp \
                      doorward, chmod 640.";
        Some(Finding::new("secrets", Level::Error, why, remedy))
    });
    broken.collect()
}

/// Checks that the daemon's user can read its configuration.
pub(super) fn configuration(config: &Config, path: &Path) -> Option<Finding> {
    let why = format!("the daemon's user cannot read {}", path.display());
    let remedy = "chgrp doorward, chmod 640, and the directories above it too.";
    (!is_for_owner_of(&config.state, path))
        .then(|| Finding::new("configuration", Level::Error, why, remedy))
}

/// Whether the daemon's user, the owner of the state directory, can read a file that root can read.
fn is_for_owner_of(state: &Path, path: &Path) -> bool {
    let (Ok(daemon), Ok(file)) = (std::fs::metadata(state), std::fs::metadata(path)) else {
        return true;
    };
    let bits = match file.mode() {
        mode if file.uid() == daemon.uid() => mode >> 6,
        mode if file.gid() == daemon.gid() => mode >> 3,
        mode => mode,
    };
    daemon.uid() == 0 || bits & 0o4 != 0
}

/// Checks when certificates in files expire: the device's own, and CA certificates.
pub(super) fn certificates(config: &Config, now: Timestamp) -> Vec<Finding> {
    let links = [&config.links.cloud, &config.links.local, &config.bus];
    let links = links.into_iter().flatten().map(|link| &link.tls);
    let nut = config.nut.iter().filter_map(|nut| nut.tls.as_ref());
    let firmware = config.firmware.iter().map(|firmware| &firmware.tls);
    let tls = links.chain(nut).chain(firmware);
    let of_tls = tls.flat_map(|tls| [&tls.certificate, &tls.ca]);
    let listener = config.links.listener.iter();
    let of_listener = listener.flat_map(|it| [&it.certificate, &it.client_ca]);
    let paths = of_tls.chain(of_listener).flatten();
    paths
        .map(|path| match certificate::end_of_file(path) {
            Ok(end) => check_expiry("certificates", &path.display().to_string(), end, now),
            Err(error) => {
                let remedy = "Put a certificate in PEM format there.";
                Finding::new("certificates", Level::Error, error.to_string(), remedy)
            }
        })
        .collect()
}

/// The finding about the expiry of a certificate.
pub(super) fn check_expiry(what: &str, whose: &str, end: Timestamp, now: Timestamp) -> Finding {
    let remedy = "Renew it and put the new file in its place; no restart is needed.";
    match end.since(now) {
        0 => Finding::new(what, Level::Error, format!("{whose} expired {end}"), remedy),
        left if left < SOON => Finding::new(
            what,
            Level::Warning,
            format!("{whose} expires {end}"),
            remedy,
        ),
        left => Finding::ok(what, format!("{whose} expires in {} days", left / 86400)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_named_before_and_after_its_end() {
        let level = |end| {
            let found = check_expiry(
                "certificates",
                "it",
                Timestamp(end),
                Timestamp(1_000_000_000),
            );
            found.level
        };
        assert_eq!(level(1_000_000_000), Level::Error);
        assert_eq!(level(1_000_000_001), Level::Warning);
        assert_eq!(level(1_000_000_000 + SOON), Level::Ok);
    }
}
