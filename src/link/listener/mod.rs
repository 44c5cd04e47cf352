//! The way in without a broker: a server that answers MQTT 5 clients itself, for the topics of
//! this device alone. It keeps nothing, passes nothing on between clients, and what comes over
//! it is decided like everything else. The decision needs no log-in, so there is none; TLS, and
//! if wanted a certificate, keep strangers from listening in.

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

use self::connection::{ConnectionCommand, ConnectionEnds, PATIENCE, serve};
use self::slots::{ConnectRateLimiter, ConnectionTable, PLACES};
use crate::link::{LinkEvent, ListenerConfig};
use doorward_protocol::wire::topics::OutboundTopic;
use doorward_protocol::wire::{Hash, Id};
use doorward_transport::clock::Stopwatch;
use doorward_transport::{TrustedTime, tls};

/// Words for a client that wait for it. What is published is not told to who lets so many wait;
/// room for acknowledgements is always left, since a client has at most so many to come.
const WORDS: usize = 64;
const ACKNOWLEDGEMENTS: usize = session::RECEIVE_MAXIMUM as usize + 1;
/// Connections at one time: each is a link of its own to the agent, and served in its turn.
pub const CONNECTIONS: usize = PLACES;
/// Pause after a listener could not be opened or did not work.
const PAUSE: Duration = Duration::from_secs(5);

/// A client that has a place.
struct Client {
    words: mpsc::Sender<ConnectionCommand>,
    task: tokio::task::AbortHandle,
}

struct Shared {
    config: ListenerConfig,
    device: Id,
    time: TrustedTime,
    places: Mutex<ConnectionTable<Client>>,
    /// To the agent, one for each place.
    events: Vec<mpsc::Sender<LinkEvent>>,
    state: watch::Sender<Vec<u8>>,
    /// Whether certificate and key could not be used the last time.
    broken: AtomicBool,
}

/// A running listener.
pub struct Listener {
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

/// Starts to listen. There must be [`CONNECTIONS`] places in `events`; that it listens, or why
/// it cannot, is said on the first.
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
        places: Mutex::default(),
        events,
        state: watch::Sender::default(),
        broken: AtomicBool::new(false),
    });
    let task = tokio::spawn(accept(Arc::clone(&shared)));
    Listener { shared, task }
}

impl Listener {
    /// Acknowledges a message of whoever has this place. One of somebody who has gone is
    /// nobody's.
    pub fn acknowledge(&self, place: usize, number: u64) {
        self.answer(place, number, ConnectionCommand::Acknowledge(number));
    }

    /// Says that a message was not heard.
    pub fn refuse(&self, place: usize, number: u64) {
        self.answer(place, number, ConnectionCommand::Refuse(number));
    }

    fn answer(&self, place: usize, number: u64, word: ConnectionCommand) {
        if number == NO_ACK {
            return;
        }
        if let Some(client) = self.shared.places().get(place) {
            client.tell(word);
        }
    }

    /// Tells everybody who listens, and of a receipt whoever has brought its command.
    pub fn publish(&self, told: OutboundTopic, command: Option<Hash>, payload: &[u8]) {
        if told == OutboundTopic::State {
            self.shared.state.send_replace(payload.to_vec());
        }
        for client in self.shared.places().all() {
            client.tell(ConnectionCommand::Publish(told, command, payload.to_vec()));
        }
    }

    /// How many are connected.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.places().all().count()
    }

    /// Ends all connections: what was not acknowledged will be sent again.
    pub fn renew(&self) {
        for client in self.shared.places().all() {
            client.tell(ConnectionCommand::Goodbye);
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
        for client in self.shared.places().all() {
            client.tell(ConnectionCommand::Goodbye);
        }
    }
}

impl Client {
    /// Nothing piles up: what is told at most once may be left out, and who leaves no room for
    /// the rest is cut off.
    fn tell(&self, word: ConnectionCommand) {
        let room = self.words.capacity() > ACKNOWLEDGEMENTS;
        if matches!(word, ConnectionCommand::Publish(..)) && !room {
            return;
        }
        if self.words.try_send(word).is_err() {
            self.task.abort();
        }
    }
}

impl Shared {
    fn places(&self) -> MutexGuard<'_, ConnectionTable<Client>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// TLS as the files say now. That they cannot be used any more, or again, is said once.
    async fn acceptor_now(&self) -> std::io::Result<Option<tokio_rustls::TlsAcceptor>> {
        let acceptor = acceptor(self);
        let was_broken = self.broken.swap(acceptor.is_err(), Ordering::Relaxed);
        match (&acceptor, was_broken) {
            (Err(why), false) => {
                let why = why.clone();
                self.say(LinkEvent::Down { why, again: 0 }).await;
            }
            (Ok(_), true) => {
                self.say(LinkEvent::Up).await;
            }
            _ => {}
        }
        acceptor.map_err(std::io::Error::other)
    }

    async fn say(&self, event: LinkEvent) -> bool {
        match self.events.first() {
            Some(events) => events.send(event).await.is_ok(),
            None => false,
        }
    }
}

/// Accepts for ever. What is wrong with address, certificate or key is said and tried again.
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
        if !shared.say(down).await {
            return;
        }
        sleep(PAUSE).await;
    }
}

/// Returns when the agent is gone.
async fn listen_once(shared: &Arc<Shared>) -> Result<(), String> {
    let address = shared.config.address;
    // What cannot work is said at once, not to the first client.
    acceptor(shared)?;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| format!("cannot listen on {address}: {error}"))?;
    if !shared.say(LinkEvent::Up).await {
        return Ok(());
    }
    let watch = Stopwatch::start();
    let mut pace = ConnectRateLimiter::default();
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, say; whoever waits stays in the kernel's queue.
                tracing::warn!(%error, "the listener cannot accept");
                sleep(PAUSE).await;
                continue;
            }
        };
        let encrypted = shared.config.certificate.is_some();
        if !encrypted || pace.try_admit(peer.ip(), watch.elapsed().as_secs()) {
            welcome(shared, stream, peer.ip());
        }
    }
}

/// Gives a newcomer a place, if there is one.
fn welcome(shared: &Arc<Shared>, stream: TcpStream, peer: IpAddr) {
    let (words, receiver) = mpsc::channel(WORDS);
    let (begin, begun) = tokio::sync::oneshot::channel();
    let task = tokio::spawn(attend(stream, receiver, begun));
    let client = Client {
        words,
        task: task.abort_handle(),
    };
    let taken = shared.places().take(peer, client);
    match taken {
        Some(taken) => {
            if let Some(before) = taken.before {
                before.task.abort();
            }
            // It is given back whatever becomes of the task, even if that never begins.
            let _ = begin.send(Place {
                shared: Arc::clone(shared),
                place: taken.place,
                arrival: taken.arrival,
            });
        }
        // The task ends, since `begin` is gone.
        None => tracing::debug!(%peer, "no place for another connection"),
    }
}

async fn attend(
    stream: TcpStream,
    words: mpsc::Receiver<ConnectionCommand>,
    begun: tokio::sync::oneshot::Receiver<Place>,
) {
    let Ok(held) = begun.await else {
        return;
    };
    let Place {
        ref shared,
        place,
        arrival,
    } = held;
    let Some(events) = shared.events.get(place).cloned() else {
        return;
    };
    let ends = ConnectionEnds {
        events,
        words,
        state: shared.state.subscribe(),
    };
    // Numbers of one arrival are never those of another at the same place.
    let session = Session::new(shared.device.clone(), arrival << 32);
    let proven = || shared.places().prove(place, arrival);
    let served = async {
        stream.set_nodelay(true)?;
        match shared.acceptor_now().await? {
            Some(acceptor) => {
                let stream = timeout(PATIENCE, acceptor.accept(stream)).await??;
                serve(stream, session, ends, proven).await
            }
            None => serve(stream, session, ends, proven).await,
        }
    };
    if let Err(error) = served.await {
        tracing::debug!(%error, "a client of the listener is gone");
    }
}

/// Given back when the connection ends, in whatever way.
struct Place {
    shared: Arc<Shared>,
    place: usize,
    arrival: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.places().leave(self.place, self.arrival);
    }
}

/// TLS as the files say now, if there is any.
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
        let (words, mut receiver) = mpsc::channel(WORDS);
        let task = tokio::spawn(std::future::pending::<()>());
        let client = Client {
            words,
            task: task.abort_handle(),
        };
        for _ in 0..1000 {
            let told = OutboundTopic::Receipts(Bytes([1; 32]));
            client.tell(ConnectionCommand::Publish(told, None, Vec::new()));
        }
        for number in 1..=u64::from(session::RECEIVE_MAXIMUM) {
            client.tell(ConnectionCommand::Acknowledge(number));
        }
        tokio::task::yield_now().await;
        assert!(!task.is_finished());
        let mut acknowledged = 0;
        while let Ok(word) = receiver.try_recv() {
            acknowledged += u16::from(matches!(word, ConnectionCommand::Acknowledge(_)));
        }
        assert_eq!(acknowledged, session::RECEIVE_MAXIMUM);
        for number in 0..=WORDS as u64 {
            client.tell(ConnectionCommand::Acknowledge(number));
        }
        assert!(
            task.await.unwrap_err().is_cancelled(),
            "this one takes nothing"
        );
    }
}
