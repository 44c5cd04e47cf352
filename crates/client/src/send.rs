//! Sending one command and following it to its receipt.

use std::time::Duration;

use crate::receipt_stream::ReceiptStream;
use crate::{ClientError, CommandRequest, HolderKey};
use doorward_protocol::gate::{Code, Retry};
use doorward_protocol::wire::{
    Chunk, DeviceStanding, Envelope, Kind, MAX_BUNDLE, MAX_ITEMS, PublicKey, Receipt, Registration,
    Revocations, WireError, hash, items,
};
use doorward_transport::clock;
use doorward_transport::clock::Stopwatch;
use doorward_transport::{Broker, MqttError};

/// Lifetime of a command for a device without a clock, in seconds of its uptime.
const UPTIME_LIMIT: u64 = 120;

/// Events before the final receipt.
#[derive(Debug)]
pub enum Progress<'a> {
    /// A progress report of the running operation.
    Executing(&'a Receipt),
    /// The connection was lost; the command is sent again after reconnection.
    ConnectionLost(&'a MqttError),
}

/// A command, its broker, and the statements to attach.
pub struct SendParams<'a> {
    /// The broker.
    pub broker: &'a Broker,
    /// The device's public key; only receipts that it has signed are accepted.
    pub device_key: &'a PublicKey,
    /// The sender's key.
    pub holder: &'a HolderKey,
    /// The command.
    pub command: &'a CommandRequest,
    /// Statements to attach to the command.
    pub carry: &'a [Vec<u8>],
    /// Statements to attach if the device's `state` shows that they are missing there.
    pub if_missing: &'a [Vec<u8>],
    /// Timeout for a receipt; each progress report restarts it.
    pub wait: Duration,
    /// Whether to receive the chunks of a large result.
    pub results: bool,
    /// Called for every event before the final receipt.
    pub progress: &'a (dyn Fn(Progress<'_>) + Sync),
}

impl<'a> SendParams<'a> {
    /// A command without attached statements, with a timeout of 30 seconds.
    #[must_use]
    pub fn new(
        broker: &'a Broker,
        device_key: &'a PublicKey,
        holder: &'a HolderKey,
        command: &'a CommandRequest,
    ) -> Self {
        Self {
            broker,
            device_key,
            holder,
            command,
            carry: &[],
            if_missing: &[],
            wait: Duration::from_secs(30),
            results: false,
            progress: &|_| (),
        }
    }
}

/// The outcome of sending a command.
pub struct Sent {
    /// The verified receipt; `None` if the device did not answer.
    pub receipt: Option<Receipt>,
    /// Chunks of a large result, in order of arrival.
    pub chunks: Vec<Chunk>,
    /// The last bundle that was sent.
    pub bundle: Vec<u8>,
    /// Time from sending to the receipt.
    pub took: Duration,
}

/// Sends a command and waits for the device's receipt. If the device denies it for a wrong epoch or
/// time, the command is signed once more with the values of the receipt.
///
/// # Errors
/// If the broker, the device's `state` or the key cannot be used.
pub async fn send(params: &SendParams<'_>) -> Result<Sent, ClientError> {
    let mut stream = ReceiptStream::open(params).await?;
    let mut standing = stream.state().await?.body.standing;
    let mut carry = attached(params, Some(&standing))?;
    let mut now = clock::system();
    let mut until = None;
    let mut again = true;
    // A command that is signed again keeps its counter: only one of the two may run.
    let mut counter = params.holder.next_counter()?;
    loop {
        let command = params
            .holder
            .command(params.command, counter, &standing, now, until)?;
        let name = hash(&command);
        let bundle = [carry.clone(), command].concat();
        if bundle.len() > MAX_BUNDLE {
            return Err(ClientError::TooLarge);
        }
        let watch = Stopwatch::start();
        let receipt = stream.send(&bundle, name).await?;
        let took = watch.elapsed();
        match &receipt {
            // The log records the lists, but the cache may have lost them.
            Some(receipt) if again && !params.if_missing.is_empty() && is_stale(receipt) => {
                again = false;
                carry = attached(params, None)?;
                counter = params.holder.next_counter()?;
                now = receipt.iat;
                standing = receipt.body.standing.clone();
            }
            Some(receipt) if again && needs_new_signature(receipt) => {
                again = false;
                now = receipt.iat;
                until = Some(receipt.body.standing.uptime + UPTIME_LIMIT);
                standing = receipt.body.standing.clone();
            }
            _ => {
                return Ok(Sent {
                    receipt,
                    chunks: stream.chunks,
                    bundle,
                    took,
                });
            }
        }
    }
}

/// The statements to attach: those of `if_missing` that the device's `state` shows as missing, or
/// all of them without a `state`, and those of `carry`. Issuer keys are attached only together with
/// other statements, which those keys may have signed.
fn attached(
    params: &SendParams<'_>,
    standing: Option<&DeviceStanding>,
) -> Result<Vec<u8>, ClientError> {
    let is_missing = |item: &&[u8]| {
        let envelope = Envelope::parse(item).ok();
        !envelope.is_some_and(|it| standing.is_some_and(|standing| is_known(&it, standing)))
    };
    let is_issuers = |item: &&[u8]| Envelope::parse(item).is_ok_and(|it| it.kind == Kind::Issuers);
    let mut attached: Vec<&[u8]> = split(params.if_missing)?
        .into_iter()
        .filter(is_missing)
        .collect();
    if attached.iter().all(is_issuers) {
        attached.clear();
    }
    for item in split(params.carry)? {
        if !attached.contains(&item) {
            attached.push(item);
        }
    }
    if attached.len() >= MAX_ITEMS {
        return Err(ClientError::TooManyStatements);
    }
    Ok(attached.concat())
}

fn split(statements: &[Vec<u8>]) -> Result<Vec<&[u8]>, ClientError> {
    let invalid = |error| match error {
        WireError::Malformed(why) => ClientError::BadStatements(why),
        _ => ClientError::BadStatements("not a sequence of statements"),
    };
    let lists = statements.iter().map(|statements| items(statements));
    let lists: Result<Vec<_>, _> = lists.collect();
    Ok(lists.map_err(invalid)?.concat())
}

fn is_known(envelope: &Envelope<'_>, standing: &DeviceStanding) -> bool {
    match envelope.kind {
        Kind::Registration => envelope
            .claims::<Registration>()
            .is_ok_and(|it| it.body.seq <= standing.registration),
        Kind::Revocations => envelope.claims::<Revocations>().is_ok_and(|it| {
            let known = standing.revocations.get(&it.aud);
            known.is_some_and(|known| it.body.seq <= *known)
        }),
        _ => false,
    }
}

/// Returns whether the device lacks a recent revocation list for the share's audience.
fn is_stale(receipt: &Receipt) -> bool {
    code_of(receipt) == Some(Code::Stale)
}

/// Returns whether the command can be signed again. A command that may have run is never sent again
/// automatically.
fn needs_new_signature(receipt: &Receipt) -> bool {
    code_of(receipt).is_some_and(|code| code.retry() == Retry::SignAgain && !code.may_have_run())
}

/// Verifies and decodes an object; `None` if it is of another kind or not signed by this key.
#[must_use]
pub fn verified<T: doorward_protocol::wire::Object>(
    bytes: &[u8],
    kind: Kind,
    key: &PublicKey,
) -> Option<T> {
    let envelope = Envelope::parse(bytes).ok().filter(|e| e.kind == kind)?;
    envelope.verify(key).ok()?;
    envelope.claims().ok()
}

/// The code of a receipt, if it is known.
#[must_use]
pub fn code_of(receipt: &Receipt) -> Option<Code> {
    Code::from_name(receipt.body.code.as_ref()?.as_str())
}
