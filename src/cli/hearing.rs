//! Waiting for a device's word, whatever happens to the broker meanwhile: where it is on the device
//! itself, a reboot takes it along.

use std::time::Duration;

use super::send::{Request, verified};
use super::{Failure, status};
use crate::clock::Stopwatch;
use crate::link::{CallError, Caller, topics};
use crate::wire::{Chunk, Hash, Kind, Outcome, Receipt, State};

/// Most pieces of a result that one command brings.
const MOST_PIECES: usize = 256;
/// How long the retained `state` of the device may take, if the broker has it.
const STATE: Duration = Duration::from_secs(5);
/// Between two attempts to find the broker again.
const PAUSE: Duration = Duration::from_secs(1);

/// A connection to the device's broker that hears what the device says to us.
pub(super) struct Hearing<'a> {
    request: &'a Request<'a>,
    caller: Caller,
    receipts: String,
    results: String,
    /// Pieces of a result, as they came.
    pub(super) pieces: Vec<Chunk>,
}

impl<'a> Hearing<'a> {
    pub(super) async fn begin(request: &'a Request<'a>) -> Result<Self, Failure> {
        let (device, key) = (&request.wish.device, request.holder.public());
        Ok(Self {
            request,
            caller: connect(request).await?,
            receipts: topics::receipts(device, &key),
            results: topics::results(device, &key),
            pieces: Vec::new(),
        })
    }

    /// What the device has last said of itself.
    pub(super) async fn state(&mut self) -> Result<State, Failure> {
        let (request, device) = (self.request, &self.request.wish.device);
        let Some(payload) = self.next_on(&topics::state(device), STATE).await? else {
            return Err(Failure::new(
                status::UNAVAILABLE,
                format!("{device} has never said anything on {}", request.broker),
            )
            .with_remedy("Check the device's id and broker, and that its daemon has run once."));
        };
        verified::<State>(&payload, Kind::State, request.device_key)
            .filter(|state| state.iss == *device)
            .ok_or_else(|| {
                let why = format!("the state of {device} on the broker is not signed by its key");
                Failure::new(status::DATA, why).with_remedy(
                    "Somebody else may be writing there, or the device's key is not this one.",
                )
            })
    }

    async fn next_on(&mut self, topic: &str, wait: Duration) -> Result<Option<Vec<u8>>, Failure> {
        let watch = Stopwatch::start();
        while let Some(left) = wait.checked_sub(watch.elapsed()) {
            match self.caller.next(left).await? {
                Some((on, payload)) if on == topic => return Ok(Some(payload)),
                Some(_) => {}
                None => break,
            }
        }
        Ok(None)
    }

    /// Sends a bundle that ends with a command, and waits for the last word on it. If the broker is
    /// lost meanwhile, the same bytes are sent once more when it is back: the device does not do
    /// again what it did, and says again what it said.
    pub(super) async fn ask(
        &mut self,
        bundle: &[u8],
        command: Hash,
    ) -> Result<Option<Receipt>, Failure> {
        let request = self.request;
        publish(&self.caller, request, bundle).await?;
        let mut watch = Stopwatch::start();
        let mut last = None;
        while let Some(left) = request.wait.checked_sub(watch.elapsed()) {
            let (topic, payload) = match self.caller.next(left).await {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(error) => {
                    self.again(left, bundle, error).await?;
                    continue;
                }
            };
            if topic == self.results && self.pieces.len() < MOST_PIECES {
                self.pieces.extend(Chunk::parse(&payload).ok());
            }
            if topic != self.receipts {
                continue;
            }
            let receipt = verified::<Receipt>(&payload, Kind::Receipt, request.device_key);
            // What others wrote here, or what answers another command, is passed over.
            if let Some(receipt) = receipt
                && receipt.body.command == command
                && receipt.iss == request.wish.device
            {
                if receipt.body.outcome != Outcome::Executing {
                    return Ok(Some(receipt));
                }
                (request.told)(&receipt);
                (last, watch) = (Some(receipt), Stopwatch::start());
            }
        }
        Ok(last)
    }

    /// Finds the broker again within a time.
    async fn again(
        &mut self,
        left: Duration,
        bundle: &[u8],
        lost: CallError,
    ) -> Result<(), Failure> {
        eprintln!("{lost}; waiting for it to come back");
        let watch = Stopwatch::start();
        loop {
            tokio::time::sleep(PAUSE).await;
            let result = match connect(self.request).await {
                Ok(caller) => {
                    let sent = publish(&caller, self.request, bundle).await;
                    sent.map(|()| self.caller = caller)
                }
                Err(error) => Err(error),
            };
            match result {
                Err(_) if watch.elapsed() < left => {}
                result => return result,
            }
        }
    }
}

async fn connect(request: &Request<'_>) -> Result<Caller, Failure> {
    let caller = Caller::connect(request.broker).await?;
    let (device, key) = (&request.wish.device, request.holder.public());
    let mut filters = vec![topics::receipts(device, &key), topics::state(device)];
    filters.extend(request.results.then(|| topics::results(device, &key)));
    caller.subscribe(filters).await?;
    Ok(caller)
}

async fn publish(caller: &Caller, request: &Request<'_>, bundle: &[u8]) -> Result<(), Failure> {
    let topic = topics::command(&request.wish.device);
    Ok(caller.publish(topic, bundle.to_vec(), false).await?)
}
