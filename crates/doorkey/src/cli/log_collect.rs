//! `doorkey log collect`: copies a device's event log, and imports its findings into the database.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use doorward_client::{Collected, HolderKey, LogCollector};
use doorward_protocol::event_log::record::Record;
use doorward_protocol::wire::{Id, LogHead, PublicKey};
use doorward_terminal::{CliError, block_on, exit_status, outln, print_json};
use doorward_transport::{Broker, files};
use serde_json::json;

use crate::cli::args::{IssuerArgs, KeyArgs, OutputArgs};
use crate::cli::broker_args::BrokerArgs;
use crate::cli::not_registered;
use crate::error::client_error;
use crate::http::Shared;
use crate::service::Platform;
use crate::service::alerts::{LogFinding, LogWatch};

/// Pause before `--follow` tries again.
const RETRY_PAUSE: Duration = Duration::from_secs(5);
/// Pause before the service tries a device again, or looks for new devices.
const SERVICE_PAUSE: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  doorkey log collect ups-7 --to ups-7.log --key ole.key --broker mqtts://broker.example.org
  doorkey log collect ups-7 --to ups-7.log --follow --profile lab")]
pub(crate) struct Collect {
    /// Id of the device
    device: Id,
    /// Directory for the copy; an existing copy is continued
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    #[command(flatten)]
    key: KeyArgs,
    /// File with the pass that came with your share, which must allow history.acknowledge
    #[arg(long, value_name = "FILE")]
    pass: Option<PathBuf>,
    /// Continue with new records until interrupted
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    broker: BrokerArgs,
    #[command(flatten)]
    issuer: IssuerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) fn run(args: Collect) -> Result<(), CliError> {
    let home = args.issuer.resolve()?;
    let broker = home.required_broker(args.broker)?;
    let key = args.key.resolve(&home.profile)?;
    let pass = match &args.pass {
        Some(path) => vec![files::read(path, 1 << 16)?],
        None => Vec::new(),
    };
    let (count, all, head) = block_on(async {
        let platform = home.open().await?;
        let to = (&*args.to, &*key);
        let mut collection = Collection::open(&platform, &args.device, to, broker).await?;
        collection.log.pass = pass;
        let before = collection.log.size();
        let head = loop {
            match collection.step(&platform).await {
                Ok(Some(head)) if !args.follow => break head,
                Ok(_) => {}
                Err(error) if args.follow && error.exit == exit_status::UNAVAILABLE => {
                    eprintln!(
                        "{}; trying again in {} s",
                        error.message,
                        RETRY_PAUSE.as_secs()
                    );
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        };
        Ok((collection.log.size() - before, collection.log.size(), head))
    })?;
    if args.output.json {
        print_json(&json!({
            "records": count, "size": head.size, "head": head.hash.hex(),
        }));
    } else {
        match count {
            0 => outln!("no new records, {all} in total"),
            _ => outln!("{count} new records, {all} in total"),
        }
        outln!("The device has signed the head {}:{}", head.size, head.hash);
    }
    Ok(())
}

/// Collects the logs of all devices, each into a directory of its own, for a service that holds a
/// key with history.acknowledge. A device that denies it is retried.
pub(crate) async fn follow_all(shared: Arc<Shared>, logs: PathBuf, key: PathBuf, broker: Broker) {
    let mut followed = BTreeSet::new();
    loop {
        let devices = shared.platform.all_devices().await.unwrap_or_default();
        for device in devices {
            if !followed.insert(device.id.clone()) {
                continue;
            }
            let (shared, key, broker) = (shared.clone(), key.clone(), broker.clone());
            let to = logs.join(device.id.as_str().replace('.', "%2e"));
            tokio::spawn(async move {
                loop {
                    let error = follow(&shared.platform, &device.id, (&to, &key), &broker).await;
                    tracing::warn!(device = %device.id, error = %error.message, "log collection stopped; trying again");
                    tokio::time::sleep(SERVICE_PAUSE).await;
                }
            });
        }
        tokio::time::sleep(SERVICE_PAUSE).await;
    }
}

/// Collects one device's log until that fails.
async fn follow(
    platform: &Platform,
    device: &Id,
    files: (&Path, &Path),
    broker: &Broker,
) -> CliError {
    let mut collection = match Collection::open(platform, device, files, broker.clone()).await {
        Ok(collection) => collection,
        Err(error) => return error,
    };
    loop {
        if let Err(error) = collection.step(platform).await {
            return error;
        }
    }
}

struct Collection {
    device: Id,
    log: LogCollector,
    watch: LogWatch,
}

impl Collection {
    /// `to` is the directory for the copy, `key` the key file.
    async fn open(
        platform: &Platform,
        device: &Id,
        (to, key): (&Path, &Path),
        broker: Broker,
    ) -> Result<Self, CliError> {
        let registered = platform.device(device).await?;
        let registered = registered.ok_or_else(|| not_registered(device))?;
        let device_key = PublicKey::new(&registered.key).map_err(|error| {
            CliError::new(exit_status::DATA, format!("the key of {device}: {error}"))
        })?;
        let holder = HolderKey::open(key)?;
        let log = LogCollector::open(to, device.clone(), device_key, holder, broker);
        Ok(Self {
            device: device.clone(),
            log: log.map_err(client_error)?,
            watch: LogWatch::default(),
        })
    }

    /// Collects the next records; returns the signed head once the copy is complete.
    async fn step(&mut self, platform: &Platform) -> Result<Option<LogHead>, CliError> {
        match self.log.next().await.map_err(client_error)? {
            Collected::Complete(head) => Ok(Some(head)),
            Collected::Records(records) => {
                for record in &records {
                    self.report(record, platform).await?;
                }
                Ok(None)
            }
        }
    }

    /// Records uses of shares and repeated denials in the database.
    async fn report(&mut self, record: &Record, platform: &Platform) -> Result<(), CliError> {
        match self.watch.inspect(record) {
            Some(LogFinding::Used(share, at)) => {
                platform.record_share_use(&self.device, &share, at).await?;
            }
            Some(LogFinding::Refused(person, at)) => {
                platform
                    .add_refusal_alert(&self.device, person.as_str(), at)
                    .await?;
            }
            None => {}
        }
        Ok(())
    }
}
