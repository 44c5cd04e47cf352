//! Encryption of the device's key by systemd-creds for this machine: with its TPM 2.0 if it has
//! one, and with a key of the host. systemd decrypts it for the daemon only.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cli::DEFAULT_CONFIG;
use crate::store::{CREDENTIAL, Pinned};
use doorward_terminal::{CliError, exit_status};
use doorward_transport::files;

const SEALED: &str = "/etc/doorward/doorward.key.sealed";
const DROP_IN: &str = "/etc/systemd/system/doorward.service.d/sealed-key.conf";

pub(super) fn path() -> PathBuf {
    SEALED.into()
}

/// Checks that systemd-creds is installed, and that systemd starts the daemon.
pub(super) fn check_available(config: Option<&Path>) -> Result<(), CliError> {
    if config != Some(Path::new(DEFAULT_CONFIG)) {
        let why = format!("--seal needs the configuration that systemd uses: {DEFAULT_CONFIG}");
        return Err(CliError::new(exit_status::USAGE, why));
    }
    let version = systemd_creds().arg("--version").output();
    match version {
        Ok(out) if out.status.success() => Ok(()),
        _ => Err(
            CliError::new(exit_status::UNAVAILABLE, "systemd-creds is not installed").with_remedy(
                "It is part of systemd 250. Without --seal, the key is a file of mode 600.",
            ),
        ),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "run locally at the device, never by a remote command"
)]
fn systemd_creds() -> Command {
    Command::new("systemd-creds")
}

/// Encrypts the key, adds it to the systemd unit, and only then removes the plain file.
pub(super) fn seal(state: &Path, sealed: &Path) -> Result<(), CliError> {
    let key = files::read(&Pinned::key_file(state), 1024)?;
    let failed =
        |error: std::io::Error| CliError::new(exit_status::IO, format!("systemd-creds: {error}"));
    let mut child = systemd_creds()
        .args(["encrypt", "--name", CREDENTIAL, "-", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(&key).map_err(failed)?;
    }
    let out = child.wait_with_output().map_err(failed)?;
    if !out.status.success() || out.stdout.is_empty() {
        let message = String::from_utf8_lossy(&out.stderr).trim().to_owned();
        return Err(
            CliError::new(exit_status::IO, format!("systemd-creds: {message}"))
                .with_remedy("The key was not encrypted; it is still a file of mode 600."),
        );
    }
    files::replace(sealed, &out.stdout, 0o600)?;
    let drop_in = Path::new(DROP_IN);
    if let Some(directory) = drop_in.parent() {
        files::create_directory(directory, 0o755)?;
    }
    let text = format!(
        "[Service]\nLoadCredentialEncrypted={CREDENTIAL}:{}\n",
        sealed.display()
    );
    files::replace(drop_in, text.as_bytes(), 0o644)?;
    Pinned::drop_key(state)?;
    Ok(())
}

/// Removes the encrypted key and its drop-in file.
pub(super) fn forget(config: &Path) -> Result<(), CliError> {
    if config != Path::new(DEFAULT_CONFIG) {
        return Ok(());
    }
    for path in [SEALED, DROP_IN] {
        files::remove(Path::new(path))?;
    }
    Ok(())
}
