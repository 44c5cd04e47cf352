//! `doorkey serve`: the API, the broker and the chores in one process, of which several may run
//! on one ledger.

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

/// Pause before a broker that was lost is tried again.
const PAUSE: Duration = Duration::from_secs(2);
/// How often the ledger is looked at for what others have changed.
const GLANCE: Duration = Duration::from_secs(1);
/// How often chores are done.
const MAINTENANCE: Duration = Duration::from_secs(60);
/// How long requests that have begun may take when the service ends.
const GRACE: Duration = Duration::from_secs(10);

/// Where to serve.
#[derive(Debug)]
pub struct Options {
    /// Where people connect.
    pub listener: std::net::TcpListener,
    /// The broker of the devices, if there is one.
    pub broker: Option<Broker>,
}

/// Serves until `stop` completes, then ends what has begun.
///
/// # Errors
/// If the address cannot be served.
pub async fn serve(
    shared: Arc<Shared>,
    options: Options,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let (ending, ended) = watch::channel(false);
    let mut tasks = tokio::task::JoinSet::new();
    if let Some(broker) = options.broker {
        let (to, from) = (broker.clone(), broker);
        tasks.spawn(until(ended.clone(), send_out(shared.clone(), to)));
        tasks.spawn(until(ended.clone(), listen(shared.clone(), from)));
    }
    tasks.spawn(until(ended.clone(), maintenance(shared.clone())));
    options.listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(options.listener)?;
    let service = router(shared).into_make_service_with_connect_info::<SocketAddr>();
    let mut stopped = ended;
    let server = axum::serve(listener, service).with_graceful_shutdown(async move {
        let _ = stopped.changed().await;
    });
    let server = tokio::spawn(server.into_future());
    stop.await;
    let _ = ending.send(true);
    // A client that keeps its connection open does not keep the service from ending.
    let served = match tokio::time::timeout(GRACE, server).await {
        Ok(Ok(served)) => served,
        Ok(Err(_)) | Err(_) => Ok(()),
    };
    while tasks.join_next().await.is_some() {}
    served
}

/// Does something without end until the service ends.
async fn until(mut ended: watch::Receiver<bool>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        _ = ended.changed() => {}
    }
}

/// Publishes what was signed, by this process or another.
async fn send_out(shared: Arc<Shared>, broker: Broker) {
    loop {
        match MqttClient::connect(&broker).await {
            Ok(caller) => loop {
                if let Err(error) =
                    publish::send_all(&shared.platform, &caller, clock::system).await
                {
                    tracing::warn!(%error, "statements wait");
                    break;
                }
                tokio::select! {
                    () = shared.changed.notified() => {}
                    () = tokio::time::sleep(GLANCE) => {}
                }
            },
            Err(error) => tracing::warn!(%error, "statements wait"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Takes the words of devices. What they keep on the broker comes at every connection.
async fn listen(shared: Arc<Shared>, broker: Broker) {
    loop {
        if let Err(error) = listen_once(&shared, &broker).await {
            tracing::warn!(%error, "devices are not heard");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn listen_once(shared: &Shared, broker: &Broker) -> Result<(), publish::BrokerSyncError> {
    let mut caller = MqttClient::connect(broker)
        .await
        .map_err(publish::BrokerSyncError::Broker)?;
    let words = topics::device_report_filters().to_vec();
    caller
        .subscribe(words)
        .await
        .map_err(publish::BrokerSyncError::Broker)?;
    loop {
        let next = caller
            .next(MAINTENANCE)
            .await
            .map_err(publish::BrokerSyncError::Broker)?;
        if let Some((topic, payload)) = next
            && subscribe::apply_report(&shared.platform, &topic, &payload).await?
        {
            shared.changed.notify_one();
        }
    }
}

async fn maintenance(shared: Arc<Shared>) {
    loop {
        match shared.platform.chores(clock::system()).await {
            Ok(0) => {}
            Ok(_) => shared.changed.notify_one(),
            Err(error) => tracing::warn!(%error, "chores wait"),
        }
        tokio::time::sleep(MAINTENANCE).await;
    }
}
