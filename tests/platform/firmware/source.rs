//! A web server with images that can misbehave in every way.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Misbehaviour for one request; requests without one are served correctly.
#[derive(Debug, Clone)]
pub(crate) enum Behaviour {
    /// Closes the connection after this number of bytes.
    CloseAfter(usize),
    /// Sends this number of bytes, then keeps the connection open without data.
    HangAfter(usize),
    /// Sends this response.
    Respond(&'static str),
    /// Announces this length, and sends other bytes.
    WrongLength(usize, Vec<u8>),
    /// Sends an endless body without a length.
    Endless,
}

/// The server; it stops at the end of the test.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) port: u16,
    behaviours: Arc<Mutex<VecDeque<Behaviour>>>,
    /// Paths and ranges of the requests.
    requests: Arc<Mutex<Vec<String>>>,
    image: Arc<Mutex<Vec<u8>>>,
}

impl Source {
    pub(crate) fn start(certificate: &Path, key: &Path) -> Self {
        let certificates = CertificateDer::pem_file_iter(certificate).unwrap();
        let certificates: Vec<_> = certificates.map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(key).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(certificates, key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (ready, is_ready) = std::sync::mpsc::channel();
        let source = Self {
            port: 0,
            behaviours: Arc::default(),
            requests: Arc::default(),
            image: Arc::default(),
        };
        let serving = source.clone();
        std::thread::spawn(move || {
            doorward_testkit::site::block_on(async move {
                let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
                ready.send(listener.local_addr().unwrap().port()).unwrap();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let (acceptor, serving) = (acceptor.clone(), serving.clone());
                    tokio::spawn(async move {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            let _ = serving.serve(stream).await;
                        }
                    });
                }
            });
        });
        Self {
            port: is_ready.recv().unwrap(),
            ..source
        }
    }

    pub(crate) fn misbehave(&self, behaviours: impl IntoIterator<Item = Behaviour>) {
        *self.behaviours.lock().unwrap() = behaviours.into_iter().collect();
    }

    pub(crate) fn set_image(&self, image: &[u8]) {
        *self.image.lock().unwrap() = image.to_vec();
    }

    /// Requests since the last call.
    pub(crate) fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }

    async fn serve<S>(&self, mut stream: S) -> std::io::Result<()>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8(head).unwrap();
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let range = head.lines().find_map(|line| line.strip_prefix("range: "));
        self.requests.lock().unwrap().push(match range {
            Some(range) => format!("{path} {range}"),
            None => path,
        });
        let image = self.image.lock().unwrap().clone();
        let from = range.and_then(|range| {
            range
                .strip_prefix("bytes=")?
                .strip_suffix('-')?
                .parse()
                .ok()
        });
        let from: usize = from.unwrap_or(0);
        let (size, last) = (image.len(), image.len().saturating_sub(1));
        let status = match from {
            0 => "200 OK".to_owned(),
            _ => format!("206 Partial Content\r\ncontent-range: bytes {from}-{last}/{size}"),
        };
        let headers =
            |length: usize| format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n");
        let body = &image[from.min(size)..];
        let behaviour = self.behaviours.lock().unwrap().pop_front();
        match behaviour {
            None => {
                stream.write_all(headers(body.len()).as_bytes()).await?;
                stream.write_all(body).await?;
            }
            Some(Behaviour::CloseAfter(bytes)) => {
                stream.write_all(headers(body.len()).as_bytes()).await?;
                stream.write_all(&body[..bytes.min(body.len())]).await?;
            }
            Some(Behaviour::HangAfter(bytes)) => {
                stream.write_all(headers(body.len()).as_bytes()).await?;
                stream.write_all(&body[..bytes.min(body.len())]).await?;
                stream.flush().await?;
                std::future::pending::<()>().await;
            }
            Some(Behaviour::Respond(response)) => stream.write_all(response.as_bytes()).await?,
            Some(Behaviour::WrongLength(length, bytes)) => {
                stream.write_all(headers(length).as_bytes()).await?;
                stream.write_all(&bytes).await?;
            }
            Some(Behaviour::Endless) => {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
                    .await?;
                loop {
                    stream.write_all(&[0; 4096]).await?;
                }
            }
        }
        stream.shutdown().await
    }
}
