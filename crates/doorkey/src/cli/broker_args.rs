//! `--broker` and what a broker wants to be shown.

use std::path::PathBuf;

use crate::broker::publish;
use crate::service::Platform;
use doorward_terminal::CliError;
use doorward_transport::MqttClient;
use doorward_transport::clock;
use doorward_transport::{Broker, BrokerUrl, Tls};

#[derive(Debug, clap::Args)]
pub(crate) struct BrokerArgs {
    /// The broker, on the cloud's side or on the site's, like mqtts://HOST.
    #[arg(long, help_heading = "Broker", value_name = "URL")]
    broker: Option<BrokerUrl>,
    /// Certificates of the authorities that may vouch for it; otherwise those of the system.
    #[arg(
        long,
        help_heading = "Broker",
        value_name = "FILE",
        requires = "broker"
    )]
    ca: Option<PathBuf>,
    /// Your certificate for it.
    #[arg(
        long,
        help_heading = "Broker",
        value_name = "FILE",
        requires = "certificate_key"
    )]
    certificate: Option<PathBuf>,
    /// The key of that certificate.
    #[arg(
        long,
        help_heading = "Broker",
        value_name = "FILE",
        requires = "certificate"
    )]
    certificate_key: Option<PathBuf>,
    /// The name in its certificate, if that is not the host of its address.
    #[arg(
        long,
        help_heading = "Broker",
        value_name = "NAME",
        requires = "broker"
    )]
    server_name: Option<String>,
    /// Your user name on it.
    #[arg(
        long,
        help_heading = "Broker",
        value_name = "NAME",
        requires = "broker"
    )]
    user: Option<String>,
    /// The file with your password on it.
    #[arg(long, help_heading = "Broker", value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
}

impl BrokerArgs {
    /// The broker, if one was named.
    pub(crate) fn broker(self) -> Option<Broker> {
        let broker = Broker::from(self.broker?);
        Some(Broker {
            user: self.user,
            password_file: self.password_file,
            tls: Tls {
                ca: self.ca,
                certificate: self.certificate,
                key: self.certificate_key,
                server_name: self.server_name,
                alpn: Vec::new(),
            },
            ..broker
        })
    }
}

/// Sends what has to go out, if there is a broker to send it to.
pub(crate) async fn send_all(
    platform: &Platform,
    broker: Option<Broker>,
) -> Result<bool, CliError> {
    let Some(broker) = broker else {
        return Ok(false);
    };
    let caller = MqttClient::connect(&broker).await?;
    publish::send_all(platform, &caller, clock::system).await?;
    Ok(true)
}
