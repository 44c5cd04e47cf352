//! The loop of the daemon: whatever happens goes into the core, and what it decides is carried out.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::config::Config;
use crate::core::Core;
use crate::core::{Action, Delivery, Effects, Input, LinkId};
use crate::daemon::commit_thread::{CommitResult, Queue, spawn};
use crate::daemon::import_socket::Import;
use crate::daemon::inbox::{Inbox, WAITING};
use crate::daemon::links::Links;
use crate::daemon::log_upload::LogUpload;
use crate::daemon::service_manager::ServiceManager;
use crate::daemon::startup::{OpenedCore, StartError, open_core};
use crate::daemon::status_socket::StatusSocket;
use crate::link::LinkEvent;
use crate::operation::{OperationEvent, OperationTable};
use doorward_protocol::wire::{Hash, Id, Operation};
use doorward_transport::TrustedTime;
use doorward_transport::clock::Clock;

/// Ends of operations and of writes that wait for the core.
const EVENTS: usize = 64;
/// Inputs that are handled before the effects are carried out, so that what arrives together
/// shares one `fdatasync`.
const MAX_BATCHED_EVENTS: usize = 64;
/// Shortest and longest pause between two attempts to open a store that failed, in seconds.
const FIRST_RETRY: u64 = 5;
const LONGEST_RETRY: u64 = 300;

pub(super) enum DaemonEvent {
    Tick,
    Link(LinkId, LinkEvent),
    Durable(CommitResult),
    Operation(OperationEvent),
}

/// The daemon's parts.
pub(super) struct Daemon {
    pub(super) core: Core,
    pub(super) clock: Clock,
    config: Config,
    pub(super) table: OperationTable,
    pub(super) device: Id,
    pub(super) links: Links,
    inbox: Inbox,
    pub(super) import: Import,
    pub(super) upload: Option<LogUpload>,
    pub(super) store: Option<Queue>,
    /// Ends of writes.
    commits: mpsc::Receiver<CommitResult>,
    commit_sender: mpsc::Sender<CommitResult>,
    operation_events: mpsc::Receiver<OperationEvent>,
    pub(super) operation_sender: mpsc::Sender<OperationEvent>,
    /// What people should know of how it began.
    pub(super) notes: Vec<String>,
    /// Why the store does not work, if it does not.
    pub(super) failed: Option<String>,
    /// The pause before the next attempt to open the store again, in seconds, and the uptime
    /// at which that is.
    retry: u64,
    retry_at: Option<u64>,
    /// For the links, which judge certificates by it.
    time: TrustedTime,
    /// Who looks out for news; it ends with this.
    pub(super) watching: JoinSet<()>,
    /// Operations that only look at what is in memory.
    pub(super) in_memory_reads: Vec<Operation>,
    /// Commands whose operations run in this process.
    pub(super) running: BTreeSet<Hash>,
}

/// Opens the store, starts the links and serves until `stop` is ready.
///
/// # Errors
/// If the store cannot be opened; once it serves, it does not give up.
pub async fn run(config: &Config, stop: impl Future<Output = ()>) -> Result<(), StartError> {
    let mut running = open(config)?;
    let status = StatusSocket::bind(&config.state).map_err(StartError::Store)?;
    tracing::info!(device = %running.device, "ready");
    running.serve(status, ServiceManager::ready(), stop).await;
    tracing::info!("stopping");
    ServiceManager::stopping();
    running.links.close().await;
    Ok(())
}

fn open(config: &Config) -> Result<Daemon, StartError> {
    let clock = Clock::open().map_err(StartError::Machine)?;
    let time = TrustedTime::default();
    let table = OperationTable::new(config, time.clone());
    let (commit_sender, commits) = mpsc::channel(EVENTS);
    let (operation_sender, operation_events) = mpsc::channel(EVENTS);
    let OpenedCore {
        core,
        effects,
        store,
        notes,
    } = match open_core(config, &table, &clock, &BTreeSet::new()) {
        Ok(begun) => begun,
        Err(_) => {
            table.free_disk_space();
            open_core(config, &table, &clock, &BTreeSet::new())?
        }
    };
    let device = core.statements().device().clone();
    let mut inbox = Inbox::default();
    let uptime = clock.read().uptime;
    let site = core.statements().site();
    let mut links = Links::start(config, &device, site, &time, &mut inbox, uptime);
    let import = links.next();
    let import =
        Import::bind(&config.state, import, inbox.add(WAITING)).map_err(StartError::Store)?;
    links.listen(config, &device, &time, &mut inbox, uptime);
    let upload = links.upload(config, &device);
    let mut running = Daemon {
        import,
        upload,
        store: Some(spawn(store, commit_sender.clone())),
        config: config.clone(),
        in_memory_reads: table.in_memory_reads(),
        clock,
        table,
        device,
        links,
        inbox,
        commits,
        commit_sender,
        operation_events,
        operation_sender,
        core,
        notes,
        failed: None,
        retry: FIRST_RETRY,
        retry_at: None,
        time,
        watching: JoinSet::new(),
        running: BTreeSet::new(),
    };
    if let Some(upload) = &running.upload {
        upload.durable(running.core.log_size());
    }
    // A change of settings that nobody confirmed is taken back whatever the log knows of it.
    let (table, core) = (&running.table, &running.core);
    if let Some(command) = table.unconfirmed().filter(|it| !core.is_open(it)) {
        let table = table.clone();
        tokio::spawn(async move { table.take_back(&command).await });
    }
    running.carry_out(effects);
    Ok(running)
}

/// Ready after so many seconds, or never.
async fn after(seconds: Option<u64>) {
    match seconds {
        Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
        None => std::future::pending().await,
    }
}

impl Daemon {
    async fn serve(
        &mut self,
        status: StatusSocket,
        supervisor: ServiceManager,
        stop: impl Future<Output = ()>,
    ) {
        tokio::pin!(stop);
        // It counts from the last time, whatever else happened meanwhile.
        let mut watchdog = Box::pin(supervisor.due());
        loop {
            let now = self.core.now(&self.clock.read());
            self.time.set_lower_bound(now.lower_bound);
            let due = self
                .core
                .due(&now)
                .map(|due| due.saturating_sub(now.uptime));
            let retry = self.retry_at.map(|at| at.saturating_sub(now.uptime));
            let event = tokio::select! {
                () = &mut stop => return,
                result = self.commits.recv() => result.map(DaemonEvent::Durable),
                event = self.operation_events.recv() => event.map(DaemonEvent::Operation),
                (link, event) = self.inbox.next() => Some(DaemonEvent::Link(link, event)),
                caller = status.accept() => {
                    status.answer(caller, &self.status());
                    continue;
                }
                () = &mut watchdog => {
                    supervisor.alive();
                    watchdog.set(supervisor.due());
                    continue;
                }
                () = after(due) => Some(DaemonEvent::Tick),
                () = after(retry) => {
                    self.reopen();
                    continue;
                }
            };
            let Some(event) = event else { return };
            let mut effects = self.step(event);
            for _ in 1..MAX_BATCHED_EVENTS {
                let Some(event) = self.try_next() else { break };
                let more = self.step(event);
                effects.batch.extend(more.batch);
                effects.actions.extend(more.actions);
            }
            self.carry_out(effects);
        }
    }

    /// What is there already: what has ended, then the links in turn.
    fn try_next(&mut self) -> Option<DaemonEvent> {
        if let Ok(result) = self.commits.try_recv() {
            return Some(DaemonEvent::Durable(result));
        }
        if let Ok(event) = self.operation_events.try_recv() {
            return Some(DaemonEvent::Operation(event));
        }
        let (link, event) = self.inbox.try_next()?;
        Some(DaemonEvent::Link(link, event))
    }

    /// After a failed write nobody knows what is on the disk, so everything begins again from
    /// there, as after a start. Until that works, all is denied.
    fn reopen(&mut self) {
        match open_core(&self.config, &self.table, &self.clock, &self.running) {
            Ok(begun) => {
                tracing::info!("the store works again");
                self.store = Some(spawn(begun.store, self.commit_sender.clone()));
                (self.core, self.notes) = (begun.core, begun.notes);
                (self.failed, self.retry, self.retry_at) = (None, FIRST_RETRY, None);
                if let Some(upload) = &self.upload {
                    upload.durable(self.core.log_size());
                }
                self.links.set_site(self.core.statements().site());
                self.links.renew();
                // Those who come to the listener next are shown the state of now.
                let now = self.clock.read();
                let shown = self.core.handle(Input::LinkUp, &now);
                self.carry_out(shown);
                self.carry_out(begun.effects);
            }
            Err(error) => {
                tracing::warn!(%error, "the store still does not work");
                self.table.free_disk_space();
                self.failed = Some(error.to_string());
                self.retry = (self.retry * 2).min(LONGEST_RETRY);
                self.retry_at = Some(self.clock.read().uptime + self.retry);
            }
        }
    }

    pub(super) fn step(&mut self, event: DaemonEvent) -> Effects {
        let input = match event {
            DaemonEvent::Link(link, LinkEvent::Up) => {
                tracing::info!(link = self.links.name(link), "connected");
                let uptime = self.clock.read().uptime;
                if let Some(health) = self.links.health(link) {
                    health.mark_up(uptime);
                }
                Input::LinkUp
            }
            DaemonEvent::Link(link, LinkEvent::Down { why, again }) => {
                tracing::warn!(link = self.links.name(link), %why, "not connected");
                let uptime = self.clock.read().uptime;
                if let Some(health) = self.links.health(link) {
                    health.mark_down(why, again, uptime);
                }
                return Effects::default();
            }
            DaemonEvent::Link(
                link,
                LinkEvent::Message {
                    retained,
                    number,
                    payload,
                },
            ) => Input::Arrived {
                origin: self.links.origin(link),
                retained,
                delivery: Delivery { link, number },
                payload,
            },
            DaemonEvent::Tick => Input::Tick,
            DaemonEvent::Durable(Ok(size)) => {
                if let Some(upload) = &self.upload {
                    upload.durable(size);
                }
                Input::Durable(size)
            }
            DaemonEvent::Durable(Err(error)) => {
                if self.failed.is_none() {
                    tracing::error!(%error, "the store failed; everything is denied for now");
                    self.failed = Some(error.to_string());
                    self.retry_at = Some(self.clock.read().uptime + self.retry);
                }
                // Closes it, so that it can be opened again.
                self.store = None;
                Input::StoreFailed
            }
            DaemonEvent::Operation(OperationEvent::Finished(command, ended)) => {
                self.running.remove(&command);
                Input::Finished(command, ended)
            }
            DaemonEvent::Operation(OperationEvent::Notification(news)) => Input::Notification(news),
            DaemonEvent::Operation(OperationEvent::Progress(command, rows)) => {
                Input::Progress(command, rows)
            }
            DaemonEvent::Operation(OperationEvent::Chunk(topic, chunk)) => {
                let mut effects = Effects::default();
                effects.actions.push(Action::Publish(topic, chunk));
                return effects;
            }
            DaemonEvent::Operation(OperationEvent::Reauthorize(permit, answer)) => {
                let allowed = self.core.reauthorize(&permit, &self.clock.read());
                let _ = answer.send(allowed);
                return Effects::default();
            }
        };
        let reading = self.clock.read();
        let imported = match &input {
            Input::Arrived { delivery, .. } if delivery.link == self.import.link => delivery.number,
            _ => return self.core.handle(input, &reading),
        };
        let effects = self.core.handle(input, &reading);
        self.import.refused(imported, &effects.refused);
        effects
    }
}
