//! A conversation with NUT's upsd: its network protocol, one line a message. Never LOGIN, which
//! would delay a shutdown on our behalf, and never FSD, which nothing but a restart clears.

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

/// Longest line that is taken, in bytes.
const LINE: u64 = 1024;
/// How often upsd is asked whether a command has come to an end.
const POLL: Duration = Duration::from_millis(200);

/// Why a conversation came to nothing.
#[derive(Debug)]
pub(super) enum UpsdError {
    /// upsd said no, in its own words.
    Refused(String),
    /// It could not be asked.
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
            Self::Refused(word) => write!(f, "upsd: {word}{}", remedy(word)),
            Self::Lost(error) => write!(f, "upsd: {error}"),
        }
    }
}

/// What to do about an error of NUT.
fn remedy(word: &str) -> &'static str {
    match word {
        "ACCESS-DENIED" => "; give doorward's user this instcmd, or actions = SET, in upsd.users",
        "CMD-NOT-SUPPORTED" | "VAR-NOT-SUPPORTED" => "; this UPS cannot do that",
        "DRIVER-NOT-CONNECTED" | "DATA-STALE" => "; its driver has lost the UPS",
        "UNKNOWN-UPS" => "; the name in [nut] is not that of ups.conf",
        "FEATURE-NOT-CONFIGURED" => "; give upsd a certificate, or take tls out of [nut]",
        "READONLY" => "; this variable cannot be written",
        "INVALID-VALUE" | "INVALID-ARGUMENT" | "TOO-LONG" => "; the UPS does not take this value",
        _ => "",
    }
}

type Result<T> = std::result::Result<T, UpsdError>;

/// Something that upsd was told to do, and has taken on.
#[derive(Debug)]
pub(super) enum Accepted {
    /// It can be asked what became of it.
    Tracked(String),
    /// That is all it says.
    Untracked,
}

/// A conversation.
pub(super) struct Upsd {
    stream: BufReader<Box<dyn Stream>>,
    ups: String,
    tracks: bool,
}

impl Upsd {
    /// Connects to upsd. For reading nobody has to say who they are.
    pub(super) async fn connect(Ups { nut, time }: &Ups) -> Result<Self> {
        let stream = TcpStream::connect(nut.address).await?;
        stream.set_nodelay(true)?;
        let mut plain = BufReader::new(stream);
        let stream: Box<dyn Stream> = match &nut.tls {
            None => Box::new(plain.into_inner()),
            Some(tls) => {
                // Before it is encrypted nothing is said or believed but this.
                let answer = ask(&mut plain, "STARTTLS").await?;
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

    /// Says who we are. A wrong password is told with the first command only.
    pub(super) async fn log_in(&mut self, nut: &Nut) -> Result<()> {
        let secret = files::read_secret(&nut.password_file, 256).map_err(std::io::Error::other)?;
        let password = String::from_utf8_lossy(&secret);
        let password = quoted(password.trim_end_matches(['\n', '\r']));
        self.ask(&format!("USERNAME {}", nut.user)).await?;
        self.ask(&format!("PASSWORD {password}")).await?;
        // One that knows no tracking says so, and is believed when it says OK.
        self.tracks = match self.ask("SET TRACKING ON").await {
            Ok(_) => true,
            Err(UpsdError::Refused(_)) => false,
            Err(lost) => return Err(lost),
        };
        Ok(())
    }

    /// The value of a variable.
    pub(super) async fn value(&mut self, variable: &str) -> Result<String> {
        let line = format!("GET VAR {} {variable}", self.ups);
        let answer = self.ask(&line).await?;
        let value = answer.strip_prefix(&format!("VAR {} {variable} ", self.ups));
        value.map(unquoted).ok_or_else(|| unexpected(&answer))
    }

    /// Begins an instant command.
    pub(super) async fn command(&mut self, command: &str) -> Result<Accepted> {
        let line = format!("INSTCMD {} {command}", self.ups);
        let answer = self.ask(&line).await?;
        self.accepted(&answer)
    }

    /// Writes a variable.
    pub(super) async fn set(&mut self, variable: &str, value: &str) -> Result<Accepted> {
        let line = format!("SET VAR {} {variable} {}", self.ups, quoted(value));
        let answer = self.ask(&line).await?;
        self.accepted(&answer)
    }

    fn accepted(&self, answer: &str) -> Result<Accepted> {
        match answer.strip_prefix("OK TRACKING ") {
            Some(id) if self.tracks => Ok(Accepted::Tracked(id.trim().to_owned())),
            _ if answer.starts_with("OK") => Ok(Accepted::Untracked),
            _ => Err(unexpected(answer)),
        }
    }

    /// Waits until the driver has taken a command, or says why it has not.
    pub(super) async fn follow(&mut self, id: &str) -> Result<()> {
        loop {
            match self.ask(&format!("GET TRACKING {id}")).await?.as_str() {
                "PENDING" => sleep(POLL).await,
                "SUCCESS" => return Ok(()),
                other => return Err(unexpected(other)),
            }
        }
    }

    /// Ends the conversation.
    pub(super) async fn leave(&mut self) {
        let _ = self.ask("LOGOUT").await;
    }

    async fn ask(&mut self, line: &str) -> Result<String> {
        ask(&mut self.stream, line).await
    }
}

/// What upsd is talked to over: TCP, with TLS or without.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut BufReader<S>,
    line: &str,
) -> Result<String> {
    let line = format!("{line}\n");
    stream.get_mut().write_all(line.as_bytes()).await?;
    stream.get_mut().flush().await?;
    let answer = read_line(stream).await?;
    match answer.strip_prefix("ERR ") {
        Some(word) => Err(UpsdError::Refused(word.to_owned())),
        None => Ok(answer),
    }
}

async fn read_line(stream: &mut (impl AsyncBufRead + Unpin)) -> Result<String> {
    let mut line = Vec::new();
    let read = stream.take(LINE).read_until(b'\n', &mut line).await?;
    if line.pop_if(|last| *last == b'\n').is_none() {
        let why = match read {
            0 => "it closed the connection",
            _ => "a line of it is too long or cut off",
        };
        return Err(std::io::Error::other(why).into());
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

fn unexpected(answer: &str) -> UpsdError {
    UpsdError::Lost(std::io::Error::other(format!(
        "it gave an answer that NUT does not have: {}",
        answer.escape_debug()
    )))
}

/// A word of NUT's protocol, whatever is in it. There is no way to write control characters,
/// which therefore must have been refused before.
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
