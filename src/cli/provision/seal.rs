//! The device's key, sealed to the machine by systemd-creds: with its TPM 2.0 if it has one, and
//! with a key of the host. systemd unseals it for the daemon and for nothing else.

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

/// Whether systemd-creds is here, and systemd starts the daemon.
pub(super) fn possible(config: Option<&Path>) -> Result<(), CliError> {
    if config != Some(Path::new(DEFAULT_CONFIG)) {
        let why = format!("--seal is for the daemon that systemd starts with {DEFAULT_CONFIG}");
        return Err(CliError::new(exit_status::USAGE, why));
    }
    let asked = systemd_creds().arg("--version").output();
    match asked {
        Ok(out) if out.status.success() => Ok(()),
        _ => Err(
            CliError::new(exit_status::UNAVAILABLE, "systemd-creds is not here").with_remedy(
                "It comes with systemd 250. Leave --seal out: the key is a file of mode 600.",
            ),
        ),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "who is at the device runs it, by no command from afar"
)]
fn systemd_creds() -> Command {
    Command::new("systemd-creds")
}

/// Seals the key, tells systemd where it is, and only then takes the file away.
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
        let said = String::from_utf8_lossy(&out.stderr).trim().to_owned();
        return Err(
            CliError::new(exit_status::IO, format!("systemd-creds: {said}"))
                .with_remedy("Nothing was sealed; the key is still a file of mode 600."),
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

/// Takes away what was sealed.
pub(super) fn forget(config: &Path) -> Result<(), CliError> {
    if config != Path::new(DEFAULT_CONFIG) {
        return Ok(());
    }
    for path in [SEALED, DROP_IN] {
        files::remove(Path::new(path))?;
    }
    Ok(())
}
