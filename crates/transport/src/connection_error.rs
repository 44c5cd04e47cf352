//! Messages for connection errors, with the remedy.

use rumqttc::mqttbytes::Error as MqttError;
use rumqttc::{ConnectReturnCode, ConnectionError, StateError};
use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_rustls::rustls::{self, AlertDescription, CertificateError};

use crate::tls::NOT_TLS;
use doorward_protocol::wire::Timestamp;

/// Returns the message for a connection error: the cause, and the remedy if it is known.
pub fn describe(error: &ConnectionError) -> String {
    match error {
        ConnectionError::Io(error)
        | ConnectionError::MqttState(
            StateError::Io(error) | StateError::Deserialization(MqttError::Io(error)),
        ) => of_io(error),
        ConnectionError::ConnectionRefused(code)
        | ConnectionError::MqttState(StateError::ConnFail { reason: code }) => of_refusal(*code),
        ConnectionError::Timeout(_) => {
            "no response (timeout); check the address, and firewalls in between".into()
        }
        ConnectionError::MqttState(StateError::AwaitPingResp) => {
            "the broker stopped responding; the network may be down".into()
        }
        ConnectionError::MqttState(StateError::ConnectionAborted) => {
            "the broker closed the connection; see its log for the reason".into()
        }
        ConnectionError::MqttState(StateError::ServerDisconnect {
            reason_code,
            reason_string,
        }) => {
            let reason = reason_string.as_deref().unwrap_or("no reason given");
            format!("the broker ended the connection: {reason_code:?}, {reason}")
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
        ConnectionRefused => format!("{error}; check that the broker is running, and the port"),
        ConnectionReset | UnexpectedEof => {
            format!("{error}; the broker closed the connection, see its log for the reason")
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
            "the time here is {}; set the clock if that is wrong",
            Timestamp(now.as_secs())
        )
    };
    match error {
        UnknownIssuer => "the broker's certificate is not signed by a trusted certificate \
                          authority (CA); for a private CA, set tls.ca to its certificate"
            .into(),
        NotValidForNameContext {
            expected,
            presented,
        } => format!(
            "the broker's certificate is for {}, not for {}; use the name in the certificate as \
             the address, or set tls.server_name to it",
            names(presented),
            expected.to_str()
        ),
        ExpiredContext { time, not_after } => format!(
            "the broker's certificate has expired, {}; install a new one on the broker ({})",
            Timestamp(not_after.as_secs()),
            clock(time)
        ),
        NotValidYetContext { time, not_before } => format!(
            "the broker's certificate is valid from {} on ({})",
            Timestamp(not_before.as_secs()),
            clock(time)
        ),
        other => format!("the broker's certificate cannot be used: {other}"),
    }
}

/// The names in a certificate; rustls formats them as `DnsName("broker.example")`.
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
            "the broker requires a client certificate; set tls.certificate and tls.key".into()
        }
        CertificateExpired => "the broker reports that the client certificate has expired; \
                               replace it with a new one"
            .into(),
        UnknownCA | BadCertificate | CertificateUnknown | CertificateRevoked => format!(
            "the broker does not accept the client certificate ({alert:?}); get one from the \
             certificate authority that the broker trusts"
        ),
        NoApplicationProtocol => {
            "the broker supports none of the protocols in tls.alpn; remove the setting, or ask \
             the broker's operator"
                .into()
        }
        other => format!("the broker ended the TLS handshake: {other:?}"),
    }
}

fn of_refusal(code: ConnectReturnCode) -> String {
    use ConnectReturnCode::{
        BadUserNamePassword, Banned, ClientIdentifierNotValid, ConnectionRateExceeded,
        NotAuthorized, QuotaExceeded, ServerBusy, ServerUnavailable, UnsupportedProtocolVersion,
    };
    let cause = match code {
        BadUserNamePassword => "wrong user name or password; check user and password_file",
        NotAuthorized => "this client may not connect; check the broker's users and access rules",
        Banned => "this client is banned; ask the broker's operator",
        ClientIdentifierNotValid => "the client id is not allowed; it is doorward-DEVICE-LINK",
        UnsupportedProtocolVersion => "the broker does not support MQTT 5",
        ServerBusy | ServerUnavailable | QuotaExceeded | ConnectionRateExceeded => {
            "the broker is overloaded; the connection is tried again"
        }
        _ => return format!("the broker refused the connection: {code:?}"),
    };
    format!("the broker refused the connection ({code:?}): {cause}")
}
