//! The way to a broker, step by step.

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

/// How long a name or an address may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A broker without Nagle's algorithm sends two answers right after each other.
const HELD_BACK: Duration = Duration::from_millis(20);

/// The way to a broker, step by step: the name, the address, TLS and log-in, and what it lets the
/// device hear.
pub(super) async fn reach(what: &str, link: &LinkSection, device: Option<&Id>) -> Vec<Finding> {
    let url = &link.url;
    let broken = |text: String, remedy: &str| vec![Finding::new(what, Level::Broken, text, remedy)];
    let addresses = timeout(PATIENCE, lookup_host((url.host.as_str(), url.port))).await;
    let addresses: Vec<_> = match addresses {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => {
            let text = format!("{} has no address: {error}", url.host);
            return broken(
                text,
                "Mend the name in the configuration, or the machine's DNS.",
            );
        }
        Err(_) => {
            let text = format!("nobody says which address {} has", url.host);
            return broken(
                text,
                "Is there a network, and a DNS server in /etc/resolv.conf?",
            );
        }
    };
    let mut why = String::new();
    let mut connected = false;
    for address in &addresses {
        match timeout(PATIENCE, TcpStream::connect(address)).await {
            Ok(Ok(_)) => {
                connected = true;
                break;
            }
            Ok(Err(error)) => why = format!("{address}: {error}"),
            Err(_) => why = format!("{address}: no answer"),
        }
    }
    if !connected {
        return broken(
            why,
            "Does the broker run, and is the port right? A firewall may be between.",
        );
    }
    let caller = match MqttClient::connect(&link.broker()).await {
        Ok(caller) => caller,
        Err(error) => {
            return broken(
                error.to_string(),
                "Compare the certificates, the user and the password of this link with the \
                 broker's.",
            );
        }
    };
    let mut found = vec![Finding::ok(what, format!("{url} lets the device in"))];
    if let Ok(Some(end)) = certificate::end_at(&link.broker()).await {
        found.push(files::ends(
            what,
            "the broker's certificate",
            end,
            clock::system(),
        ));
    }
    if let Ok(held_back) = acknowledgement_delay(&link.broker()).await
        && held_back >= HELD_BACK
    {
        found.push(Finding::new(
            what,
            Level::Doubtful,
            format!(
                "the broker holds every second answer back for {} ms (Nagle's algorithm)",
                held_back.as_millis()
            ),
            "mosquitto: set_tcp_nodelay true. Others call it nodelay or TCP_NODELAY.",
        ));
    }
    if let Some(device) = device {
        let own = Audience::Device(device.clone());
        let filters = vec![topics::command(device), topics::statements(&own)];
        if let Err(error) = caller.subscribe(filters).await {
            found.push(Finding::new(
                what,
                Level::Broken,
                error.to_string(),
                "The broker's rules must let the device read its own topics: see \
                 config/mosquitto.acl.",
            ));
        }
        // What belongs to people is not the device's to read.
        let others = vec![format!("doorward/v1/{device}/receipts/+")];
        if caller.subscribe(others).await.is_ok() {
            found.push(Finding::new(
                what,
                Level::Doubtful,
                "the broker lets everybody who logs in read everybody's receipts",
                "Give it rules: config/mosquitto.acl or config/emqx-acl.conf. The decision stays \
                 on the device; these keep neighbours from reading along.",
            ));
        }
    }
    found
}
