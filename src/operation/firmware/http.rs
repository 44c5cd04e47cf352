//! A web server as a source: HTTP/1.1 (RFC 9112) over TLS, one GET request, with a range (RFC 9110,
//! section 14) after an interruption. Redirects are not followed, since the server would choose the
//! next address.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::Builder;
use hyper::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, HOST, RANGE, USER_AGENT,
};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::operation::firmware::FirmwareJob;
use crate::operation::firmware::fetch::FetchError;
use doorward_transport::Connector;

/// Timeout for an answer and for the next bytes.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum size of the response head, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// The body of a source.
pub(super) enum Body {
    Http {
        body: Incoming,
        /// The offset of the first byte in the image.
        from: u64,
        /// The connection task; dropping it closes the connection.
        _connection: JoinSet<()>,
    },
    File(tokio::fs::File),
}

impl From<tokio::fs::File> for Body {
    fn from(file: tokio::fs::File) -> Self {
        Self::File(file)
    }
}

impl Body {
    /// The offset of the first byte; a file has been positioned already.
    pub(super) fn offset(&self) -> u64 {
        match self {
            Self::Http { from, .. } => *from,
            Self::File(_) => u64::MAX,
        }
    }

    /// Reads the next bytes; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        match self {
            Self::Http { body, .. } => loop {
                let frame = timeout(TIMEOUT, body.frame()).await;
                let frame = frame.map_err(|_| retryable("the server stopped sending"))?;
                match frame {
                    None => return Ok(None),
                    Some(Err(error)) => return Err(retryable(&error.to_string())),
                    Some(Ok(frame)) => {
                        if let Ok(data) = frame.into_data() {
                            return Ok(Some(data));
                        }
                    }
                }
            },
            Self::File(file) => {
                let mut buffer = vec![0; 64 * 1024];
                let read = file.read(&mut buffer).await?;
                buffer.truncate(read);
                Ok((read > 0).then(|| buffer.into()))
            }
        }
    }
}

fn retryable(why: &str) -> FetchError {
    FetchError::Retryable(why.to_owned())
}

/// Requests the bytes from `from` on, of an image of `size` bytes.
pub(super) async fn open(
    job: &FirmwareJob<'_>,
    (host, port, path): (&str, u16, &str),
    from: u64,
    size: u64,
) -> Result<Body, FetchError> {
    let response = async {
        let connector = Connector::new(host, &job.firmware.tls, job.time)?;
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        let stream = TokioIo::new(connector.connect(stream).await?);
        let mut http = Builder::new();
        http.max_buf_size(MAX_HEAD).max_headers(64);
        let error = |error: hyper::Error| retryable(&error.to_string());
        let (mut sender, connection) = http.handshake(stream).await.map_err(error)?;
        let mut running = JoinSet::new();
        running.spawn(async move {
            let _ = connection.await;
        });
        let request = request((host, port, path), from)?;
        let response = sender.send_request(request).await.map_err(error)?;
        Ok::<_, FetchError>((response, running))
    };
    let named = |why: &str| format!("{host}: {why}");
    let answered = timeout(TIMEOUT, response).await;
    let (response, connection) = match answered {
        Ok(Ok(answer)) => answer,
        Ok(Err(FetchError::Retryable(why))) => return Err(retryable(&named(&why))),
        Ok(Err(other)) => return Err(other),
        Err(_) => return Err(retryable(&named("the server does not answer"))),
    };
    let from = check_response(&response, from, size).map_err(|error| match error {
        FetchError::Retryable(why) => FetchError::Retryable(named(&why)),
        FetchError::Unusable(why) => FetchError::Unusable(named(&why)),
        FetchError::WrongImage(why) => FetchError::WrongImage(named(&why)),
        FetchError::DiskFull(why) => FetchError::DiskFull(why),
    })?;
    Ok(Body::Http {
        body: response.into_body(),
        from,
        _connection: connection,
    })
}

fn request(
    (host, port, path): (&str, u16, &str),
    from: u64,
) -> Result<Request<Empty<Bytes>>, FetchError> {
    let host = match host.contains(':') {
        true => format!("[{host}]"),
        false => host.to_owned(),
    };
    let authority = match port {
        443 => host,
        port => format!("{host}:{port}"),
    };
    let mut request = Request::get(path)
        .header(HOST, authority)
        .header(USER_AGENT, concat!("doorward/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT_ENCODING, "identity");
    if from > 0 {
        request = request.header(RANGE, format!("bytes={from}-"));
    }
    let unusable = |error: hyper::http::Error| FetchError::Unusable(error.to_string());
    request.body(Empty::new()).map_err(unusable)
}

/// Checks that the response can be the image; returns the offset of its first byte.
fn check_response<B>(response: &Response<B>, from: u64, size: u64) -> Result<u64, FetchError> {
    let text = |name| {
        let value = response.headers().get(name);
        value.and_then(|value| value.to_str().ok())
    };
    let offset = match response.status() {
        StatusCode::OK => 0,
        StatusCode::PARTIAL_CONTENT => {
            let range = format!("bytes {from}-{}/{size}", size.saturating_sub(1));
            match text(CONTENT_RANGE) {
                Some(sent) if sent == range => from,
                sent => {
                    let sent = sent.unwrap_or_default();
                    let why = format!("the server sends `{sent}`, but `{range}` was requested");
                    return Err(FetchError::WrongImage(why));
                }
            }
        }
        // The server's file is not longer than the bytes received so far.
        StatusCode::RANGE_NOT_SATISFIABLE => {
            return Err(FetchError::WrongImage(
                "the file on the server is shorter than the release".to_owned(),
            ));
        }
        status if status.is_redirection() => {
            let why = format!("the server answers {status}; redirects are not followed");
            return Err(FetchError::Unusable(why));
        }
        status if status.is_server_error() => {
            return Err(retryable(&format!("the server answers {status}")));
        }
        status => return Err(FetchError::Unusable(format!("the server answers {status}"))),
    };
    if text(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(FetchError::Unusable(
            "the server sends the image with a content encoding".to_owned(),
        ));
    }
    match text(CONTENT_LENGTH).map(str::parse::<u64>) {
        Some(Ok(length)) if length != size - offset => Err(FetchError::WrongImage(format!(
            "the file on the server has {} bytes, the release {size}",
            offset + length
        ))),
        _ => Ok(offset),
    }
}
