//! A broker's address and credentials, and the MQTT options of every connection to it.

use std::path::PathBuf;
use std::time::Duration;

use rumqttc::{ConnectionError, MqttOptions, NetworkOptions};

use crate::BrokerUrl;
use crate::files;
use crate::tls;
use crate::tls::TrustedTime;
use doorward_protocol::wire::MAX_BUNDLE;

/// Default MQTT keep-alive interval, in seconds. A dead connection is detected after twice the
/// interval; each message costs about 100 bytes over cellular.
const KEEP_ALIVE: u16 = 60;

/// A broker and the credentials for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// The broker's address.
    pub url: BrokerUrl,
    /// The user name at the broker.
    pub user: Option<String>,
    /// The file with the password.
    pub password_file: Option<PathBuf>,
    /// TLS options.
    pub tls: Tls,
    /// MQTT keep-alive interval, in seconds.
    pub keep_alive: u16,
}

/// TLS options: trusted CA and client certificate. The files are read at every connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// Trusted CA certificates in PEM format; without it, those of the system.
    pub ca: Option<PathBuf>,
    /// The client certificate and its chain, in PEM format.
    pub certificate: Option<PathBuf>,
    /// The private key of the client certificate, in PEM format.
    pub key: Option<PathBuf>,
    /// The name in the broker's certificate, if it differs from the host of the address.
    pub server_name: Option<String>,
    /// Application protocols to offer (RFC 7301), in order of preference.
    pub alpn: Vec<String>,
}

impl From<BrokerUrl> for Broker {
    fn from(url: BrokerUrl) -> Self {
        Self {
            url,
            user: None,
            password_file: None,
            tls: Tls::default(),
            keep_alive: KEEP_ALIVE,
        }
    }
}

impl std::fmt::Display for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.url.fmt(f)
    }
}

impl Broker {
    /// Checks the options before a connection is tried.
    ///
    /// # Errors
    /// The first invalid option and its remedy.
    pub fn check(&self) -> Result<(), String> {
        if !self.url.tls && self.tls != Tls::default() {
            return Err(
                "TLS options are set, but the address begins with mqtt://; use mqtts://".into(),
            );
        }
        if self.tls.certificate.is_some() != self.tls.key.is_some() {
            return Err("a certificate requires its key, and a key its certificate".into());
        }
        if self.password_file.is_some() && self.user.is_none() {
            return Err("a password requires a user name".into());
        }
        if self.password_file.is_some() && !self.url.tls && !self.url.is_loopback() {
            return Err("a password requires mqtts://, since mqtt:// is not encrypted".into());
        }
        if !(10..=3600).contains(&self.keep_alive) {
            return Err("keep_alive_s must be from 10 to 3600".into());
        }
        Ok(())
    }

    /// The MQTT options of every connection: bounded packets, a small in-flight window, no Nagle's
    /// algorithm (it adds 44 ms to a round trip), no topic aliases.
    pub fn options(&self, client_id: String, time: &TrustedTime) -> MqttOptions {
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        let address = (self.url.host.clone(), self.url.port);
        let mut options = MqttOptions::new(client_id, address);
        options
            .set_network_options(network)
            .set_connect_timeout(Duration::from_secs(10))
            .set_keep_alive(self.keep_alive)
            .set_receive_maximum(Some(32))
            .set_max_packet_size(Some(MAX_BUNDLE as u32 + 1024))
            .set_outgoing_inflight_upper_limit(16)
            // Send queued messages in one TCP segment.
            .set_max_request_batch(16);
        if self.url.tls {
            let (name, tls, time) = (self.url.host.clone(), self.tls.clone(), time.clone());
            options.set_socket_connector(move |address, network| {
                let (name, tls, time) = (name.clone(), tls.clone(), time.clone());
                async move { tls::connect(address, network, &name, &tls, &time).await }
            });
        }
        options
    }

    /// Sets the user name, and the current password from its file.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn log_in(&self, options: &mut MqttOptions) -> Result<(), ConnectionError> {
        let Some(user) = &self.user else {
            return Ok(());
        };
        let Some(file) = &self.password_file else {
            options.set_username(user.clone());
            return Ok(());
        };
        let password = files::read_secret(file, 4096).map_err(std::io::Error::other)?;
        let end = password
            .iter()
            .rposition(|byte| !matches!(byte, b'\n' | b'\r'));
        let password = password[..end.map_or(0, |last| last + 1)].to_vec();
        options.set_credentials(user.clone(), password);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_or_would_show_a_password_is_found_at_once() {
        let with = |url: &str, change: fn(&mut Broker)| {
            let mut broker = Broker::from(url.parse::<BrokerUrl>().unwrap());
            change(&mut broker);
            broker.check()
        };
        let secret: fn(&mut Broker) = |broker| {
            broker.user = Some("ups-7".into());
            broker.password_file = Some("/p".into());
        };
        assert_eq!(with("mqtts://x", secret), Ok(()));
        assert_eq!(with("mqtt://127.0.0.1", secret), Ok(()));
        assert!(with("mqtt://x", secret).unwrap_err().contains("mqtts://"));
        let ca: fn(&mut Broker) = |broker| broker.tls.ca = Some("/ca".into());
        assert!(with("mqtt://x", ca).unwrap_err().contains("mqtts://"));
        let half: fn(&mut Broker) = |broker| broker.tls.key = Some("/k".into());
        assert!(with("mqtts://x", half).is_err());
        let alone: fn(&mut Broker) = |broker| broker.password_file = Some("/p".into());
        assert!(with("mqtts://x", alone).is_err());
        let never: fn(&mut Broker) = |broker| broker.keep_alive = 0;
        assert!(with("mqtts://x", never).is_err());
    }
}
