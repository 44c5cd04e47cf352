//! One connection of the listener: bytes between the socket, the session and the agent.

use std::pin::pin;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use crate::link::LinkEvent;
use crate::link::listener::session::{Session, SessionAction, goodbye};
use doorward_protocol::wire::Hash;
use doorward_protocol::wire::topics::OutboundTopic;

/// How long a newcomer may take until it has connected, handshake and all, and everybody to
/// take what is sent to them.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes that are read at once.
const CHUNK: usize = 4096;

/// What a connection is told by the agent.
#[derive(Debug)]
pub(super) enum ConnectionCommand {
    /// The message of this number is done with.
    Acknowledge(u64),
    /// The message of this number was not heard.
    Refuse(u64),
    /// The device publishes something; of a receipt, the command that it answers.
    Publish(OutboundTopic, Option<Hash>, Vec<u8>),
    /// The device stops, or connects anew.
    Goodbye,
}

/// What a connection works with.
pub(super) struct ConnectionEnds {
    /// To the agent.
    pub(super) events: mpsc::Sender<LinkEvent>,
    /// From the agent.
    pub(super) words: mpsc::Receiver<ConnectionCommand>,
    /// The current `state`, once there is one.
    pub(super) state: watch::Receiver<Vec<u8>>,
}

/// Serves a client until it leaves, and calls `proven` when a command of it was answered.
///
/// # Errors
/// If the socket fails, or the client does not take what is sent.
pub(super) async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    mut session: Session,
    mut ends: ConnectionEnds,
    proven: impl Fn(),
) -> std::io::Result<()> {
    let mut received = BytesMut::new();
    // A message that waits for the agent. Until it has it, nothing more is read.
    let mut waiting = None;
    let mut idle = pin!(sleep(PATIENCE));
    let end = loop {
        if waiting.is_none() {
            match session.receive(&mut received) {
                Ok(Some(steps)) => {
                    let patience = session.patience().unwrap_or(PATIENCE);
                    idle.set(sleep(patience));
                    waiting = take(steps, &mut stream, &session, &ends).await?;
                    continue;
                }
                Ok(None) => received.reserve(CHUNK),
                Err(end) => break end,
            }
        }
        tokio::select! {
            () = &mut idle => break session.on_keep_alive_timeout(),
            word = ends.words.recv() => {
                let bytes = match word {
                    Some(ConnectionCommand::Acknowledge(number)) => session.acknowledge(number),
                    Some(ConnectionCommand::Refuse(number)) => session.refuse(number),
                    Some(ConnectionCommand::Publish(told, command, payload)) => {
                        let bytes = session.publish(&told, command.as_ref(), &payload, false);
                        if bytes.is_some() && command.is_some() {
                            proven();
                        }
                        bytes
                    }
                    Some(ConnectionCommand::Goodbye) | None => break goodbye(),
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
    send(&mut stream, &end.0).await?;
    timeout(PATIENCE, stream.shutdown()).await?
}

/// Does what a packet asks for, but for the message in it, which it returns.
async fn take(
    steps: Vec<SessionAction>,
    stream: &mut (impl AsyncWrite + Unpin),
    session: &Session,
    ends: &ConnectionEnds,
) -> std::io::Result<Option<LinkEvent>> {
    let mut message = None;
    for step in steps {
        match step {
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
    timeout(PATIENCE, sent).await?
}
