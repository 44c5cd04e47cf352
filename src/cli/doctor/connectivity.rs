//! Checks of the connection to a broker, step by step.

use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::cli::doctor::files;
use crate::config::LinkSection;
use crate::link::certificate;
use crate::operation::self_check::{Finding, Level};
use doorward_protocol::wire::topics;
use doorward_protocol::wire::{Audience, Id};
use doorward_transport::clock;
use doorward_transport::{MqttClient, acknowledgement_delay};

/// Timeout of a DNS lookup and of a TCP connection.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Delay of an acknowledgement above which the broker uses Nagle's algorithm: without it, two
/// responses follow each other immediately.
const MAX_DELAY: Duration = Duration::from_millis(20);

/// Checks the connection to a broker, step by step: DNS, TCP, TLS and log-in, and the topics that
/// the device may read.
pub(super) async fn reach(what: &str, link: &LinkSection, device: Option<&Id>) -> Vec<Finding> {
    let url = &link.url;
    let failed = |text: String, remedy: &str| vec![Finding::new(what, Level::Error, text, remedy)];
    let addresses = timeout(TIMEOUT, lookup_host((url.host.as_str(), url.port))).await;
    let addresses: Vec<_> = match addresses {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => {
            let text = format!("DNS lookup for {} failed: {error}", url.host);
            return failed(
                text,
                "Correct the host name in the configuration, or the machine's DNS settings.",
            );
        }
        Err(_) => {
            let text = format!("DNS lookup for {} returned no answer", url.host);
            return failed(
                text,
                "Check the network, and the DNS server in /etc/resolv.conf.",
            );
        }
    };
    let mut why = String::new();
    let mut connected = false;
    for address in &addresses {
        match timeout(TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(_)) => {
                connected = true;
                break;
            }
            Ok(Err(error)) => why = format!("{address}: {error}"),
            Err(_) => why = format!("{address}: no answer"),
        }
    }
    if !connected {
        return failed(
            why,
            "Check that the broker is running, the port, and firewalls in between.",
        );
    }
    let client = match MqttClient::connect(&link.broker()).await {
        Ok(client) => client,
        Err(error) => {
            return failed(
                error.to_string(),
                "Compare the certificates, the user and the password of this link with the \
                 broker's.",
            );
        }
    };
    let mut found = vec![Finding::ok(what, format!("{url}: connected and logged in"))];
    if let Ok(Some(end)) = certificate::end_at(&link.broker()).await {
        found.push(files::check_expiry(
            what,
            "the broker's certificate",
            end,
            clock::system(),
        ));
    }
    if let Ok(delay) = acknowledgement_delay(&link.broker()).await
        && delay >= MAX_DELAY
    {
        found.push(Finding::new(
            what,
            Level::Warning,
            format!(
                "the broker delays every second response by {} ms (Nagle's algorithm)",
                delay.as_millis()
            ),
            "mosquitto: set_tcp_nodelay true. Other brokers call it nodelay or TCP_NODELAY.",
        ));
    }
    if let Some(device) = device {
        let own = Audience::Device(device.clone());
        let filters = vec![topics::command(device), topics::statements(&own)];
        if let Err(error) = client.subscribe(filters).await {
            found.push(Finding::new(
                what,
                Level::Error,
                error.to_string(),
                "The broker's access rules must let the device read its own topics: see \
                 config/mosquitto.acl.",
            ));
        }
        // The receipts are for users: access rules do not let the device read them.
        let others = vec![format!("doorward/v1/{device}/receipts/+")];
        if client.subscribe(others).await.is_ok() {
            found.push(Finding::new(
                what,
                Level::Warning,
                "the broker lets every client that logs in read all receipts",
                "Install access rules: config/mosquitto.acl or config/emqx-acl.conf. The device \
                 decides about commands in any case; the rules keep receipts private.",
            ));
        }
    }
    found
}
