//! Collecting a device's event log: record by record, each checked against the one before it and
//! against the head that the device has signed.

use std::path::Path;
use std::time::Duration;

use doorward_protocol::event_log::LogWrite;
use doorward_protocol::event_log::record::{Event, Record};
use doorward_protocol::wire::{
    Bytes, Hash, Id, LogHead, Map, Operation, Outcome, PublicKey, Text, Value, hash, items, topics,
};
use doorward_transport::event_log::Log;
use doorward_transport::{Broker, MqttClient};

use crate::send::{SendParams, code_of, send};
use crate::{ClientError, CommandRequest, HolderKey};

/// Time without records after which they are requested again.
const SILENCE: Duration = Duration::from_secs(5);
/// Maximum number of requests in a row.
const ATTEMPTS: u32 = 3;
/// Records between two acknowledgements.
const ACKNOWLEDGE_EVERY: u64 = 1000;
const ACKNOWLEDGE: &str = "history.acknowledge";

/// The result of one step of the collection.
#[derive(Debug)]
pub enum Collected {
    /// New records, durable in the copy.
    Records(Vec<Record>),
    /// Every record up to this signed head is in the copy.
    Complete(LogHead),
}

struct Connection {
    client: MqttClient,
    /// The last head that the device has signed.
    goal: LogHead,
    acknowledged: u64,
    attempts: u32,
    /// Whether the records up to `goal` were reported as complete.
    reported: bool,
}

/// Collects the event log of one device into a directory.
pub struct LogCollector {
    copy: LogCopy,
    device: Id,
    device_key: PublicKey,
    holder: HolderKey,
    /// Statements to attach to the acknowledgements, such as the pass of a share.
    pub pass: Vec<Vec<u8>>,
    broker: Broker,
    connection: Option<Connection>,
}

impl LogCollector {
    /// Opens or creates the copy in a directory. `holder` is the key of the owner, or of a
    /// recipient with `history.acknowledge`.
    ///
    /// # Errors
    /// If the copy is damaged or cannot be used.
    pub fn open(
        directory: &Path,
        device: Id,
        device_key: PublicKey,
        holder: HolderKey,
        broker: Broker,
    ) -> Result<Self, ClientError> {
        Ok(Self {
            copy: LogCopy::open(directory)?,
            device,
            device_key,
            holder,
            pass: Vec::new(),
            broker,
            connection: None,
        })
    }

    /// Number of records in the copy.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.copy.next
    }

    /// Waits for the next records, or reports once that the copy is complete. After an error the
    /// next call connects again.
    ///
    /// # Errors
    /// If the broker is lost, the device refuses, or records were changed.
    pub async fn next(&mut self) -> Result<Collected, ClientError> {
        let result = self.try_next().await;
        if result.is_err() {
            self.connection = None;
        }
        result
    }

    async fn try_next(&mut self) -> Result<Collected, ClientError> {
        if self.connection.is_none() {
            let client = MqttClient::connect(&self.broker).await?;
            client
                .subscribe(vec![topics::records(&self.device)])
                .await?;
            self.connection = Some(Connection {
                client,
                goal: self.acknowledge().await?,
                acknowledged: self.copy.next,
                attempts: 0,
                reported: false,
            });
        }
        loop {
            let next = self.copy.next;
            let is_due = |link: &Connection| next >= link.acknowledged + ACKNOWLEDGE_EVERY;
            if self.connection.as_ref().is_some_and(is_due) {
                let goal = self.acknowledge().await?;
                if let Some(link) = &mut self.connection {
                    (link.goal, link.acknowledged, link.reported) = (goal, next, false);
                }
            }
            let Some(link) = &mut self.connection else {
                return Err(ClientError::NoAnswer(self.device.clone()));
            };
            if next >= link.goal.size {
                self.copy.check_head(link.goal)?;
                if !std::mem::replace(&mut link.reported, true) {
                    return Ok(Collected::Complete(link.goal));
                }
            }
            match link.client.next(SILENCE).await? {
                Some((_, payload)) => {
                    let records = self.copy.append(&payload)?;
                    if !records.is_empty() {
                        link.attempts = 0;
                        return Ok(Collected::Records(records));
                    }
                }
                None if next >= link.goal.size => {}
                None if link.attempts < ATTEMPTS => {
                    link.attempts += 1;
                    let goal = self.acknowledge().await?;
                    if let Some(link) = &mut self.connection {
                        link.goal = goal;
                    }
                }
                None => {
                    return Err(ClientError::Gap {
                        device: self.device.clone(),
                        record: next,
                    });
                }
            }
        }
    }

    /// Acknowledges the number of stored records. The device's receipt contains the head of its log
    /// from before this command.
    async fn acknowledge(&self) -> Result<LogHead, ClientError> {
        let size = i64::try_from(self.copy.next).unwrap_or(i64::MAX);
        let command = CommandRequest {
            device: self.device.clone(),
            operation: Operation::new(ACKNOWLEDGE).map_err(ClientError::BadStatements)?,
            args: Map::new([(
                Text::new("size").map_err(ClientError::BadStatements)?,
                Value::Int(size),
            )]),
            ttl: 120,
            dry: false,
        };
        let params = SendParams {
            carry: &self.pass,
            ..SendParams::new(&self.broker, &self.device_key, &self.holder, &command)
        };
        match send(&params).await?.receipt {
            Some(receipt) if receipt.body.outcome == Outcome::Done => Ok(receipt.body.log),
            Some(receipt) => Err(ClientError::Refused {
                device: self.device.clone(),
                operation: ACKNOWLEDGE,
                code: code_of(&receipt),
            }),
            None => Err(ClientError::NoAnswer(self.device.clone())),
        }
    }
}

/// A copy of the log, in the same files as on the device.
struct LogCopy {
    log: Log,
    /// Number of records in the copy.
    next: u64,
    /// Sequence number and hash of every record in the copy, oldest first.
    hashes: Vec<(u64, Hash)>,
}

impl LogCopy {
    fn open(directory: &Path) -> Result<Self, ClientError> {
        let opened = Log::open(directory)?;
        if let Some(damage) = opened.damage.filter(|damage| damage.is_break()) {
            return Err(ClientError::Damaged(damage));
        }
        let records = opened.records.iter();
        let hashes: Vec<_> = records
            .map(|record| (record.seq, hash(&record.encode())))
            .collect();
        Ok(Self {
            log: opened.log,
            next: hashes.last().map_or(0, |(seq, _)| seq + 1),
            hashes,
        })
    }

    /// Appends those records of a message that follow the last one, and returns them.
    fn append(&mut self, payload: &[u8]) -> Result<Vec<Record>, ClientError> {
        let forged =
            |error: doorward_protocol::wire::WireError| ClientError::Forged(error.to_string());
        let (mut writes, mut records) = (Vec::new(), Vec::new());
        for bytes in items(payload).map_err(forged)? {
            let record = Record::decode(bytes).map_err(forged)?;
            if record.seq < self.next {
                continue;
            }
            let is_snapshot = matches!(record.event, Event::Snapshot(_));
            let begins = self.hashes.is_empty() && is_snapshot;
            if record.seq > self.next && !begins {
                // A gap: the missing records are requested when no more arrive.
                break;
            }
            let before = self.hashes.last().map_or(Bytes([0; 32]), |(_, hash)| *hash);
            if !begins && record.previous != before {
                let why = format!("record {} does not follow the previous one", record.seq);
                return Err(ClientError::Forged(why));
            }
            if self.hashes.is_empty() || is_snapshot {
                writes.push(LogWrite::Segment(record.seq));
            }
            writes.push(LogWrite::Append(bytes.to_vec()));
            self.next = record.seq + 1;
            self.hashes.push((record.seq, hash(bytes)));
            records.push(record);
        }
        self.log.write(&writes)?;
        Ok(records)
    }

    /// Checks the copy against a head that the device has signed.
    fn check_head(&self, head: LogHead) -> Result<(), ClientError> {
        let at = self
            .hashes
            .binary_search_by_key(&head.size, |(seq, _)| seq + 1);
        match at.ok().and_then(|at| self.hashes.get(at)) {
            Some((_, hash)) if *hash != head.hash => Err(ClientError::Forged(format!(
                "record {} is not the one that the device has signed",
                head.size - 1
            ))),
            _ => Ok(()),
        }
    }
}
