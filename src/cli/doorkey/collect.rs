//! `doorkey log collect`: keeps a device's event log elsewhere, record by record, and checks
//! each against the one before it and against what the device has signed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::super::{Failure, block_on, print_json, send, status};
use super::broker::BrokerArgs;
use super::{Home, not_registered};
use crate::files::FileError;
use crate::issuer::{Holder, Platform, Wish};
use crate::link::caller::Caller;
use crate::link::{Broker, topics};
use crate::service::http::Shared;
use crate::service::watch::{Noticed, Watch};
use crate::store::record::{Event, Record};
use crate::store::{Log, LogWrite};
use crate::wire::{
    Bytes, Hash, Id, LogHead, Map, Operation, Outcome, PublicKey, Text, Value, hash, items,
};

/// When nothing has come for so long, the device is asked to send again.
const SILENCE: Duration = Duration::from_secs(5);
/// How often in a row.
const ATTEMPTS: u32 = 3;
/// Pause before somebody who follows tries again.
const PAUSE: Duration = Duration::from_secs(5);
/// Pause before a service tries a device again, or looks for new ones.
const PATIENCE: Duration = Duration::from_secs(10);
/// Records between two acknowledgements.
const ACKNOWLEDGE: u64 = 1000;

#[derive(Debug, Args)]
pub(super) struct Collect {
    /// The device's id.
    device: Id,
    /// Where to keep the log; a directory that was begun goes on.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// The key of the owner, or of whoever was granted history.acknowledge.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The pass that came with that share.
    #[arg(long, value_name = "FILE")]
    pass: Option<PathBuf>,
    /// Go on when all is there, until it is ended.
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    broker: BrokerArgs,
}

pub(super) fn run(home: &Home, args: Collect, json: bool) -> Result<(), Failure> {
    let missing = || Failure::new(status::USAGE, "no broker was named");
    let broker = args.broker.broker().ok_or_else(missing)?;
    let pass = match &args.pass {
        Some(path) => vec![crate::files::read(path, 1 << 16)?],
        None => Vec::new(),
    };
    let (count, all, head) = block_on(async {
        let platform = home.open().await?;
        let to = (&*args.to, &*args.key);
        let mut collector = Collector::open(&platform, &args.device, to, broker).await?;
        (collector.pass, collector.follow) = (pass, args.follow);
        let before = collector.copy.next;
        let head = loop {
            match collector.collect(&platform).await {
                // Brokers come and go; whoever follows waits.
                Err(failure) if args.follow && failure.exit == status::UNAVAILABLE => {
                    eprintln!("{}; going on in {} s", failure.message, PAUSE.as_secs());
                    tokio::time::sleep(PAUSE).await;
                }
                collected => break collected?,
            }
        };
        Ok((collector.copy.next - before, collector.copy.next, head))
    })?;
    if json {
        print_json(&json!({
            "records": count, "size": head.size, "head": head.hash.hex(),
        }));
    } else {
        println!("{count} more records, {all} in all");
        println!("The device has signed the head {}:{}", head.size, head.hash);
    }
    Ok(())
}

/// Keeps the logs of all devices, each in a directory of its own, for a service that holds the
/// key of somebody who was granted history.acknowledge. What a device refuses is tried again.
pub(super) async fn follow_all(shared: Arc<Shared>, logs: PathBuf, key: PathBuf, broker: Broker) {
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
                    let failure = follow(&shared.platform, &device.id, (&to, &key), &broker).await;
                    tracing::warn!(device = %device.id, why = %failure.message, "its log waits");
                    tokio::time::sleep(PATIENCE).await;
                }
            });
        }
        tokio::time::sleep(PATIENCE).await;
    }
}

/// Keeps one device's log until that fails.
async fn follow(
    platform: &Platform,
    device: &Id,
    files: (&Path, &Path),
    broker: &Broker,
) -> Failure {
    let collector = Collector::open(platform, device, files, broker.clone()).await;
    let mut collector = match collector {
        Ok(collector) => collector,
        Err(failure) => return failure,
    };
    collector.follow = true;
    match collector.collect(platform).await {
        Ok(_) => Failure::new(status::UNAVAILABLE, "it has ended"),
        Err(failure) => failure,
    }
}

struct Collector {
    copy: Copy,
    device: Id,
    device_key: PublicKey,
    holder: Holder,
    pass: Vec<Vec<u8>>,
    broker: Broker,
    follow: bool,
    watch: Watch,
}

impl Collector {
    /// `files`: where to keep the log, and the key.
    async fn open(
        platform: &Platform,
        device: &Id,
        (to, key): (&Path, &Path),
        broker: Broker,
    ) -> Result<Self, Failure> {
        let registered = platform.device(device).await?;
        let registered = registered.ok_or_else(|| not_registered(device))?;
        let device_key = PublicKey::new(&registered.key)
            .map_err(|error| Failure::new(status::DATA, format!("the key of {device}: {error}")))?;
        Ok(Self {
            copy: Copy::open(to)?,
            device: device.clone(),
            device_key,
            holder: Holder::open(key)?,
            pass: Vec::new(),
            broker,
            follow: false,
            watch: Watch::default(),
        })
    }

    /// Takes records until all are there that the device has signed for.
    async fn collect(&mut self, platform: &Platform) -> Result<LogHead, Failure> {
        let mut caller = Caller::connect(&self.broker).await?;
        let topic = topics::records(&self.device);
        caller.subscribe(vec![topic]).await?;
        let mut goal = self.acknowledge().await?;
        let mut acknowledged = self.copy.next;
        let mut attempts = 0;
        loop {
            if self.copy.next >= goal.size {
                self.copy.agrees_with(goal)?;
                if !self.follow {
                    return Ok(goal);
                }
            }
            match caller.next(SILENCE).await? {
                Some((_, payload)) => {
                    if self.copy.take(&payload)? {
                        attempts = 0;
                        self.tell(platform).await?;
                    }
                }
                None if self.copy.next >= goal.size => {}
                None if attempts < ATTEMPTS => {
                    attempts += 1;
                    goal = self.acknowledge().await?;
                }
                None => {
                    let why = format!(
                        "{} does not send what follows record {}",
                        self.device, self.copy.next
                    );
                    return Err(Failure::new(status::DATA, why).with_remedy(
                        "If that is no longer kept there, begin with another directory.",
                    ));
                }
            }
            if self.copy.next >= acknowledged + ACKNOWLEDGE {
                goal = self.acknowledge().await?;
                acknowledged = self.copy.next;
            }
        }
    }

    /// Tells the ledger what the new records say: which shares are used, who is refused.
    async fn tell(&mut self, platform: &Platform) -> Result<(), Failure> {
        for record in std::mem::take(&mut self.copy.fresh) {
            match self.watch.look(&record) {
                Some(Noticed::Used(share, at)) => {
                    platform.hear_use(&self.device, &share, at).await?;
                }
                Some(Noticed::Refused(who, at)) => {
                    platform
                        .hear_refusals(&self.device, who.as_str(), at)
                        .await?;
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Tells the device how many records are kept here. Its receipt signs a head of its log,
    /// from before this command.
    async fn acknowledge(&self) -> Result<LogHead, Failure> {
        let size = i64::try_from(self.copy.next).unwrap_or(i64::MAX);
        let wrong = |why: &str| Failure::new(status::DATA, why);
        let wish = Wish {
            device: self.device.clone(),
            operation: Operation::new("history.acknowledge").map_err(wrong)?,
            args: Map::new([(Text::new("size").map_err(wrong)?, Value::Int(size))]),
            ttl: 120,
            dry: false,
        };
        let request = send::Request {
            carry: &self.pass,
            ..send::Request::new(&self.broker, &self.device_key, &self.holder, &wish)
        };
        let sent = send::send(&request).await?;
        match sent.receipt {
            Some(receipt) if receipt.body.outcome == Outcome::Done => Ok(receipt.body.log),
            Some(receipt) => {
                let code = send::code_of(&receipt);
                let why = code.map_or("it came to nothing", |code| code.sentence());
                let why = format!("{} does not take the acknowledgement: {why}", self.device);
                let remedy = code.map_or("", |code| code.remedy());
                Err(Failure::new(status::DENIED, why).with_remedy(remedy))
            }
            None => Err(Failure::new(
                status::UNAVAILABLE,
                format!("{} does not answer", self.device),
            )),
        }
    }
}

/// The log as it is kept here, in the same files as on the device.
struct Copy {
    log: Log,
    /// How many records are here.
    next: u64,
    /// Number and hash of every record that is here, oldest first.
    last: Vec<(u64, Hash)>,
    /// Records that have come and were not looked at yet.
    fresh: Vec<Record>,
}

impl Copy {
    fn open(directory: &Path) -> Result<Self, Failure> {
        let opened = Log::open(directory)?;
        if let Some(damage) = opened.damage.filter(|damage| damage.is_break()) {
            return Err(Failure::new(status::DATA, damage)
                .with_remedy("Keep it as it is, and begin with another directory."));
        }
        let hashes = opened.records.iter();
        let last: Vec<_> = hashes
            .map(|record| (record.seq, hash(&record.encode())))
            .collect();
        Ok(Self {
            log: opened.log,
            next: last.last().map_or(0, |(seq, _)| seq + 1),
            last,
            fresh: Vec::new(),
        })
    }

    /// Keeps what of a message follows the last record. Whether there was any.
    fn take(&mut self, payload: &[u8]) -> Result<bool, Failure> {
        let wrong = |why: String| {
            Failure::new(status::DATA, why).with_remedy(
                "Records were changed on the way or on the device. Keep both as evidence.",
            )
        };
        let mut writes = Vec::new();
        for bytes in items(payload).map_err(|error| wrong(error.to_string()))? {
            let record = Record::decode(bytes).map_err(|error| wrong(error.to_string()))?;
            if record.seq < self.next {
                continue;
            }
            let begins = self.last.is_empty() && matches!(record.event, Event::Snapshot(_));
            if record.seq > self.next && !begins {
                // A gap; the device is asked for it when nothing more comes.
                break;
            }
            let before = self.last.last().map_or(Bytes([0; 32]), |(_, hash)| *hash);
            if !begins && record.previous != before {
                let why = format!("record {} does not follow the one before it", record.seq);
                return Err(wrong(why));
            }
            if self.last.is_empty() || matches!(record.event, Event::Snapshot(_)) {
                writes.push(LogWrite::Segment(record.seq));
            }
            writes.push(LogWrite::Append(bytes.to_vec()));
            self.next = record.seq + 1;
            self.last.push((record.seq, hash(bytes)));
            self.fresh.push(record);
        }
        let some = !writes.is_empty();
        self.log
            .write(&writes)
            .map_err(|error: FileError| Failure::from(error))?;
        Ok(some)
    }

    /// Whether this is the log whose head the device has signed.
    fn agrees_with(&self, head: LogHead) -> Result<(), Failure> {
        let at = self
            .last
            .binary_search_by_key(&head.size, |(seq, _)| seq + 1);
        match at.ok().and_then(|at| self.last.get(at)) {
            Some((_, hash)) if *hash != head.hash => Err(Failure::new(
                status::DATA,
                format!(
                    "record {} is not the one that the device has signed",
                    head.size - 1
                ),
            )
            .with_remedy("Records were written anew. Keep this copy as evidence.")),
            _ => Ok(()),
        }
    }
}
