//! The address of a broker.

/// The address of a broker: `mqtts://broker.example:8883` over TLS, or `mqtt://` without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerUrl {
    /// Whether TLS is used.
    pub tls: bool,
    /// Host name or address.
    pub host: String,
    /// TCP port; by default 8883 with TLS and 1883 without.
    pub port: u16,
}

impl std::str::FromStr for BrokerUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| {
            format!(
                "`{text}` is not a broker address: {why}; use mqtts://HOST or mqtts://HOST:PORT"
            )
        };
        let (tls, rest) = match text.split_once("://") {
            Some(("mqtts", rest)) => (true, rest),
            Some(("mqtt", rest)) => (false, rest),
            _ => return Err(wrong("it does not begin with mqtts:// or mqtt://")),
        };
        if rest.contains(['/', '@', '?', '#', ' ']) {
            return Err(wrong("it contains more than a host and a port"));
        }
        // An IPv6 address is in brackets, to separate its colons from the port.
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
            .map_or(Ok(if tls { 8883 } else { 1883 }), str::parse)
            .map_err(|_| wrong("the port is not a number up to 65535"))?;
        Ok(Self {
            tls,
            host: host.to_owned(),
            port,
        })
    }
}

impl std::fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.tls { "mqtts" } else { "mqtt" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
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
    /// Returns whether the address is on this machine.
    pub(super) fn is_loopback(&self) -> bool {
        let address = self.host.parse::<std::net::IpAddr>();
        self.host == "localhost" || address.is_ok_and(|address| address.is_loopback())
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
            ("mqtts://broker", "mqtts://broker:8883"),
            ("mqtts://[::1]:7", "mqtts://[::1]:7"),
        ] {
            assert_eq!(text.parse::<BrokerUrl>().unwrap().to_string(), canonical);
        }
        for bad in [
            "",
            "broker",
            "https://x",
            "mqtt://",
            "mqtt://x:99999",
            "mqtt://u:p@x",
            "mqtt://x/y",
        ] {
            assert!(bad.parse::<BrokerUrl>().is_err(), "{bad}");
        }
    }
}
