//! Carries out what the core decides: commits batches, starts operations, moves messages.

use std::path::Path;

use tokio::sync::mpsc;

use super::core::Core;
use super::start::{Found, Settings};
use super::step::{Action, Delivery, Effects, Ended, Input, LinkId, Topic};
use crate::clock::Clock;
use crate::config::Config;
use crate::files::FileError;
use crate::gate::Origin;
use crate::link::{Link, LinkConfig, LinkEvent, connect, topics};
use crate::operation::Table;
use crate::store::{Batch, Opened, Store};
use crate::wire::{Bytes, Hash, Id, Timestamp};

/// Messages of one link that wait for the core.
const INBOX: usize = 64;
/// Inputs that are handled before the effects are carried out, so that what arrives together
/// shares one `fdatasync`.
const TOGETHER: usize = 64;

/// A segment of the log grows by this, in bytes.
const SEGMENT: u64 = 1 << 20;

/// Why the daemon could not start.
#[derive(Debug)]
pub enum StartError {
    /// The state directory.
    Store(FileError),
    /// The kernel's clocks or randomness.
    Machine(std::io::Error),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Machine(error) => write!(f, "the kernel does not answer: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

enum Event {
    Link(LinkId, LinkEvent),
    Durable(Result<u64, FileError>),
    Finished(Hash, Ended),
}

/// The daemon's parts.
struct Running {
    core: Core,
    clock: Clock,
    table: Table,
    device: Id,
    links: Vec<(Origin, Link)>,
    store: std::sync::mpsc::Sender<(Batch, u64)>,
    events: mpsc::Receiver<Event>,
    sender: mpsc::Sender<Event>,
}

/// Opens the store, starts the links and serves until `stop` is ready.
///
/// # Errors
/// If the store cannot be opened; once it serves, it does not give up.
pub async fn run(config: &Config, stop: impl Future<Output = ()>) -> Result<(), StartError> {
    let mut running = open(config)?;
    tracing::info!(device = %running.device, "ready");
    running.serve(stop).await;
    tracing::info!("stopping");
    for (_, link) in running.links {
        link.close().await;
    }
    Ok(())
}

fn open(config: &Config) -> Result<Running, StartError> {
    let clock = Clock::open().map_err(StartError::Machine)?;
    let mut epoch = Bytes([0; 16]);
    getrandom::fill(&mut epoch.0).map_err(|e| StartError::Machine(e.into()))?;
    let Opened {
        mut store,
        identity,
        records,
        statements,
        damage,
        salvaged,
        notes,
    } = Store::open(Path::new(&config.state)).map_err(StartError::Store)?;
    if let Some(damage) = &damage {
        tracing::warn!(%damage, "event log mended");
    }
    for note in notes {
        tracing::warn!("{note}");
    }
    let table = Table::new(&config.operations);
    let settings = Settings {
        offers: table.offers(),
        reboots: table.reboots(),
        built: built(),
        log_limit: config.log.limit_mib << 20,
        segment: SEGMENT,
        firmware: 0,
    };
    let found = Found {
        identity,
        records,
        statements,
        damage,
        salvaged,
    };
    let (mut core, mut effects) = Core::start(found, settings, epoch, &clock.read());
    store.commit(&effects.batch).map_err(StartError::Store)?;
    let (sender, events) = mpsc::channel(INBOX);
    let device = core.known().device().clone();
    let links = links(config, &device, core.known().site(), &sender);
    let mut running = Running {
        store: committer(store, sender.clone()),
        clock,
        table,
        device,
        links,
        events,
        sender,
        core: {
            let durable = Input::Durable(core.log_size());
            effects
                .actions
                .extend(core.handle(durable, &clock.read()).actions);
            core
        },
    };
    effects.batch = Batch::default();
    running.carry_out(effects);
    Ok(running)
}

/// When this program was built; it cannot be earlier than that.
fn built() -> Timestamp {
    Timestamp(env!("DOORWARD_BUILT").parse().unwrap_or(0))
}

fn links(
    config: &Config,
    device: &Id,
    site: Option<&Id>,
    sender: &mpsc::Sender<Event>,
) -> Vec<(Origin, Link)> {
    let sections = [
        (Origin::Cloud, &config.links.cloud),
        (Origin::Local, &config.links.local),
    ];
    sections
        .into_iter()
        .filter_map(|(origin, section)| Some((origin, section.as_ref()?)))
        .enumerate()
        .map(|(number, (origin, section))| {
            let config = LinkConfig {
                broker: section.url.clone(),
                device: device.clone(),
                name: origin.name(),
                site: site.cloned(),
            };
            let link = connect(config, sender.clone(), move |event| {
                Event::Link(LinkId(number), event)
            });
            (origin, link)
        })
        .collect()
}

/// The thread that writes. Batches that wait together become durable together.
fn committer(
    mut store: Store,
    events: mpsc::Sender<Event>,
) -> std::sync::mpsc::Sender<(Batch, u64)> {
    let (sender, queue) = std::sync::mpsc::channel::<(Batch, u64)>();
    std::thread::spawn(move || {
        while let Ok((mut batch, mut size)) = queue.recv() {
            while let Ok((later, grown)) = queue.try_recv() {
                batch.extend(later);
                size = grown;
            }
            let result = store.commit(&batch).map(|()| size);
            if events.blocking_send(Event::Durable(result)).is_err() {
                return;
            }
        }
    });
    sender
}

impl Running {
    async fn serve(&mut self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        loop {
            let event = tokio::select! {
                () = &mut stop => return,
                event = self.events.recv() => event,
            };
            let Some(event) = event else { return };
            let mut effects = self.step(event);
            for _ in 1..TOGETHER {
                let Ok(event) = self.events.try_recv() else {
                    break;
                };
                let more = self.step(event);
                effects.batch.extend(more.batch);
                effects.actions.extend(more.actions);
            }
            self.carry_out(effects);
        }
    }

    fn step(&mut self, event: Event) -> Effects {
        let input = match event {
            Event::Link(link, LinkEvent::Up) => {
                tracing::info!(link = self.name(link), "connected");
                Input::LinkUp
            }
            Event::Link(link, LinkEvent::Down(why)) => {
                tracing::warn!(link = self.name(link), %why, "not connected");
                return Effects::default();
            }
            Event::Link(
                link,
                LinkEvent::Message {
                    retained,
                    number,
                    payload,
                },
            ) => Input::Arrived {
                origin: self.links.get(link.0).map_or(Origin::Cloud, |l| l.0),
                retained,
                delivery: Delivery { link, number },
                payload,
            },
            Event::Durable(Ok(size)) => Input::Durable(size),
            Event::Durable(Err(error)) => {
                tracing::error!(%error, "the store failed; everything is denied from now on");
                Input::StoreFailed
            }
            Event::Finished(command, ended) => Input::Finished(command, ended),
        };
        self.core.handle(input, &self.clock.read())
    }

    fn carry_out(&mut self, effects: Effects) {
        if !effects.batch.is_empty() {
            // If the thread is gone, nothing becomes durable and so nothing is acted upon.
            let _ = self.store.send((effects.batch, self.core.log_size()));
        }
        for action in effects.actions {
            match action {
                Action::Ack(Delivery { link, number }) => {
                    if let Some((_, link)) = self.links.get(link.0) {
                        link.acknowledge(number);
                    }
                }
                Action::Publish(topic, payload) => self.publish(&topic, &payload),
                Action::Site(site) => {
                    for (_, link) in &self.links {
                        link.set_site(site.clone());
                    }
                }
                Action::Refresh => {
                    for (_, link) in &self.links {
                        link.refresh();
                    }
                }
                Action::Run(permit) => {
                    let table = self.table.clone();
                    let facts = self.core.facts(&self.clock.read());
                    let sender = self.sender.clone();
                    tokio::spawn(async move {
                        let command = permit.caller().command;
                        let ended = table.carry_out(*permit, facts).await;
                        let _ = sender.send(Event::Finished(command, ended)).await;
                    });
                }
            }
        }
    }

    fn publish(&self, topic: &Topic, payload: &[u8]) {
        let (name, retain) = match topic {
            Topic::Receipts(holder) => (topics::receipts(&self.device, holder), false),
            Topic::State => (topics::state(&self.device), true),
            Topic::Events => (topics::events(&self.device), false),
        };
        for (_, link) in &self.links {
            link.publish(name.clone(), payload.to_vec(), retain);
        }
    }

    fn name(&self, link: LinkId) -> &'static str {
        self.links
            .get(link.0)
            .map_or("?", |(origin, _)| origin.name())
    }
}
