//! Configuration of the listener, to which MQTT clients connect without a broker.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Address and TLS settings of the listener.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerConfig {
    /// Address and port on which it listens.
    pub address: SocketAddr,
    /// Server certificate, as PEM; without it the address must be a loopback address.
    pub certificate: Option<PathBuf>,
    /// Private key of the certificate, as PEM.
    pub key: Option<PathBuf>,
    /// CA certificates for client certificates, as PEM; if set, clients must present one.
    pub client_ca: Option<PathBuf>,
}

impl ListenerConfig {
    /// Checks for settings that cannot work.
    ///
    /// # Errors
    /// A message with the problem and what to do.
    pub fn check(&self) -> Result<(), String> {
        if cfg!(not(feature = "local-listener")) {
            return Err("this build has no listener; build with --features local-listener".into());
        }
        if self.certificate.is_some() != self.key.is_some() {
            return Err("certificate and key must be set together".into());
        }
        if self.certificate.is_none() && !self.address.ip().is_loopback() {
            return Err(
                "an address other than loopback requires TLS; set certificate and key".into(),
            );
        }
        if self.client_ca.is_some() && self.certificate.is_none() {
            return Err("client_ca requires TLS; set certificate and key too".into());
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
        assert!(open.contains("requires TLS"), "{open}");
        let half = config("127.0.0.1:1884", Some("/c"), None).check();
        assert!(half.unwrap_err().contains("together"));
        let bare = ListenerConfig {
            client_ca: Some("/ca".into()),
            ..config("127.0.0.1:1884", None, None)
        };
        assert!(bare.check().unwrap_err().contains("client_ca"));
    }
}
