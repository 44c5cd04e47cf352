//! The event loop of the daemon: passes events to the core and carries out its effects.

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

/// Results of operations and of writes that can wait for the core.
const MAX_EVENTS: usize = 64;
/// Inputs that are handled before their effects are carried out, so that inputs that arrive
/// together share one `fdatasync`.
const MAX_BATCHED_EVENTS: usize = 64;
/// Shortest and longest delay between attempts to reopen the store after a failure, in seconds.
const FIRST_RETRY: u64 = 5;
const LONGEST_RETRY: u64 = 300;

pub(super) enum DaemonEvent {
    Tick,
    Link(LinkId, LinkEvent),
    Durable(CommitResult),
    Operation(OperationEvent),
}

/// The running daemon.
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
    /// Results of writes.
    commits: mpsc::Receiver<CommitResult>,
    commit_sender: mpsc::Sender<CommitResult>,
    operation_events: mpsc::Receiver<OperationEvent>,
    pub(super) operation_sender: mpsc::Sender<OperationEvent>,
    /// Notes about the last start, for `doorward status`.
    pub(super) notes: Vec<String>,
    /// The error of the store, while it does not work.
    pub(super) failed: Option<String>,
    /// Delay before the next attempt to reopen the store, in seconds, and the uptime of that
    /// attempt.
    retry: u64,
    retry_at: Option<u64>,
    /// Time against which the links check certificates.
    time: TrustedTime,
    /// The task that watches the equipment; dropping the set stops it.
    pub(super) watching: JoinSet<()>,
    /// Operations that only read from memory.
    pub(super) in_memory_reads: Vec<Operation>,
    /// Commands whose operations run in this process.
    pub(super) running: BTreeSet<Hash>,
}

/// Opens the store, starts the links and serves until `stop` is ready.
///
/// # Errors
/// If the store cannot be opened at the start; later failures are retried.
pub async fn run(config: &Config, stop: impl Future<Output = ()>) -> Result<(), StartError> {
    let mut daemon = open(config)?;
    let status = StatusSocket::bind(&config.state).map_err(StartError::Store)?;
    tracing::info!(device = %daemon.device, "ready");
    daemon.serve(status, ServiceManager::ready(), stop).await;
    tracing::info!("stopping");
    ServiceManager::stopping();
    daemon.links.close().await;
    Ok(())
}

fn open(config: &Config) -> Result<Daemon, StartError> {
    let clock = Clock::open().map_err(StartError::Machine)?;
    let time = TrustedTime::default();
    let table = OperationTable::new(config, time.clone());
    let (commit_sender, commits) = mpsc::channel(MAX_EVENTS);
    let (operation_sender, operation_events) = mpsc::channel(MAX_EVENTS);
    let OpenedCore {
        core,
        effects,
        store,
        notes,
    } = match open_core(config, &table, &clock, &BTreeSet::new()) {
        Ok(opened) => opened,
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
    let mut daemon = Daemon {
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
    if let Some(upload) = &daemon.upload {
        upload.durable(daemon.core.log_size());
    }
    // A change of settings that was not confirmed is rolled back, whether or not the log names it.
    let (table, core) = (&daemon.table, &daemon.core);
    if let Some(command) = table.unconfirmed().filter(|it| !core.is_open(it)) {
        let table = table.clone();
        tokio::spawn(async move { table.take_back(&command).await });
    }
    daemon.carry_out(effects);
    Ok(daemon)
}

/// Waits for this many seconds; without a number it never returns.
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
        service_manager: ServiceManager,
        stop: impl Future<Output = ()>,
    ) {
        tokio::pin!(stop);
        // Kept across iterations, so that other events do not restart the delay.
        let mut watchdog = Box::pin(service_manager.due());
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
                    service_manager.alive();
                    watchdog.set(service_manager.due());
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

    /// Returns a queued event, if any: finished writes and operations first, then messages.
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

    /// Reopens the store after a failed write. The content of the disk is not known then, so the
    /// core is restored from it, as at a start. Until that succeeds, all commands are denied.
    fn reopen(&mut self) {
        match open_core(&self.config, &self.table, &self.clock, &self.running) {
            Ok(opened) => {
                tracing::info!("store reopened; commands are accepted again");
                self.store = Some(spawn(opened.store, self.commit_sender.clone()));
                (self.core, self.notes) = (opened.core, opened.notes);
                (self.failed, self.retry, self.retry_at) = (None, FIRST_RETRY, None);
                if let Some(upload) = &self.upload {
                    upload.durable(self.core.log_size());
                }
                self.links.set_site(self.core.statements().site());
                self.links.reconnect();
                // Clients that connect to the listener next receive the current state.
                let now = self.clock.read();
                let effects = self.core.handle(Input::LinkUp, &now);
                self.carry_out(effects);
                self.carry_out(opened.effects);
            }
            Err(error) => {
                self.table.free_disk_space();
                self.failed = Some(error.to_string());
                self.retry = (self.retry * 2).min(LONGEST_RETRY);
                let next_try_s = self.retry;
                tracing::warn!(%error, next_try_s, "cannot reopen the store");
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
                let name = self.links.name(link);
                tracing::warn!(link = name, %why, next_try_s = again, "not connected");
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
                    tracing::error!(%error, "store failed; denying commands until it is reopened");
                    self.failed = Some(error.to_string());
                    self.retry_at = Some(self.clock.read().uptime + self.retry);
                }
                // Closes the store, so that it can be reopened.
                self.store = None;
                Input::StoreFailed
            }
            DaemonEvent::Operation(OperationEvent::Finished(command, ended)) => {
                self.running.remove(&command);
                Input::Finished(command, ended)
            }
            DaemonEvent::Operation(OperationEvent::Notification(event)) => {
                Input::Notification(event)
            }
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
