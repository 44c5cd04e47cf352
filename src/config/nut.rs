//! `[nut]`: the UPS that is managed by NUT's upsd.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use doorward_transport::Tls;

/// The error of an operation or setting that needs a UPS.
pub(crate) const NO_UPS: &str = "no UPS is configured; add [nut]";

/// The address of upsd, and doorward's user there.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nut {
    /// The address of upsd.
    #[serde(default = "default_address")]
    pub address: SocketAddr,
    /// The name of the UPS in ups.conf.
    pub ups: String,
    /// doorward's user in upsd.users.
    pub user: String,
    /// The file with that user's password.
    pub password_file: PathBuf,
    /// TLS, with which upsd may be on another machine.
    pub tls: Option<Tls>,
}

fn default_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 3493))
}

impl Nut {
    /// Refuses values that cannot work or would expose the password.
    pub(super) fn check(&self) -> Result<(), String> {
        if !self.address.ip().is_loopback() && self.tls.is_none() {
            return Err(
                "upsd must be on this machine unless tls is set: without TLS, the network could \
                 read the password and switch the UPS"
                    .into(),
            );
        }
        for (name, word) in [("ups", &self.ups), ("user", &self.user)] {
            if !is_word(word) {
                return Err(format!("{name} must be 1 to 64 letters, digits, . _ -"));
            }
        }
        Ok(())
    }
}

/// Whether `text` is a name that NUT accepts without quotes: 1 to 64 letters, digits, `.`, `_` or
/// `-`.
pub(crate) fn is_word(text: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=64).contains(&text.len()) && text.chars().all(is_allowed)
}
