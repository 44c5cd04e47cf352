//! A connection of the listener: passes bytes between the socket, the session and the daemon.

use std::pin::pin;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use crate::link::LinkEvent;
use crate::link::listener::session::{Session, SessionAction, shutting_down};
use doorward_protocol::wire::Hash;
use doorward_protocol::wire::topics::OutboundTopic;

/// Time limit for a new client to connect, including the TLS handshake, and for every client to
/// receive a message.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes to read at once.
const READ_SIZE: usize = 4096;

/// A command of the daemon to a connection.
#[derive(Debug)]
pub(super) enum ConnectionCommand {
    /// Acknowledge the message with this number.
    Acknowledge(u64),
    /// Reject the message with this number.
    Refuse(u64),
    /// Publish a message; for a receipt, with the command that it answers.
    Publish(OutboundTopic, Option<Hash>, Vec<u8>),
    /// Close the connection, since the device stops or reconnects.
    Close,
}

/// The channels of a connection.
pub(super) struct ConnectionEnds {
    /// To the daemon.
    pub(super) events: mpsc::Sender<LinkEvent>,
    /// From the daemon.
    pub(super) commands: mpsc::Receiver<ConnectionCommand>,
    /// The current `state`; empty before there is one.
    pub(super) state: watch::Receiver<Vec<u8>>,
}

/// Serves a client until it disconnects, and calls `proven` when a command of it was answered.
///
/// # Errors
/// If the socket fails, or the client does not receive a message in time.
pub(super) async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    mut session: Session,
    mut ends: ConnectionEnds,
    proven: impl Fn(),
) -> std::io::Result<()> {
    let mut received = BytesMut::new();
    // A message that waits for the daemon. Meanwhile nothing more is read.
    let mut waiting = None;
    let mut idle = pin!(sleep(TIMEOUT));
    let close = loop {
        if waiting.is_none() {
            match session.receive(&mut received) {
                Ok(Some(actions)) => {
                    let time_limit = session.time_limit().unwrap_or(TIMEOUT);
                    idle.set(sleep(time_limit));
                    waiting = carry_out(actions, &mut stream, &session, &ends).await?;
                    continue;
                }
                Ok(None) => received.reserve(READ_SIZE),
                Err(close) => break close,
            }
        }
        tokio::select! {
            () = &mut idle => break session.on_keep_alive_timeout(),
            command = ends.commands.recv() => {
                let bytes = match command {
                    Some(ConnectionCommand::Acknowledge(number)) => session.acknowledge(number),
                    Some(ConnectionCommand::Refuse(number)) => session.refuse(number),
                    Some(ConnectionCommand::Publish(topic, command, payload)) => {
                        let bytes = session.publish(&topic, command.as_ref(), &payload, false);
                        if bytes.is_some() && command.is_some() {
                            proven();
                        }
                        bytes
                    }
                    Some(ConnectionCommand::Close) | None => break shutting_down(),
                };
                send(&mut stream, &bytes.unwrap_or_default()).await?;
            }
            permit = ends.events.reserve(), if waiting.is_some() => {
                if let Some(message) = waiting.take() {
                    permit.map_err(std::io::Error::other)?.send(message);
                }
            }
            read = stream.read_buf(&mut received), if waiting.is_none() => {
                if read? == 0 {
                    return Ok(());
                }
            }
        }
    };
    send(&mut stream, &close.0).await?;
    timeout(TIMEOUT, stream.shutdown()).await?
}

/// Carries out the actions for a packet, except for the message in it, which it returns.
async fn carry_out(
    actions: Vec<SessionAction>,
    stream: &mut (impl AsyncWrite + Unpin),
    session: &Session,
    ends: &ConnectionEnds,
) -> std::io::Result<Option<LinkEvent>> {
    let mut message = None;
    for action in actions {
        match action {
            SessionAction::Send(bytes) => send(stream, &bytes).await?,
            SessionAction::Deliver {
                retained,
                number,
                payload,
            } => {
                message = Some(LinkEvent::Message {
                    retained,
                    number,
                    payload,
                });
            }
            SessionAction::ShowState => {
                let state = ends.state.borrow().clone();
                if !state.is_empty() {
                    let bytes = session.publish(&OutboundTopic::State, None, &state, true);
                    send(stream, &bytes.unwrap_or_default()).await?;
                }
            }
        }
    }
    Ok(message)
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> std::io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    let sent = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    timeout(TIMEOUT, sent).await?
}
