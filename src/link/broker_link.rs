//! A link to a broker: an MQTT connection with a persistent session and manual acknowledgements.

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rumqttc::{
    AckMode, AsyncClient, Event, EventLoop, LastWill, ManualAck, Packet, PublishOptions, QoS,
    RetainForwardRule, SubscribeFilterInput, SubscribeReasonCode,
};
use tokio::sync::{Notify, mpsc};
use tokio::time::sleep;

use crate::link::publisher::Publisher;
use crate::link::session_store::EmptySessionStore;
use doorward_protocol::wire::topics;
use doorward_protocol::wire::{Audience, Id};
use doorward_transport::connection_error::describe;
use doorward_transport::{Broker, TrustedTime};

/// Time for which the broker keeps messages that were not acknowledged: a week, in seconds.
const SESSION_EXPIRY: u32 = 7 * 86400;
/// Outgoing messages that the client sends before the broker acknowledges them.
const IN_FLIGHT_WINDOW: u16 = 16;
/// The daemon's messages in flight at once. The rest of the window is for the link's presence
/// messages, the last of which must not be delayed when the daemon stops, and for the log upload.
const MAX_IN_FLIGHT: usize = 12;
/// Messages that can wait for the broker.
const OUTBOX: usize = 1024;
/// Shortest and longest delay between attempts to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Presence messages of a link on its own topic.
const UP: &str = "up";
const DOWN: &str = "down";

/// An event of a link for the daemon.
#[derive(Debug)]
pub enum LinkEvent {
    /// The link is connected and every subscription was granted.
    Up,
    /// A message was received.
    Message {
        /// Whether it is a retained message.
        retained: bool,
        /// Its number, for [`Link::acknowledge`].
        number: u64,
        /// The payload.
        payload: Vec<u8>,
    },
    /// The connection was lost or refused.
    Down {
        /// The reason and what to do.
        why: String,
        /// Longest time until the next attempt, in seconds.
        again: u64,
    },
}

/// Settings of a link.
#[derive(Debug, Clone)]
pub struct LinkConfig {
    /// The broker.
    pub broker: Broker,
    /// The device.
    pub device: Id,
    /// The name of the link, unique for the device.
    pub name: &'static str,
    /// The device's site, if it is known.
    pub site: Option<Id>,
    /// The device's lower bound of the time, for certificate checks.
    pub time: TrustedTime,
}

struct Shared {
    config: LinkConfig,
    site: Mutex<Option<Id>>,
    acks: Mutex<HashMap<u64, ManualAck>>,
    reconnect: Notify,
    /// Messages taken from the outbox that the broker has not acknowledged yet.
    in_flight: AtomicUsize,
}

/// A running link.
pub struct Link {
    client: AsyncClient,
    shared: Arc<Shared>,
    outbox: mpsc::Sender<(String, Vec<u8>, bool)>,
    tasks: tokio::task::JoinSet<()>,
}

/// Starts a link. Its events are sent to `events`; while that channel is full, nothing is read from
/// the broker.
pub fn connect(config: LinkConfig, events: mpsc::Sender<LinkEvent>) -> Link {
    let mut options = config.broker.options(
        format!("doorward-{}-{}", config.device, config.name),
        &config.time,
    );
    options
        .set_clean_start(false)
        .set_session_expiry_interval(Some(SESSION_EXPIRY))
        .set_ack_mode(AckMode::Manual)
        .set_last_will(LastWill::new(
            topics::link(&config.device, config.name),
            DOWN,
            QoS::AtLeastOnce,
            true,
            None,
        ));
    let (client, eventloop) = AsyncClient::builder(options).capacity(256).build();
    let shared = Arc::new(Shared {
        site: Mutex::new(config.site.clone()),
        config,
        acks: Mutex::new(HashMap::new()),
        reconnect: Notify::new(),
        in_flight: AtomicUsize::new(0),
    });
    let (outbox, queue) = mpsc::channel(OUTBOX);
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(poll(eventloop, client.clone(), Arc::clone(&shared), events));
    tasks.spawn(send(Publisher(client.clone()), queue, Arc::clone(&shared)));
    Link {
        client,
        shared,
        outbox,
        tasks,
    }
}

impl Link {
    /// Queues a message. If the outbox is full it is dropped: a receipt is sent again when its
    /// command is repeated, and `state` at the next connection.
    pub fn publish(&self, topic: String, payload: Vec<u8>, retain: bool) {
        if self.outbox.try_send((topic, payload, retain)).is_err() {
            tracing::warn!(
                link = self.shared.config.name,
                limit = OUTBOX,
                "outbox full; message dropped"
            );
        }
    }

    /// A way to publish messages that must not be dropped when the outbox is full.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        Publisher(self.client.clone())
    }

    /// Number of messages that wait for the broker.
    #[must_use]
    pub fn waiting(&self) -> usize {
        OUTBOX - self.outbox.capacity() + self.shared.in_flight.load(Relaxed)
    }

    /// Acknowledges a message. A message of an earlier connection is delivered again instead.
    pub fn acknowledge(&self, number: u64) {
        let ack = locked(&self.shared.acks).remove(&number);
        if let Some(ack) = ack
            && let Err(error) = self.client.try_manual_ack(ack)
        {
            tracing::warn!(link = self.shared.config.name, %error, "cannot acknowledge a message");
        }
    }

    /// Subscribes to the statements of this site.
    pub fn set_site(&self, site: Option<Id>) {
        let mut current = locked(&self.shared.site);
        if *current != site {
            *current = site;
            drop(current);
            self.shared.subscribe(&self.client);
        }
    }

    /// Requests all retained statements for this device from the broker again.
    pub fn refresh(&self) {
        self.shared.subscribe(&self.client);
    }

    /// Reconnects, so that the broker delivers messages again that were not acknowledged.
    pub fn reconnect(&self) {
        self.shared.reconnect.notify_one();
    }

    /// Publishes `down`, disconnects from the broker and waits for that, at most three seconds.
    pub async fn close(mut self) {
        self.shared.publish_presence(&self.client, DOWN);
        let _ = self
            .client
            .disconnect_with_timeout(Duration::from_secs(1))
            .await;
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        drop(self.outbox);
        let _ = tokio::time::timeout(Duration::from_secs(2), ended).await;
    }
}

impl Shared {
    /// Publishes whether this link is up.
    fn publish_presence(&self, client: &AsyncClient, presence: &str) {
        let topic = topics::link(&self.config.device, self.config.name);
        let options = PublishOptions::new(QoS::AtLeastOnce).retain(true);
        if let Err(error) = client.try_publish(topic, presence, options) {
            tracing::warn!(link = self.config.name, %error, "cannot publish `{presence}`");
        }
    }

    fn subscribe(&self, client: &AsyncClient) {
        let device = &self.config.device;
        let filter = |path: String, rule: RetainForwardRule| {
            // Retain As Published keeps the flag, so that a retained command can be refused.
            SubscribeFilterInput::new(path, QoS::AtLeastOnce)
                .preserve_retain(true)
                .retain_forward_rule(rule)
        };
        let retained = || RetainForwardRule::OnEverySubscribe;
        let mut filters = vec![
            filter(topics::command(device), RetainForwardRule::Never),
            filter(
                topics::statements(&Audience::Device(device.clone())),
                retained(),
            ),
        ];
        if let Some(site) = locked(&self.site).clone() {
            filters.push(filter(
                topics::statements(&Audience::Site(site)),
                retained(),
            ));
        }
        if let Err(error) = client.try_subscribe_many(filters) {
            tracing::warn!(link = self.config.name, %error, "cannot subscribe");
        }
    }
}

async fn poll(
    mut eventloop: EventLoop,
    client: AsyncClient,
    shared: Arc<Shared>,
    events: mpsc::Sender<LinkEvent>,
) {
    let mut pause = FIRST_PAUSE;
    let mut number = 0;
    let mut connected = false;
    loop {
        let next = async {
            if !connected {
                // The client asks the session store once, at its first connection.
                eventloop.options.set_session_store(EmptySessionStore {
                    expiry: SESSION_EXPIRY,
                    inflight: IN_FLIGHT_WINDOW,
                });
                shared.config.broker.log_in(&mut eventloop.options)?;
                connected = true;
            }
            eventloop.poll().await
        };
        let polled = tokio::select! {
            polled = next => polled,
            () = shared.reconnect.notified() => {
                eventloop.clean();
                connected = false;
                locked(&shared.acks).clear();
                continue;
            }
        };
        let event = match polled {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                // With a session store, all messages in flight are copied for it at each step.
                eventloop.options.clear_session_store();
                shared.subscribe(&client);
                continue;
            }
            Ok(Event::Incoming(Packet::SubAck(ack))) => {
                let granted = |code: &SubscribeReasonCode| {
                    matches!(code, SubscribeReasonCode::Success(QoS::AtLeastOnce))
                };
                if ack.return_codes.iter().all(granted) {
                    pause = FIRST_PAUSE;
                    shared.publish_presence(&client, UP);
                    Ok(LinkEvent::Up)
                } else {
                    // Without its subscriptions the link receives nothing, so it reconnects.
                    eventloop.clean();
                    Err(format!(
                        "the broker refused a subscription ({:?}); check its ACL for this user",
                        ack.return_codes
                    ))
                }
            }
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                let ack = client.prepare_ack(&publish);
                // An empty payload deletes a retained statement (MQTT 5 section 3.3.1.3).
                if publish.payload.is_empty() {
                    if let Some(Err(error)) = ack.map(|ack| client.try_manual_ack(ack)) {
                        tracing::debug!(%error, "cannot acknowledge an empty message");
                    }
                    continue;
                }
                number += 1;
                if let Some(ack) = ack {
                    locked(&shared.acks).insert(number, ack);
                }
                Ok(LinkEvent::Message {
                    retained: publish.retain,
                    number,
                    payload: publish.payload.to_vec(),
                })
            }
            Ok(_) => continue,
            Err(rumqttc::ConnectionError::RequestsDone) => return,
            Err(error) => Err(describe(&error)),
        };
        let lost = event.is_err();
        if lost {
            connected = false;
            locked(&shared.acks).clear();
        }
        let event = event.unwrap_or_else(|why| LinkEvent::Down {
            why,
            again: pause.as_secs().max(1),
        });
        if events.send(event).await.is_err() {
            return;
        }
        if lost {
            sleep(jittered(pause)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// Sends messages, several at once. A retained message waits for all messages before it, and later
/// ones wait for it, so that the newest one is retained even if a session is lost.
async fn send(
    publisher: Publisher,
    mut queue: mpsc::Receiver<(String, Vec<u8>, bool)>,
    shared: Arc<Shared>,
) {
    let mut in_flight = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some(()) = in_flight.next(), if !in_flight.is_empty() => {}
            message = queue.recv(), if in_flight.len() < MAX_IN_FLIGHT => {
                let Some((topic, payload, retain)) = message else { break };
                shared.in_flight.fetch_add(1, Relaxed);
                let (publisher, shared) = (&publisher, &shared);
                let message = async move {
                    publisher.publish(&topic, payload, retain).await;
                    shared.in_flight.fetch_sub(1, Relaxed);
                };
                if retain {
                    while in_flight.next().await.is_some() {}
                    message.await;
                } else {
                    in_flight.push(message);
                }
            }
        }
    }
    while in_flight.next().await.is_some() {}
}

/// A random delay between half of `pause` and all of it, so that a fleet does not reconnect at the
/// same moment.
fn jittered(pause: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(u32::MAX);
    pause / 2 + pause.mul_f64(f64::from(random) / f64::from(u32::MAX) / 2.0)
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
