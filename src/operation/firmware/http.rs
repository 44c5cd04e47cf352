//! A web server as a source: HTTP/1.1 (RFC 9112) over TLS, one GET, a range of it (RFC 9110,
//! section 14) after a break. No redirect is followed: the next address would be the server's
//! choice.

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

/// Longest silence of a server.
const PATIENCE: Duration = Duration::from_secs(30);
/// Most that it may say before the image begins, in bytes.
const HEAD: usize = 16 * 1024;

/// The bytes of an image as they come.
pub(super) enum Body {
    Http {
        body: Incoming,
        /// Where they begin.
        from: u64,
        /// The connection, for as long as it is read from.
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
    /// Where it begins; a file was set to where it is to go on.
    pub(super) fn begins_at(&self) -> u64 {
        match self {
            Self::Http { from, .. } => *from,
            Self::File(_) => u64::MAX,
        }
    }

    /// The next bytes, until there are none.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        match self {
            Self::Http { body, .. } => loop {
                let frame = timeout(PATIENCE, body.frame()).await;
                let frame = frame.map_err(|_| off("it has fallen silent"))?;
                match frame {
                    None => return Ok(None),
                    Some(Err(error)) => return Err(off(&error.to_string())),
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

fn off(why: &str) -> FetchError {
    FetchError::Off(why.to_owned())
}

/// Asks for the bytes from `from` on, of `size`.
pub(super) async fn open(
    work: &FirmwareJob<'_>,
    (host, port, path): (&str, u16, &str),
    from: u64,
    size: u64,
) -> Result<Body, FetchError> {
    let asked = async {
        let connector = Connector::new(host, &work.firmware.tls, work.time)?;
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        let stream = TokioIo::new(connector.connect(stream).await?);
        let mut http = Builder::new();
        http.max_buf_size(HEAD).max_headers(64);
        let error = |error: hyper::Error| off(&error.to_string());
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
    let answered = timeout(PATIENCE, asked).await;
    let (response, connection) = match answered {
        Ok(Ok(answer)) => answer,
        Ok(Err(FetchError::Off(why))) => return Err(off(&named(&why))),
        Ok(Err(other)) => return Err(other),
        Err(_) => return Err(off(&named("it does not answer"))),
    };
    let from = begins_at(&response, from, size).map_err(|broken| match broken {
        FetchError::Off(why) => FetchError::Off(named(&why)),
        FetchError::Useless(why) => FetchError::Useless(named(&why)),
        FetchError::NotTheImage(why) => FetchError::NotTheImage(named(&why)),
        FetchError::NoRoom(why) => FetchError::NoRoom(why),
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
    let useless = |error: hyper::http::Error| FetchError::Useless(error.to_string());
    request.body(Empty::new()).map_err(useless)
}

/// Where the body begins, if it can be the image.
fn begins_at<B>(response: &Response<B>, from: u64, size: u64) -> Result<u64, FetchError> {
    let text = |name| {
        let value = response.headers().get(name);
        value.and_then(|value| value.to_str().ok())
    };
    let begins = match response.status() {
        StatusCode::OK => 0,
        StatusCode::PARTIAL_CONTENT => {
            let range = format!("bytes {from}-{}/{size}", size.saturating_sub(1));
            match text(CONTENT_RANGE) {
                Some(said) if said == range => from,
                said => {
                    let said = said.unwrap_or("nothing");
                    let why = format!("it says `{said}` where `{range}` was asked for");
                    return Err(FetchError::NotTheImage(why));
                }
            }
        }
        // What is there is not longer than what came already.
        StatusCode::RANGE_NOT_SATISFIABLE => {
            return Err(FetchError::NotTheImage(
                "it has fewer bytes than the release".to_owned(),
            ));
        }
        status if status.is_redirection() => {
            let why = format!("it answers {status}, and no redirect is followed");
            return Err(FetchError::Useless(why));
        }
        status if status.is_server_error() => return Err(off(&format!("it answers {status}"))),
        status => return Err(FetchError::Useless(format!("it answers {status}"))),
    };
    if text(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(FetchError::Useless("it sends the image encoded".to_owned()));
    }
    match text(CONTENT_LENGTH).map(str::parse::<u64>) {
        Some(Ok(length)) if length != size - begins => Err(FetchError::NotTheImage(format!(
            "it has {} bytes, the release says {size}",
            begins + length
        ))),
        _ => Ok(begins),
    }
}
