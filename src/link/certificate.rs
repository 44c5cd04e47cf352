//! Expiry dates of certificates: of those in a file, and of the one that a broker presents. RFC
//! 5280 section 4.1.2.5.

use std::path::Path;

use rumqttc::NetworkOptions;
use x509_cert::Certificate;
use x509_cert::der::Decode;

use doorward_protocol::wire::Timestamp;
use doorward_transport::Broker;
use doorward_transport::files::{Doing, FileError, invalid};
use doorward_transport::tls;
use doorward_transport::tls::TrustedTime;

/// The earliest expiry date of the certificates in a file.
///
/// # Errors
/// If it cannot be read or holds no certificate.
pub fn end_of_file(path: &Path) -> Result<Timestamp, FileError> {
    let ends: Result<Vec<_>, _> = tls::certificates(path)?
        .iter()
        .map(|it| end_of(it))
        .collect();
    ends.and_then(|ends| {
        let first = ends.into_iter().min();
        first.ok_or_else(|| invalid("the file contains no certificate"))
    })
    .doing("use", path)
}

/// The expiry date of the certificate that a broker presents; `None` without TLS.
///
/// # Errors
/// If the connection fails, or the certificate cannot be parsed.
pub async fn end_at(broker: &Broker) -> std::io::Result<Option<Timestamp>> {
    if !broker.url.tls {
        return Ok(None);
    }
    let host = &broker.url.host;
    let stream = tls::connect(
        format!("{host}:{}", broker.url.port),
        NetworkOptions::new(),
        host,
        &broker.tls,
        &TrustedTime::default(),
    )
    .await?;
    let presented = stream.get_ref().1.peer_certificates();
    presented
        .and_then(|presented| presented.first())
        .map(|certificate| end_of(certificate))
        .transpose()
}

fn end_of(der: &[u8]) -> std::io::Result<Timestamp> {
    let certificate = Certificate::from_der(der).map_err(invalid)?;
    let end = certificate.tbs_certificate().validity().not_after;
    Ok(Timestamp(end.to_unix_duration().as_secs()))
}
