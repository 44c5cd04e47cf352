//! `doorkey serve`: API, broker connections and maintenance in one process. Several processes may
//! share one database.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::broker::{publish, subscribe};
use crate::http::{Shared, router};
use doorward_protocol::wire::topics;
use doorward_transport::Broker;
use doorward_transport::MqttClient;
use doorward_transport::clock;

/// Delay before the connection to the broker is tried again.
const RECONNECT_DELAY: Duration = Duration::from_secs(2);
/// How often the outbox is polled for statements that other processes have signed.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How often maintenance runs.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(60);
/// How long running requests may take when the service stops.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// Listener and broker of the service.
#[derive(Debug)]
pub struct Options {
    /// The listener for HTTP clients.
    pub listener: std::net::TcpListener,
    /// The broker of the devices, if there is one.
    pub broker: Option<Broker>,
}

/// Serves until `stop` completes, then finishes running requests within a grace period.
///
/// # Errors
/// If the listener cannot be used.
pub async fn serve(
    shared: Arc<Shared>,
    options: Options,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let (stop_tasks, stopping) = watch::channel(false);
    let mut tasks = tokio::task::JoinSet::new();
    if let Some(broker) = options.broker {
        let publishing = publish_loop(shared.clone(), broker.clone());
        tasks.spawn(run_until(stopping.clone(), publishing));
        let subscribing = subscribe_loop(shared.clone(), broker);
        tasks.spawn(run_until(stopping.clone(), subscribing));
    }
    let maintenance = maintenance_loop(shared.clone());
    tasks.spawn(run_until(stopping.clone(), maintenance));
    options.listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(options.listener)?;
    let service = router(shared).into_make_service_with_connect_info::<SocketAddr>();
    let mut stopping = stopping;
    let server = axum::serve(listener, service).with_graceful_shutdown(async move {
        let _ = stopping.changed().await;
    });
    let server = tokio::spawn(server.into_future());
    stop.await;
    let _ = stop_tasks.send(true);
    // A client that keeps its connection open must not block the shutdown.
    let served = match tokio::time::timeout(SHUTDOWN_GRACE, server).await {
        Ok(Ok(served)) => served,
        Ok(Err(_)) | Err(_) => Ok(()),
    };
    while tasks.join_next().await.is_some() {}
    served
}

/// Runs `work` until the service stops.
async fn run_until(mut stopping: watch::Receiver<bool>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        _ = stopping.changed() => {}
    }
}

/// Publishes signed statements of this and other processes; reconnects after errors.
async fn publish_loop(shared: Arc<Shared>, broker: Broker) {
    loop {
        match MqttClient::connect(&broker).await {
            Ok(client) => loop {
                if let Err(error) =
                    publish::send_all(&shared.platform, &client, clock::system).await
                {
                    tracing::warn!(%error, "cannot publish statements, retrying");
                    break;
                }
                tokio::select! {
                    () = shared.outbox_changed.notified() => {}
                    () = tokio::time::sleep(POLL_INTERVAL) => {}
                }
            },
            Err(error) => tracing::warn!(%error, "cannot publish statements, retrying"),
        }
        tokio::time::sleep(RECONNECT_DELAY).await;
    }
}

/// Receives signed device reports; reconnects after errors. The broker delivers the retained ones
/// at every connection.
async fn subscribe_loop(shared: Arc<Shared>, broker: Broker) {
    loop {
        if let Err(error) = subscribe_once(&shared, &broker).await {
            tracing::warn!(%error, "cannot receive device reports, retrying");
        }
        tokio::time::sleep(RECONNECT_DELAY).await;
    }
}

async fn subscribe_once(shared: &Shared, broker: &Broker) -> Result<(), publish::BrokerSyncError> {
    let mut client = MqttClient::connect(broker)
        .await
        .map_err(publish::BrokerSyncError::Broker)?;
    let filters = topics::device_report_filters().to_vec();
    client
        .subscribe(filters)
        .await
        .map_err(publish::BrokerSyncError::Broker)?;
    loop {
        let next = client
            .next(MAINTENANCE_INTERVAL)
            .await
            .map_err(publish::BrokerSyncError::Broker)?;
        if let Some((topic, payload)) = next
            && subscribe::apply_report(&shared.platform, &topic, &payload).await?
        {
            shared.outbox_changed.notify_one();
        }
    }
}

/// Runs maintenance periodically.
async fn maintenance_loop(shared: Arc<Shared>) {
    loop {
        match shared.platform.run_maintenance(clock::system()).await {
            Ok(0) => {}
            Ok(_) => shared.outbox_changed.notify_one(),
            Err(error) => tracing::warn!(%error, "maintenance failed, retrying"),
        }
        tokio::time::sleep(MAINTENANCE_INTERVAL).await;
    }
}
