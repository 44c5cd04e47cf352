//! Where MQTT clients connect to the device itself.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Where it listens, and what it shows.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerConfig {
    /// Address and port.
    pub address: SocketAddr,
    /// The certificate to show, as PEM; without it only this machine is listened to.
    pub certificate: Option<PathBuf>,
    /// Its key, as PEM.
    pub key: Option<PathBuf>,
    /// If clients must show a certificate: who may vouch for them, as PEM.
    pub client_ca: Option<PathBuf>,
}

impl ListenerConfig {
    /// Finds what cannot work, before anything is tried.
    ///
    /// # Errors
    /// With what is wrong and what to do.
    pub fn check(&self) -> Result<(), String> {
        if cfg!(not(feature = "local-listener")) {
            return Err(
                "this doorward was built without it; build with --features local-listener".into(),
            );
        }
        if self.certificate.is_some() != self.key.is_some() {
            return Err("a certificate needs its key, and a key its certificate".into());
        }
        if self.certificate.is_none() && !self.address.ip().is_loopback() {
            return Err(
                "others than this machine are listened to over TLS only; set certificate and key"
                    .into(),
            );
        }
        if self.client_ca.is_some() && self.certificate.is_none() {
            return Err("client_ca is for TLS; set certificate and key too".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "local-listener")]
    #[test]
    fn whoever_is_not_this_machine_is_listened_to_over_tls_only() {
        let config = |address: &str, certificate: Option<&str>, key: Option<&str>| ListenerConfig {
            address: address.parse().unwrap(),
            certificate: certificate.map(Into::into),
            key: key.map(Into::into),
            client_ca: None,
        };
        assert_eq!(config("127.0.0.1:1884", None, None).check(), Ok(()));
        assert_eq!(config("[::]:8883", Some("/c"), Some("/k")).check(), Ok(()));
        let open = config("0.0.0.0:1883", None, None).check().unwrap_err();
        assert!(open.contains("over TLS only"), "{open}");
        let half = config("127.0.0.1:1884", Some("/c"), None).check();
        assert!(half.unwrap_err().contains("its key"));
        let bare = ListenerConfig {
            client_ca: Some("/ca".into()),
            ..config("127.0.0.1:1884", None, None)
        };
        assert!(bare.check().unwrap_err().contains("client_ca"));
    }
}
