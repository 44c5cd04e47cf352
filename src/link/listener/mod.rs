//! The listener: an MQTT 5 server for clients that connect to the device without a broker, for the
//! topics of this device only. It stores nothing and forwards nothing between clients; its messages
//! are decided like all others. The decision needs no log-in, so there is none; TLS, with client
//! certificates if configured, protects against eavesdropping.

mod connection;
mod session;
mod slots;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

pub use self::session::{Close, NO_ACK, Session, SessionAction};

use self::connection::{ConnectionCommand, ConnectionEnds, TIMEOUT, serve};
use self::slots::{ConnectRateLimiter, ConnectionTable, MAX_CONNECTIONS};
use crate::link::{LinkEvent, ListenerConfig};
use doorward_protocol::wire::topics::OutboundTopic;
use doorward_protocol::wire::{Hash, Id};
use doorward_transport::clock::Stopwatch;
use doorward_transport::{TrustedTime, tls};

/// Commands that can wait for a client. When only the capacity reserved for acknowledgements is
/// left, publications are dropped.
const QUEUE: usize = 64;
/// Reserved capacity for the acknowledgements that a client can wait for at the same time.
const ACKNOWLEDGEMENTS: usize = session::RECEIVE_MAXIMUM as usize + 1;
/// Connections at the same time: the daemon serves each as a link of its own, in turn.
pub const CONNECTIONS: usize = MAX_CONNECTIONS;
/// Delay before the next attempt after listening or accepting has failed.
const PAUSE: Duration = Duration::from_secs(5);

/// A connected client.
struct Client {
    commands: mpsc::Sender<ConnectionCommand>,
    task: tokio::task::AbortHandle,
}

struct Shared {
    config: ListenerConfig,
    device: Id,
    time: TrustedTime,
    clients: Mutex<ConnectionTable<Client>>,
    /// To the daemon, one channel for each slot.
    events: Vec<mpsc::Sender<LinkEvent>>,
    state: watch::Sender<Vec<u8>>,
    /// Whether the certificate and key could not be used at the last connection.
    broken: AtomicBool,
}

/// A running listener.
pub struct Listener {
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

/// Starts the listener. `events` must hold [`CONNECTIONS`] channels; the first one also reports
/// whether the listener is up, or why it is not.
#[must_use]
pub fn listen(
    config: ListenerConfig,
    device: Id,
    time: TrustedTime,
    events: Vec<mpsc::Sender<LinkEvent>>,
) -> Listener {
    let shared = Arc::new(Shared {
        config,
        device,
        time,
        clients: Mutex::default(),
        events,
        state: watch::Sender::default(),
        broken: AtomicBool::new(false),
    });
    let task = tokio::spawn(accept(Arc::clone(&shared)));
    Listener { shared, task }
}

impl Listener {
    /// Acknowledges a message of the client in this slot, if it is still connected.
    pub fn acknowledge(&self, slot: usize, number: u64) {
        self.answer(slot, number, ConnectionCommand::Acknowledge(number));
    }

    /// Rejects a message of the client in this slot.
    pub fn refuse(&self, slot: usize, number: u64) {
        self.answer(slot, number, ConnectionCommand::Refuse(number));
    }

    fn answer(&self, slot: usize, number: u64, command: ConnectionCommand) {
        if number == NO_ACK {
            return;
        }
        if let Some(client) = self.shared.clients().get(slot) {
            client.send(command);
        }
    }

    /// Publishes a message to its subscribers; a receipt only to the sender of its command.
    pub fn publish(&self, topic: OutboundTopic, command: Option<Hash>, payload: &[u8]) {
        if topic == OutboundTopic::State {
            self.shared.state.send_replace(payload.to_vec());
        }
        for client in self.shared.clients().all() {
            client.send(ConnectionCommand::Publish(topic, command, payload.to_vec()));
        }
    }

    /// Number of connected clients.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.clients().all().count()
    }

    /// Closes all connections; clients send messages that were not acknowledged again.
    pub fn reconnect(&self) {
        for client in self.shared.clients().all() {
            client.send(ConnectionCommand::Close);
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
        for client in self.shared.clients().all() {
            client.send(ConnectionCommand::Close);
        }
    }
}

impl Client {
    /// Queues a command for the client. A publication, which is sent at most once, is dropped when
    /// the queue is nearly full; a client whose queue is full is disconnected.
    fn send(&self, command: ConnectionCommand) {
        let has_capacity = self.commands.capacity() > ACKNOWLEDGEMENTS;
        if matches!(command, ConnectionCommand::Publish(..)) && !has_capacity {
            return;
        }
        if self.commands.try_send(command).is_err() {
            self.task.abort();
        }
    }
}

impl Shared {
    fn clients(&self) -> MutexGuard<'_, ConnectionTable<Client>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The TLS acceptor from the current files. Reports once that the files became unusable, or
    /// usable again.
    async fn acceptor_now(&self) -> std::io::Result<Option<tokio_rustls::TlsAcceptor>> {
        let acceptor = acceptor(self);
        let was_broken = self.broken.swap(acceptor.is_err(), Ordering::Relaxed);
        match (&acceptor, was_broken) {
            (Err(why), false) => {
                let why = why.clone();
                self.report(LinkEvent::Down { why, again: 0 }).await;
            }
            (Ok(_), true) => {
                self.report(LinkEvent::Up).await;
            }
            _ => {}
        }
        acceptor.map_err(std::io::Error::other)
    }

    /// Sends an event of the listener itself. Returns whether the daemon still receives events.
    async fn report(&self, event: LinkEvent) -> bool {
        match self.events.first() {
            Some(events) => events.send(event).await.is_ok(),
            None => false,
        }
    }
}

/// Accepts connections until the daemon stops. Problems with the address, certificate or key are
/// reported and retried.
async fn accept(shared: Arc<Shared>) {
    loop {
        let why = match listen_once(&shared).await {
            Ok(()) => return,
            Err(why) => why,
        };
        let down = LinkEvent::Down {
            why,
            again: PAUSE.as_secs(),
        };
        if !shared.report(down).await {
            return;
        }
        sleep(PAUSE).await;
    }
}

/// Listens until the daemon stops.
///
/// # Errors
/// The reason why it cannot listen.
async fn listen_once(shared: &Arc<Shared>) -> Result<(), String> {
    let address = shared.config.address;
    // Unusable files are reported now, not at the first connection.
    acceptor(shared)?;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| format!("cannot listen on {address}: {error}"))?;
    if !shared.report(LinkEvent::Up).await {
        return Ok(());
    }
    let watch = Stopwatch::start();
    let mut limiter = ConnectRateLimiter::default();
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // For example out of file descriptors; waiting clients stay in the kernel's queue.
                let retry_s = PAUSE.as_secs();
                tracing::warn!(%error, retry_s, "the listener cannot accept a connection");
                sleep(PAUSE).await;
                continue;
            }
        };
        let encrypted = shared.config.certificate.is_some();
        if !encrypted || limiter.try_admit(peer.ip(), watch.elapsed().as_secs()) {
            add_client(shared, stream, peer.ip());
        }
    }
}

/// Assigns a slot to a new connection, if there is one, and starts to serve it.
fn add_client(shared: &Arc<Shared>, stream: TcpStream, peer: IpAddr) {
    let (commands, receiver) = mpsc::channel(QUEUE);
    let (assign, assigned) = tokio::sync::oneshot::channel();
    let task = tokio::spawn(serve_client(stream, receiver, assigned));
    let client = Client {
        commands,
        task: task.abort_handle(),
    };
    let taken = shared.clients().take(peer, client);
    match taken {
        Some(taken) => {
            if let Some(before) = taken.before {
                before.task.abort();
            }
            // The slot is released whatever happens to the task, even if it never starts.
            let _ = assign.send(Slot {
                shared: Arc::clone(shared),
                slot: taken.slot,
                arrival: taken.arrival,
            });
        }
        // The task ends, since `assign` is dropped.
        None => tracing::debug!(%peer, "connection refused: all connections are in use"),
    }
}

async fn serve_client(
    stream: TcpStream,
    commands: mpsc::Receiver<ConnectionCommand>,
    assigned: tokio::sync::oneshot::Receiver<Slot>,
) {
    let Ok(assigned) = assigned.await else {
        return;
    };
    let Slot {
        ref shared,
        slot,
        arrival,
    } = assigned;
    let Some(events) = shared.events.get(slot).cloned() else {
        return;
    };
    let ends = ConnectionEnds {
        events,
        commands,
        state: shared.state.subscribe(),
    };
    // Connections that use the same slot have different message numbers.
    let session = Session::new(shared.device.clone(), arrival << 32);
    let proven = || shared.clients().prove(slot, arrival);
    let served = async {
        stream.set_nodelay(true)?;
        match shared.acceptor_now().await? {
            Some(acceptor) => {
                let stream = timeout(TIMEOUT, acceptor.accept(stream)).await??;
                serve(stream, session, ends, proven).await
            }
            None => serve(stream, session, ends, proven).await,
        }
    };
    if let Err(error) = served.await {
        tracing::debug!(%error, "lost a client of the listener");
    }
}

/// An assigned slot, released when the connection ends in any way.
struct Slot {
    shared: Arc<Shared>,
    slot: usize,
    arrival: u64,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.shared.clients().leave(self.slot, self.arrival);
    }
}

/// The TLS acceptor from the current files, if TLS is configured.
fn acceptor(shared: &Shared) -> Result<Option<tokio_rustls::TlsAcceptor>, String> {
    let config = &shared.config;
    let (Some(certificate), Some(key)) = (&config.certificate, &config.key) else {
        return Ok(None);
    };
    let client_ca = config.client_ca.as_deref();
    let acceptor = tls::acceptor(certificate, key, client_ca, &shared.time);
    acceptor.map(Some).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorward_protocol::wire::Bytes;

    #[tokio::test]
    async fn a_burst_of_answers_cuts_nobody_off_and_leaves_room_for_acknowledgements() {
        let (commands, mut receiver) = mpsc::channel(QUEUE);
        let task = tokio::spawn(std::future::pending::<()>());
        let client = Client {
            commands,
            task: task.abort_handle(),
        };
        for _ in 0..1000 {
            let topic = OutboundTopic::Receipts(Bytes([1; 32]));
            client.send(ConnectionCommand::Publish(topic, None, Vec::new()));
        }
        for number in 1..=u64::from(session::RECEIVE_MAXIMUM) {
            client.send(ConnectionCommand::Acknowledge(number));
        }
        tokio::task::yield_now().await;
        assert!(!task.is_finished());
        let mut acknowledged = 0;
        while let Ok(command) = receiver.try_recv() {
            acknowledged += u16::from(matches!(command, ConnectionCommand::Acknowledge(_)));
        }
        assert_eq!(acknowledged, session::RECEIVE_MAXIMUM);
        for number in 0..=QUEUE as u64 {
            client.send(ConnectionCommand::Acknowledge(number));
        }
        assert!(
            task.await.unwrap_err().is_cancelled(),
            "a client that receives nothing is disconnected"
        );
    }
}
