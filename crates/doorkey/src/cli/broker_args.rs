//! `--broker`, and what is needed to connect to it.

use std::path::PathBuf;

use crate::broker::publish;
use crate::cli::profile::Profile;
use crate::service::Platform;
use doorward_terminal::{CliError, exit_status};
use doorward_transport::MqttClient;
use doorward_transport::clock;
use doorward_transport::{Broker, BrokerUrl, Tls};

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct BrokerArgs {
    /// URL of the MQTT broker, in the cloud or on the site, like mqtts://HOST
    #[arg(
        long,
        help_heading = "Broker",
        value_name = "URL",
        env = "DOORKEY_BROKER"
    )]
    broker: Option<BrokerUrl>,
    /// File with the CA certificates that the broker's certificate is checked against [default:
    /// those of the system]
    #[arg(long, help_heading = "Broker", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// File with your TLS client certificate
    #[arg(
        long,
        help_heading = "Broker",
        value_name = "FILE",
        requires = "certificate_key"
    )]
    certificate: Option<PathBuf>,
    /// File with the secret key of that certificate
    #[arg(
        long,
        help_heading = "Broker",
        value_name = "FILE",
        requires = "certificate"
    )]
    certificate_key: Option<PathBuf>,
    /// Name in the broker's certificate [default: the host of its URL]
    #[arg(long, help_heading = "Broker", value_name = "NAME")]
    server_name: Option<String>,
    /// Your user name on the broker
    #[arg(long, help_heading = "Broker", value_name = "NAME")]
    user: Option<String>,
    /// File with your password on the broker
    #[arg(long, help_heading = "Broker", value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl BrokerArgs {
    /// The broker, if one is given. The credentials of the profile are for the profile's broker:
    /// they are not sent to another one.
    pub(crate) fn resolve(self, profile: &Profile) -> Result<Option<Broker>, CliError> {
        let is_profiles = self.broker.is_none() || self.broker == profile.broker;
        let profile = match is_profiles {
            true => profile.clone(),
            false => Profile::default(),
        };
        let Some(url) = self.broker.or(profile.broker) else {
            let alone = [
                ("--ca", self.ca.is_some()),
                ("--certificate", self.certificate.is_some()),
                ("--server-name", self.server_name.is_some()),
                ("--user", self.user.is_some()),
                ("--password-file", self.password_file.is_some()),
            ];
            return match alone.into_iter().find(|(_, given)| *given) {
                Some((option, _)) => {
                    let why = format!("{option} needs a broker, and none is given");
                    Err(CliError::new(exit_status::USAGE, why).with_remedy("Give --broker URL."))
                }
                None => Ok(None),
            };
        };
        let (certificate, key) = match self.certificate {
            Some(certificate) => (Some(certificate), self.certificate_key),
            None => (profile.certificate, profile.certificate_key),
        };
        let wrong = |why: &str| CliError::new(exit_status::USAGE, why);
        if certificate.is_some() != key.is_some() {
            return Err(wrong(
                "a certificate needs its certificate-key, and vice versa",
            ));
        }
        let user = self.user.or(profile.user);
        let password_file = self.password_file.or(profile.password_file);
        if password_file.is_some() && user.is_none() {
            return Err(wrong("a password file needs a user name").with_remedy("Give --user NAME."));
        }
        Ok(Some(Broker {
            user,
            password_file,
            tls: Tls {
                ca: self.ca.or(profile.ca),
                certificate,
                key,
                server_name: self.server_name.or(profile.server_name),
                alpn: Vec::new(),
            },
            ..Broker::from(url)
        }))
    }
}

/// Publishes the pending statements, if a broker is given. Returns whether one was.
pub(crate) async fn send_all(
    platform: &Platform,
    broker: Option<Broker>,
) -> Result<bool, CliError> {
    let Some(broker) = broker else {
        return Ok(false);
    };
    let client = MqttClient::connect(&broker).await?;
    publish::send_all(platform, &client, clock::system).await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        broker: BrokerArgs,
    }

    fn resolved(words: &[&str]) -> Broker {
        let profile = Profile {
            broker: Some("mqtts://home".parse().unwrap()),
            user: Some("ole".to_owned()),
            password_file: Some("password".into()),
            ..Profile::default()
        };
        let line = Line::parse_from([&["doorkey"][..], words].concat());
        line.broker.resolve(&profile).unwrap().unwrap()
    }

    #[test]
    fn the_credentials_of_a_profile_are_only_for_its_own_broker() {
        assert_eq!(resolved(&[]).user.as_deref(), Some("ole"));
        let same = resolved(&["--broker", "mqtts://home:8883", "--user", "mia"]);
        assert_eq!(same.user.as_deref(), Some("mia"));
        assert!(same.password_file.is_some());
        let other = resolved(&["--broker", "mqtts://other"]);
        assert_eq!((other.user, other.password_file), (None, None));
    }
}
