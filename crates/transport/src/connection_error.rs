//! Why a connection failed, in words that say what to do.

use rumqttc::mqttbytes::Error as MqttError;
use rumqttc::{ConnectReturnCode, ConnectionError, StateError};
use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_rustls::rustls::{self, AlertDescription, CertificateError};

use crate::tls::NOT_TLS;
use doorward_protocol::wire::Timestamp;

/// Puts it into words.
pub fn describe(error: &ConnectionError) -> String {
    match error {
        ConnectionError::Io(error)
        | ConnectionError::MqttState(
            StateError::Io(error) | StateError::Deserialization(MqttError::Io(error)),
        ) => of_io(error),
        ConnectionError::ConnectionRefused(code)
        | ConnectionError::MqttState(StateError::ConnFail { reason: code }) => of_refusal(*code),
        ConnectionError::Timeout(_) => {
            "it does not answer; is the address right, and does a firewall stand between?".into()
        }
        ConnectionError::MqttState(StateError::AwaitPingResp) => {
            "it has gone silent; the network may be down".into()
        }
        ConnectionError::MqttState(StateError::ConnectionAborted) => {
            "it closed the connection; its log says why".into()
        }
        ConnectionError::MqttState(StateError::ServerDisconnect {
            reason_code,
            reason_string,
        }) => {
            let said = reason_string.as_deref().unwrap_or("no more was said");
            format!("it ended the connection: {reason_code:?}, {said}")
        }
        other => other.to_string(),
    }
}

fn of_io(error: &std::io::Error) -> String {
    use std::io::ErrorKind::{ConnectionRefused, ConnectionReset, UnexpectedEof};
    if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref()) {
        return of_tls(tls);
    }
    match error.kind() {
        ConnectionRefused => format!("{error}; is it running, and is the port right?"),
        ConnectionReset | UnexpectedEof => {
            format!("{error}; it closed the connection, and its log says why")
        }
        _ => error.to_string(),
    }
}

fn of_tls(error: &rustls::Error) -> String {
    use rustls::Error::{AlertReceived, InvalidCertificate, InvalidMessage};
    match error {
        InvalidCertificate(error) => of_certificate(error),
        AlertReceived(alert) => of_alert(*alert),
        InvalidMessage(_) => NOT_TLS.into(),
        other => format!("TLS: {other}"),
    }
}

fn of_certificate(error: &CertificateError) -> String {
    use CertificateError::{
        ExpiredContext, NotValidForNameContext, NotValidYetContext, UnknownIssuer,
    };
    let clock = |now: &UnixTime| {
        format!(
            "here it is {}; set the clock if that is wrong",
            Timestamp(now.as_secs())
        )
    };
    match error {
        UnknownIssuer => "no authority that is trusted here vouches for its certificate; if it \
                          has its own authority, set tls.ca to that one's certificate"
            .into(),
        NotValidForNameContext {
            expected,
            presented,
        } => format!(
            "its certificate is for {}, not for {}; write the name that it is for as the \
             address, or as tls.server_name",
            names(presented),
            expected.to_str()
        ),
        ExpiredContext { time, not_after } => format!(
            "its certificate has expired, {}; it needs a new one ({})",
            Timestamp(not_after.as_secs()),
            clock(time)
        ),
        NotValidYetContext { time, not_before } => format!(
            "its certificate is valid from {} on ({})",
            Timestamp(not_before.as_secs()),
            clock(time)
        ),
        other => format!("its certificate cannot be used: {other}"),
    }
}

/// The names in a certificate, which rustls gives as `DnsName("broker.example")`.
fn names(presented: &[String]) -> String {
    let bare = presented
        .iter()
        .map(|name| name.split('"').nth(1).unwrap_or(name));
    bare.collect::<Vec<_>>().join(", ")
}

fn of_alert(alert: AlertDescription) -> String {
    use AlertDescription::{
        BadCertificate, CertificateExpired, CertificateRequired, CertificateRevoked,
        CertificateUnknown, HandshakeFailure, NoApplicationProtocol, UnknownCA,
    };
    match alert {
        CertificateRequired | HandshakeFailure => {
            "it wants a certificate of ours; set tls.certificate and tls.key".into()
        }
        CertificateExpired => "it says that our certificate has expired; get a new one, and put \
                               it in the place of the old one"
            .into(),
        UnknownCA | BadCertificate | CertificateUnknown | CertificateRevoked => format!(
            "it does not accept our certificate ({alert:?}); get one from the authority that \
             the broker trusts"
        ),
        NoApplicationProtocol => {
            "it speaks none of the protocols in tls.alpn; leave them out, or ask its operator"
                .into()
        }
        other => format!("it ended the TLS handshake: {other:?}"),
    }
}

fn of_refusal(code: ConnectReturnCode) -> String {
    use ConnectReturnCode::{
        BadUserNamePassword, Banned, ClientIdentifierNotValid, ConnectionRateExceeded,
        NotAuthorized, QuotaExceeded, ServerBusy, ServerUnavailable, UnsupportedProtocolVersion,
    };
    let what = match code {
        BadUserNamePassword => "user name or password are wrong; look at user and password_file",
        NotAuthorized => "this client may not connect; look at the broker's users and rules",
        Banned => "this client is banned; ask the broker's operator",
        ClientIdentifierNotValid => "the client id is not allowed; it is doorward-DEVICE-LINK",
        UnsupportedProtocolVersion => "it does not speak MQTT 5",
        ServerBusy | ServerUnavailable | QuotaExceeded | ConnectionRateExceeded => {
            "it is too busy; this is tried again"
        }
        _ => return format!("it refused the connection: {code:?}"),
    };
    format!("it refused the connection ({code:?}): {what}")
}
