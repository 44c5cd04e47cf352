//! TLS 1.3 and 1.2 with rustls. Certificates are read at every connection, so that new ones are
//! used without a restart. Their validity is checked against a time with a trusted lower bound, so
//! that a device whose clock starts in 1970 can still connect to its broker.

use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rumqttc::NetworkOptions;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::ClientConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::time_provider::TimeProvider;
use tokio_rustls::rustls::{RootCertStore, version};

use crate::broker::Tls;
use crate::clock;
use crate::files;
use crate::files::{Doing, FileError, invalid};
use doorward_protocol::wire::Timestamp;

/// The system's trusted CA certificates.
const SYSTEM_CA: &str = "/etc/ssl/certs/ca-certificates.crt";
/// The error if the peer's response is not a TLS handshake.
pub const NOT_TLS: &str =
    "the server does not speak TLS; check the port, which is usually 8883 for mqtts://";
/// Maximum size of a certificate file, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// The system clock with a trusted lower bound, for the validity of certificates. Clones share the
/// bound.
#[derive(Debug, Clone, Default)]
pub struct TrustedTime(Arc<AtomicU64>);

impl TrustedTime {
    /// Sets the lower bound. May decrease only after issuer rotation.
    pub fn set_lower_bound(&self, time: Timestamp) {
        self.0.store(time.0, Ordering::Relaxed);
    }

    /// The later of the system clock and the lower bound.
    fn now(&self) -> Timestamp {
        clock::system().max(Timestamp(self.0.load(Ordering::Relaxed)))
    }
}

impl TimeProvider for TrustedTime {
    fn current_time(&self) -> Option<UnixTime> {
        let since = std::time::Duration::from_secs(self.now().0);
        Some(UnixTime::since_unix_epoch(since))
    }
}

/// Connects over TCP and TLS, and verifies the server's certificate. Never falls back to a
/// connection without TLS.
pub async fn connect(
    address: String,
    network: NetworkOptions,
    host: &str,
    tls: &Tls,
    time: &TrustedTime,
) -> std::io::Result<TlsStream<TcpStream>> {
    // Check the options before the connection is opened.
    let connector = Connector::new(host, tls, time)?;
    let stream = rumqttc::default_socket_connect(address, network).await?;
    connector
        .connect(stream)
        .await
        .map_err(|error| match error.kind() {
            ConnectionReset | UnexpectedEof | BrokenPipe => std::io::Error::other(NOT_TLS),
            _ => error,
        })
}

/// A TLS client that verifies the server's certificate.
pub struct Connector(TlsConnector, ServerName<'static>);

impl Connector {
    /// A client for a host name or address; `tls.server_name` overrides the expected name.
    pub fn new(host: &str, tls: &Tls, time: &TrustedTime) -> std::io::Result<Self> {
        let config = config(tls, time).map_err(std::io::Error::other)?;
        let name = tls.server_name.as_deref().unwrap_or(host).to_owned();
        let name = ServerName::try_from(name).map_err(invalid)?;
        Ok(Self(TlsConnector::from(Arc::new(config)), name))
    }

    /// Performs the TLS handshake over a connected stream.
    ///
    /// # Errors
    /// If the server's certificate is not trusted, or the handshake fails.
    pub async fn connect<S>(&self, stream: S) -> std::io::Result<TlsStream<S>>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        self.0.connect(self.1.clone(), stream).await
    }
}

fn config(tls: &Tls, time: &TrustedTime) -> Result<ClientConfig, FileError> {
    let ca = tls.ca.as_deref().unwrap_or(Path::new(SYSTEM_CA));
    let roots = root_certificates(ca)?;
    let config = ClientConfig::builder_with_details(
        Arc::new(ring::default_provider()),
        Arc::new(time.clone()),
    )
    .with_protocol_versions(&[&version::TLS13, &version::TLS12])
    .map_err(|error| invalid(error.to_string()))
    .doing("use", ca)?
    .with_root_certificates(roots);
    let mut config = match (&tls.certificate, &tls.key) {
        (Some(certificate), Some(key)) => config
            .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
            .map_err(|error| invalid(format!("it does not match the certificate: {error}")))
            .doing("use", key)?,
        _ => config.with_no_client_auth(),
    };
    config.alpn_protocols = tls.alpn.iter().map(|name| name.clone().into()).collect();
    Ok(config)
}

/// A TLS server. With `client_ca`, clients must have a certificate that is signed by it.
///
/// # Errors
/// If a file cannot be used.
pub fn acceptor(
    certificate: &Path,
    key: &Path,
    client_ca: Option<&Path>,
    time: &TrustedTime,
) -> Result<tokio_rustls::TlsAcceptor, FileError> {
    use tokio_rustls::rustls::server::{
        NoServerSessionStorage, ServerConfig, WebPkiClientVerifier,
    };
    let provider = Arc::new(ring::default_provider());
    let config = ServerConfig::builder_with_details(Arc::clone(&provider), Arc::new(time.clone()))
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .map_err(|error| invalid(error.to_string()))
        .doing("use", certificate)?;
    let config = match client_ca {
        Some(ca) => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(root_certificates(ca)?, provider)
                    .build()
                    .map_err(|error| invalid(error.to_string()))
                    .doing("use", ca)?;
            config.with_client_cert_verifier(verifier)
        }
        None => config.with_no_client_auth(),
    };
    let mut config = config
        .with_single_cert(certificates(certificate)?, private_key(key)?)
        .map_err(|error| invalid(format!("it does not match the certificate: {error}")))
        .doing("use", key)?;
    // The files are read for every connection, so sessions are not resumed.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config).into())
}

fn root_certificates(path: &Path) -> Result<Arc<RootCertStore>, FileError> {
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(certificates(path)?);
    if usable == 0 {
        return Err(invalid("it contains no CA certificate")).doing("use", path);
    }
    Ok(Arc::new(roots))
}

/// Reads all certificates of a PEM file, in DER.
///
/// # Errors
/// If the file cannot be read, or is not in PEM format.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let bytes = files::read(path, MAX_FILE)?;
    CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| {
            invalid(format!(
                "it contains no certificates in PEM format: {error}"
            ))
        })
        .doing("use", path)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, FileError> {
    PrivateKeyDer::from_pem_slice(&files::read_secret(path, MAX_FILE)?)
        .map_err(|error| invalid(format!("it contains no key in PEM format: {error}")))
        .doing("use", path)
}
