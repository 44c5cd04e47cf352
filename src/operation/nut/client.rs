//! A client of NUT's upsd: its network protocol, with one line per message. It never sends LOGIN,
//! which would make upsd wait for doorward at a shutdown, nor FSD, which only a restart clears.

use std::time::Duration;

use tokio::io::{
    AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader,
};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::config::Nut;
use crate::operation::nut::Ups;
use doorward_transport::Connector;
use doorward_transport::files;

/// Longest line that is accepted, in bytes.
const MAX_LINE: u64 = 1024;
/// Interval at which upsd is polled for the result of a command.
const POLL: Duration = Duration::from_millis(200);

/// Why a request failed.
#[derive(Debug)]
pub(super) enum UpsdError {
    /// upsd refused it, with this error code.
    Refused(String),
    /// The connection failed.
    Lost(std::io::Error),
}

impl From<std::io::Error> for UpsdError {
    fn from(error: std::io::Error) -> Self {
        Self::Lost(error)
    }
}

impl std::fmt::Display for UpsdError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(code) => write!(f, "upsd: {code}{}", remedy(code)),
            Self::Lost(error) => write!(f, "upsd: {error}"),
        }
    }
}

/// Explanation or remedy for an error code of NUT.
fn remedy(code: &str) -> &'static str {
    match code {
        "ACCESS-DENIED" => "; give doorward's user this instcmd, or actions = SET, in upsd.users",
        "CMD-NOT-SUPPORTED" | "VAR-NOT-SUPPORTED" => "; this UPS does not support it",
        "DRIVER-NOT-CONNECTED" | "DATA-STALE" => "; the driver has lost the UPS",
        "UNKNOWN-UPS" => "; the name in [nut] is not in ups.conf",
        "FEATURE-NOT-CONFIGURED" => "; give upsd a certificate, or remove tls from [nut]",
        "READONLY" => "; this variable cannot be written",
        "INVALID-VALUE" | "INVALID-ARGUMENT" | "TOO-LONG" => "; the UPS does not accept this value",
        _ => "",
    }
}

type Result<T> = std::result::Result<T, UpsdError>;

/// A request that upsd has accepted.
#[derive(Debug)]
pub(super) enum Accepted {
    /// Its result can be polled with this tracking id.
    Tracked(String),
    /// upsd does not report its result.
    Untracked,
}

/// A connection to upsd.
pub(super) struct Upsd {
    stream: BufReader<Box<dyn Stream>>,
    ups: String,
    tracks: bool,
}

impl Upsd {
    /// Connects to upsd. Reading needs no login.
    pub(super) async fn connect(Ups { nut, time }: &Ups) -> Result<Self> {
        let stream = TcpStream::connect(nut.address).await?;
        stream.set_nodelay(true)?;
        let mut plain = BufReader::new(stream);
        let stream: Box<dyn Stream> = match &nut.tls {
            None => Box::new(plain.into_inner()),
            Some(tls) => {
                // Nothing else is sent or accepted before the connection is encrypted.
                let answer = request(&mut plain, "STARTTLS").await?;
                if answer != "OK STARTTLS" || !plain.buffer().is_empty() {
                    return Err(unexpected(&answer));
                }
                let host = nut.address.ip().to_string();
                let connector = Connector::new(&host, tls, time)?;
                Box::new(connector.connect(plain.into_inner()).await?)
            }
        };
        Ok(Self {
            stream: BufReader::new(stream),
            ups: nut.ups.clone(),
            tracks: false,
        })
    }

    /// Sends user name and password. upsd reports a wrong password with the first command only.
    pub(super) async fn log_in(&mut self, nut: &Nut) -> Result<()> {
        let secret = files::read_secret(&nut.password_file, 256).map_err(std::io::Error::other)?;
        let password = String::from_utf8_lossy(&secret);
        let password = quoted(password.trim_end_matches(['\n', '\r']));
        self.request(&format!("USERNAME {}", nut.user)).await?;
        self.request(&format!("PASSWORD {password}")).await?;
        // A upsd without tracking refuses this; its plain OK then counts as the result.
        self.tracks = match self.request("SET TRACKING ON").await {
            Ok(_) => true,
            Err(UpsdError::Refused(_)) => false,
            Err(lost) => return Err(lost),
        };
        Ok(())
    }

    /// Reads a variable.
    pub(super) async fn value(&mut self, variable: &str) -> Result<String> {
        let line = format!("GET VAR {} {variable}", self.ups);
        let answer = self.request(&line).await?;
        let value = answer.strip_prefix(&format!("VAR {} {variable} ", self.ups));
        value.map(unquoted).ok_or_else(|| unexpected(&answer))
    }

    /// Starts an instant command.
    pub(super) async fn command(&mut self, command: &str) -> Result<Accepted> {
        let line = format!("INSTCMD {} {command}", self.ups);
        let answer = self.request(&line).await?;
        self.accepted(&answer)
    }

    /// Sets a variable.
    pub(super) async fn set(&mut self, variable: &str, value: &str) -> Result<Accepted> {
        let line = format!("SET VAR {} {variable} {}", self.ups, quoted(value));
        let answer = self.request(&line).await?;
        self.accepted(&answer)
    }

    fn accepted(&self, answer: &str) -> Result<Accepted> {
        match answer.strip_prefix("OK TRACKING ") {
            Some(id) if self.tracks => Ok(Accepted::Tracked(id.trim().to_owned())),
            _ if answer.starts_with("OK") => Ok(Accepted::Untracked),
            _ => Err(unexpected(answer)),
        }
    }

    /// Waits until the driver has accepted a command.
    ///
    /// # Errors
    /// With the reason of the driver if it refused the command.
    pub(super) async fn follow(&mut self, id: &str) -> Result<()> {
        loop {
            match self.request(&format!("GET TRACKING {id}")).await?.as_str() {
                "PENDING" => sleep(POLL).await,
                "SUCCESS" => return Ok(()),
                other => return Err(unexpected(other)),
            }
        }
    }

    /// Logs out.
    pub(super) async fn leave(&mut self) {
        let _ = self.request("LOGOUT").await;
    }

    async fn request(&mut self, line: &str) -> Result<String> {
        request(&mut self.stream, line).await
    }
}

/// A byte stream to upsd: TCP, with or without TLS.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

async fn request<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut BufReader<S>,
    line: &str,
) -> Result<String> {
    let line = format!("{line}\n");
    stream.get_mut().write_all(line.as_bytes()).await?;
    stream.get_mut().flush().await?;
    let answer = read_line(stream).await?;
    match answer.strip_prefix("ERR ") {
        Some(code) => Err(UpsdError::Refused(code.to_owned())),
        None => Ok(answer),
    }
}

async fn read_line(stream: &mut (impl AsyncBufRead + Unpin)) -> Result<String> {
    let mut line = Vec::new();
    let read = stream.take(MAX_LINE).read_until(b'\n', &mut line).await?;
    if line.pop_if(|last| *last == b'\n').is_none() {
        let why = match read {
            0 => "upsd closed the connection",
            _ => "upsd sent a line that is too long or incomplete",
        };
        return Err(std::io::Error::other(why).into());
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

fn unexpected(answer: &str) -> UpsdError {
    UpsdError::Lost(std::io::Error::other(format!(
        "unexpected answer: {}",
        answer.escape_debug()
    )))
}

/// Quotes a string of NUT's protocol. Control characters cannot be written, so callers must refuse
/// them before.
fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{escaped}\"")
}

fn unquoted(text: &str) -> String {
    let inner = text.trim();
    let inner = inner.strip_prefix('"').unwrap_or(inner);
    let inner = inner.strip_suffix('"').unwrap_or(inner);
    inner.replace("\\\"", "\"").replace("\\\\", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_one_word_whatever_is_in_it() {
        assert_eq!(quoted(r#"20" ; FSD ups"#), r#""20\" ; FSD ups""#);
        assert_eq!(quoted(r"a\"), r#""a\\""#);
        for text in ["", "plain", r#"a "b" c"#, r"c:\d"] {
            assert_eq!(unquoted(&quoted(text)), text);
        }
    }

    #[tokio::test]
    async fn a_line_has_an_end_and_a_limit() {
        let read = |bytes: Vec<u8>| async move { read_line(&mut &bytes[..]).await };
        assert_eq!(read(b"OK\nmore".to_vec()).await.unwrap(), "OK");
        for bad in [b"OK".to_vec(), Vec::new(), vec![b'x'; 5000]] {
            assert!(matches!(read(bad).await, Err(UpsdError::Lost(_))));
        }
    }
}
