//! TLS 1.3 and 1.2 by rustls. Certificates are read at every connection, so that new ones are
//! used without a restart, and judged by a clock that cannot be before what is known for
//! certain: a device that starts in 1970 still reaches its broker.

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

/// Where systems keep the authorities that they trust.
const SYSTEM_CA: &str = "/etc/ssl/certs/ca-certificates.crt";
/// What answers otherwise in the handshake.
pub const NOT_TLS: &str =
    "what answers there does not speak TLS; is the port right? 8883 is usual for mqtts://";
/// A file of certificates is no larger than this, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// The time before which it cannot be. Shared with the links, which must judge certificates.
#[derive(Debug, Clone, Default)]
pub struct TrustedTime(Arc<AtomicU64>);

impl TrustedTime {
    /// Sets it. It goes back only when new issuers take back the word of a lost key.
    pub fn set_lower_bound(&self, time: Timestamp) {
        self.0.store(time.0, Ordering::Relaxed);
    }

    /// The later of the system's clock and what is known.
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

/// Connects, and verifies who answers. There is no way back to a connection without TLS.
pub async fn connect(
    address: String,
    network: NetworkOptions,
    host: &str,
    tls: &Tls,
    time: &TrustedTime,
) -> std::io::Result<TlsStream<TcpStream>> {
    // Before anything is sent to anybody.
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

/// Verifies who answers on a connection.
pub struct Connector(TlsConnector, ServerName<'static>);

impl Connector {
    /// For a host by its name or address, unless `tls` names another.
    pub fn new(host: &str, tls: &Tls, time: &TrustedTime) -> std::io::Result<Self> {
        let config = config(tls, time).map_err(std::io::Error::other)?;
        let name = tls.server_name.as_deref().unwrap_or(host).to_owned();
        let name = ServerName::try_from(name).map_err(invalid)?;
        Ok(Self(TlsConnector::from(Arc::new(config)), name))
    }

    /// Performs the TLS handshake over a connected stream.
    ///
    /// # Errors
    /// If the peer's certificate is not trusted, or the handshake fails.
    pub async fn connect<S>(&self, stream: S) -> std::io::Result<TlsStream<S>>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        self.0.connect(self.1.clone(), stream).await
    }
}

fn config(tls: &Tls, time: &TrustedTime) -> Result<ClientConfig, FileError> {
    let ca = tls.ca.as_deref().unwrap_or(Path::new(SYSTEM_CA));
    let roots = authorities(ca)?;
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
            .map_err(|error| invalid(format!("it does not fit the certificate: {error}")))
            .doing("use", key)?,
        _ => config.with_no_client_auth(),
    };
    config.alpn_protocols = tls.alpn.iter().map(|name| name.clone().into()).collect();
    Ok(config)
}

/// For those who connect to us. There is no way back to a connection without TLS.
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
            let verifier = WebPkiClientVerifier::builder_with_provider(authorities(ca)?, provider)
                .build()
                .map_err(|error| invalid(error.to_string()))
                .doing("use", ca)?;
            config.with_client_cert_verifier(verifier)
        }
        None => config.with_no_client_auth(),
    };
    let mut config = config
        .with_single_cert(certificates(certificate)?, private_key(key)?)
        .map_err(|error| invalid(format!("it does not fit the certificate: {error}")))
        .doing("use", key)?;
    // The files are read for every connection, so there is nothing to resume.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config).into())
}

fn authorities(path: &Path) -> Result<Arc<RootCertStore>, FileError> {
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(certificates(path)?);
    if usable == 0 {
        return Err(invalid("it holds no certificate of an authority")).doing("use", path);
    }
    Ok(Arc::new(roots))
}

/// Reads all certificates of a PEM file, in DER.
///
/// # Errors
/// If the file cannot be read or holds no certificate.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let bytes = files::read(path, MAX_FILE)?;
    CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| invalid(format!("it holds no certificates as PEM: {error}")))
        .doing("use", path)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, FileError> {
    PrivateKeyDer::from_pem_slice(&files::read_secret(path, MAX_FILE)?)
        .map_err(|error| invalid(format!("it holds no key as PEM: {error}")))
        .doing("use", path)
}
