//! A link of the device: one broker, a persistent session, acknowledgement by hand.

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

use crate::link::session_store::NothingInFlight;
use doorward_protocol::wire::topics;
use doorward_protocol::wire::{Audience, Id};
use doorward_transport::connection_error::describe;
use doorward_transport::{Broker, TrustedTime};

/// How long the broker keeps what we have not acknowledged: a week, in seconds.
const SESSION_EXPIRY: u32 = 7 * 86400;
pub(super) const INFLIGHT: u16 = 16;
/// Messages of the agent's that are underway at once. The rest of the window is for the link's own
/// words, the last of which must not be held up when the daemon stops, and for the records.
const AT_ONCE: usize = 12;
/// Messages of ours that wait for the broker.
const OUTBOX: usize = 1024;
/// Shortest and longest pause between two attempts to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What a link says of itself on its topic.
const UP: &str = "up";
const DOWN: &str = "down";

/// What a link tells the agent.
#[derive(Debug)]
pub enum LinkEvent {
    /// Connected, and every subscription was granted.
    Up,
    /// A message.
    Message {
        /// Whether the broker had kept it.
        retained: bool,
        /// For [`Link::acknowledge`].
        number: u64,
        /// The payload.
        payload: Vec<u8>,
    },
    /// The connection was lost or refused.
    Down {
        /// Why, and what to do.
        why: String,
        /// Seconds until the next attempt, at most.
        again: u64,
    },
}

/// What a link is made from.
#[derive(Debug, Clone)]
pub struct LinkConfig {
    /// The broker.
    pub broker: Broker,
    /// The device.
    pub device: Id,
    /// The name of the link; two links of one device must differ.
    pub name: &'static str,
    /// The device's site, if it is known.
    pub site: Option<Id>,
    /// What the device knows of the time.
    pub time: TrustedTime,
}

struct Shared {
    config: LinkConfig,
    site: Mutex<Option<Id>>,
    acks: Mutex<HashMap<u64, ManualAck>>,
    renew: Notify,
    /// Messages that have left the outbox, and that the broker does not have yet.
    underway: AtomicUsize,
}

/// A running link.
pub struct Link {
    client: AsyncClient,
    shared: Arc<Shared>,
    outbox: mpsc::Sender<(String, Vec<u8>, bool)>,
    tasks: tokio::task::JoinSet<()>,
}

/// Starts a link. Its events arrive on `events`; while that is full, nothing more is read
/// from the broker.
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
        renew: Notify::new(),
        underway: AtomicUsize::new(0),
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
    /// Queues a message. When too many wait, it is dropped: a receipt is sent again when its
    /// command comes again, and `state` at the next connection.
    pub fn publish(&self, topic: String, payload: Vec<u8>, retain: bool) {
        if self.outbox.try_send((topic, payload, retain)).is_err() {
            tracing::warn!(
                link = self.shared.config.name,
                "outbox full, message dropped"
            );
        }
    }

    /// For what must not be dropped when many messages wait.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        Publisher(self.client.clone())
    }

    /// Messages that wait for the broker.
    #[must_use]
    pub fn waiting(&self) -> usize {
        OUTBOX - self.outbox.capacity() + self.shared.underway.load(Relaxed)
    }

    /// Acknowledges a message. One that belongs to an earlier connection comes again.
    pub fn acknowledge(&self, number: u64) {
        let ack = locked(&self.shared.acks).remove(&number);
        if let Some(ack) = ack
            && let Err(error) = self.client.try_manual_ack(ack)
        {
            tracing::warn!(link = self.shared.config.name, %error, "cannot acknowledge");
        }
    }

    /// Listens to the statements of this site from now on.
    pub fn set_site(&self, site: Option<Id>) {
        let mut current = locked(&self.shared.site);
        if *current != site {
            *current = site;
            drop(current);
            self.shared.subscribe(&self.client);
        }
    }

    /// Asks the broker for everything that it retains for this device once more.
    pub fn refresh(&self) {
        self.shared.subscribe(&self.client);
    }

    /// Connects anew, so that the broker delivers again what was never acknowledged.
    pub fn renew(&self) {
        self.shared.renew.notify_one();
    }

    /// Says goodbye to the broker and waits until it was said, but not long.
    pub async fn close(mut self) {
        self.shared.say(&self.client, DOWN);
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
    /// Says whether this link is up.
    fn say(&self, client: &AsyncClient, word: &str) {
        let topic = topics::link(&self.config.device, self.config.name);
        let options = PublishOptions::new(QoS::AtLeastOnce).retain(true);
        if let Err(error) = client.try_publish(topic, word, options) {
            tracing::warn!(link = self.config.name, %error, "cannot say that it is {word}");
        }
    }

    fn subscribe(&self, client: &AsyncClient) {
        let device = &self.config.device;
        let filter = |path: String, retained: RetainForwardRule| {
            // The retain flag stays visible, so that a retained command can be refused.
            SubscribeFilterInput::new(path, QoS::AtLeastOnce)
                .preserve_retain(true)
                .retain_forward_rule(retained)
        };
        let kept = || RetainForwardRule::OnEverySubscribe;
        let mut filters = vec![
            filter(topics::command(device), RetainForwardRule::Never),
            filter(
                topics::statements(&Audience::Device(device.clone())),
                kept(),
            ),
        ];
        if let Some(site) = locked(&self.site).clone() {
            filters.push(filter(topics::statements(&Audience::Site(site)), kept()));
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
                // It is asked once, when the first connection begins.
                eventloop.options.set_session_store(NothingInFlight {
                    expiry: SESSION_EXPIRY,
                    inflight: INFLIGHT,
                });
                shared.config.broker.log_in(&mut eventloop.options)?;
                connected = true;
            }
            eventloop.poll().await
        };
        let polled = tokio::select! {
            polled = next => polled,
            () = shared.renew.notified() => {
                eventloop.clean();
                connected = false;
                locked(&shared.acks).clear();
                continue;
            }
        };
        let event = match polled {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                // While there is one, all that is underway is copied for it at each step.
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
                    shared.say(&client, UP);
                    Ok(LinkEvent::Up)
                } else {
                    // Without it nothing would be heard, so it is tried again from the start.
                    eventloop.clean();
                    Err(format!(
                        "it refused a subscription ({:?}); look at its rules for this user",
                        ack.return_codes
                    ))
                }
            }
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                let ack = client.prepare_ack(&publish);
                // How a broker is told to keep a statement no longer (MQTT 5 section 3.3.1.3).
                if publish.payload.is_empty() {
                    if let Some(Err(error)) = ack.map(|ack| client.try_manual_ack(ack)) {
                        tracing::debug!(%error, "an empty message was not acknowledged");
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

/// Sends messages, several at once. One that the broker retains waits for all before it, and all
/// after it wait for it, so that what is retained is the last word also if a session is lost.
async fn send(
    publisher: Publisher,
    mut queue: mpsc::Receiver<(String, Vec<u8>, bool)>,
    shared: Arc<Shared>,
) {
    let mut underway = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some(()) = underway.next(), if !underway.is_empty() => {}
            message = queue.recv(), if underway.len() < AT_ONCE => {
                let Some((topic, payload, retain)) = message else { break };
                shared.underway.fetch_add(1, Relaxed);
                let (publisher, shared) = (&publisher, &shared);
                let message = async move {
                    publisher.publish(&topic, payload, retain).await;
                    shared.underway.fetch_sub(1, Relaxed);
                };
                if retain {
                    while underway.next().await.is_some() {}
                    message.await;
                } else {
                    underway.push(message);
                }
            }
        }
    }
    while underway.next().await.is_some() {}
}

/// A way to publish that waits for the broker, over all losses of the connection.
#[derive(Clone)]
pub struct Publisher(AsyncClient);

impl Publisher {
    /// Ready when the broker has the message, or refuses it.
    pub async fn publish(&self, topic: &str, payload: Vec<u8>, retain: bool) {
        let options = PublishOptions::new(QoS::AtLeastOnce).retain(retain);
        loop {
            let published = self
                .0
                .publish_tracked(topic, payload.clone(), options.clone())
                .await;
            let Ok(notice) = published else { return };
            match notice.wait_completion_async().await {
                Ok(()) => return,
                // Lost with its session: it is ours to send again.
                Err(rumqttc::PublishNoticeError::SessionReset) => {}
                Err(error) => {
                    tracing::warn!(%topic, %error, "the broker did not take a message");
                    return;
                }
            }
        }
    }
}

/// Between half of the pause and all of it, so that a fleet does not come back as one.
fn jittered(pause: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(u32::MAX);
    pause / 2 + pause.mul_f64(f64::from(random) / f64::from(u32::MAX) / 2.0)
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
