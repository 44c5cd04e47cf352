//! Where a broker is, and what every connection of ours asks of it.

use rumqttc::{MqttOptions, NetworkOptions};
use std::time::Duration;

use crate::wire::MAX_BUNDLE;

/// The address of a broker, like `mqtt://broker.example:1883`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerUrl {
    host: String,
    port: u16,
}

impl std::str::FromStr for BrokerUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| {
            format!("`{text}` is no broker address: {why}; write mqtt://HOST or mqtt://HOST:PORT")
        };
        let rest = text
            .strip_prefix("mqtt://")
            .ok_or_else(|| wrong("it does not begin with mqtt://"))?;
        if rest.contains(['/', '@', '?', '#', ' ']) {
            return Err(wrong("it holds more than a host and a port"));
        }
        // An IPv6 address is written in brackets, so that its colons are not the port's.
        let (host, port) = match rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, port.strip_prefix(':')),
            None => match rest.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        if host.is_empty() {
            return Err(wrong("the host is missing"));
        }
        let port = port
            .map_or(Ok(1883), str::parse)
            .map_err(|_| wrong("the port is not a number up to 65535"))?;
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl std::fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "mqtt://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "mqtt://{}:{}", self.host, self.port)
        }
    }
}

impl<'de> serde::Deserialize<'de> for BrokerUrl {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl BrokerUrl {
    /// What every connection shares: bounded packets, a small in-flight table, no Nagle (it
    /// costs 44 ms a round trip), no topic aliases.
    pub(super) fn options(&self, client_id: String) -> MqttOptions {
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        let mut options = MqttOptions::new(client_id, (self.host.clone(), self.port));
        options
            .set_network_options(network)
            .set_connect_timeout(Duration::from_secs(10))
            .set_keep_alive(30)
            .set_receive_maximum(Some(32))
            .set_max_packet_size(Some(MAX_BUNDLE as u32 + 1024))
            .set_outgoing_inflight_upper_limit(16);
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for (text, canonical) in [
            ("mqtt://broker", "mqtt://broker:1883"),
            ("mqtt://127.0.0.1:18830", "mqtt://127.0.0.1:18830"),
            ("mqtt://[::1]", "mqtt://[::1]:1883"),
            ("mqtt://[::1]:7", "mqtt://[::1]:7"),
        ] {
            assert_eq!(text.parse::<BrokerUrl>().unwrap().to_string(), canonical);
        }
        for bad in [
            "",
            "broker",
            "mqtts://x",
            "mqtt://",
            "mqtt://x:99999",
            "mqtt://u:p@x",
            "mqtt://x/y",
        ] {
            assert!(bad.parse::<BrokerUrl>().is_err(), "{bad}");
        }
    }
}
