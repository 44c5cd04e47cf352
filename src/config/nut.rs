//! `[nut]`: the UPS that upsd on this machine speaks for.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use doorward_transport::Tls;

/// Where upsd is, and who doorward is there.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nut {
    /// Its address.
    #[serde(default = "default_address")]
    pub address: SocketAddr,
    /// The name of the UPS in ups.conf.
    pub ups: String,
    /// doorward's own user in upsd.users.
    pub user: String,
    /// The file with that user's password.
    pub password_file: PathBuf,
    /// Whom to trust, if upsd is to be asked over TLS; then it may be on another machine.
    pub tls: Option<Tls>,
}

fn default_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 3493))
}

impl Nut {
    /// Finds what cannot work or would show the password.
    pub(super) fn check(&self) -> Result<(), String> {
        if !self.address.ip().is_loopback() && self.tls.is_none() {
            return Err(
                "upsd must be on this machine, or tls be set: without it, everybody on the way \
                 could switch the UPS"
                    .into(),
            );
        }
        for (name, word) in [("ups", &self.ups), ("user", &self.user)] {
            if !is_word(word) {
                return Err(format!(
                    "{name} must be one word of NUT, 1 to 64 letters, digits, . _ -"
                ));
            }
        }
        Ok(())
    }
}

/// A name that NUT takes without quotes.
pub(super) fn is_word(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=64).contains(&text.len()) && text.chars().all(plain)
}
