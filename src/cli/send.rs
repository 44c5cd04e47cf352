//! `doorkey send`: one command, its receipt, and what that means.

use std::time::Duration;

use serde_json::json;

use super::hearing::Hearing;
use super::{Failure, paint, status};
use crate::clock::{self, Stopwatch};
use crate::gate::{Code, Retry};
use crate::issuer::{Holder, Wish};
use crate::link::Broker;
use crate::wire::{
    Chunk, Envelope, Kind, MAX_BUNDLE, MAX_ITEMS, Outcome, PublicKey, Receipt, Registration,
    Revocations, Standing, Timestamp, hash, items,
};

/// Where a command ends for a device without a clock: so many seconds of uptime from now.
const UNTIL: u64 = 120;

/// What to send where.
pub struct Request<'a> {
    /// The broker.
    pub broker: &'a Broker,
    /// The device's own key: whose receipts are believed.
    pub device_key: &'a PublicKey,
    /// Who sends.
    pub holder: &'a Holder,
    /// What is asked.
    pub wish: &'a Wish,
    /// Statements to bring along.
    pub carry: &'a [Vec<u8>],
    /// Statements to bring along as far as the device lacks them.
    pub news: &'a [Vec<u8>],
    /// How long to wait for the receipt; from the last word on, if there are several.
    pub wait: Duration,
    /// Whether to take what comes on the topic for results.
    pub results: bool,
    /// Told of every word before the last.
    pub told: &'a (dyn Fn(&Receipt) + Sync),
}

impl<'a> Request<'a> {
    /// A command with nothing to carry, and 30 seconds to wait.
    #[must_use]
    pub fn new(
        broker: &'a Broker,
        device_key: &'a PublicKey,
        holder: &'a Holder,
        wish: &'a Wish,
    ) -> Self {
        Self {
            broker,
            device_key,
            holder,
            wish,
            carry: &[],
            news: &[],
            wait: Duration::from_secs(30),
            results: false,
            told: &|_| (),
        }
    }
}

/// What came of it.
pub struct Sent {
    /// The receipt, verified; nothing if the device did not answer.
    pub receipt: Option<Receipt>,
    /// Pieces of a result, as they came.
    pub pieces: Vec<Chunk>,
    /// The bundle that was sent last.
    pub bundle: Vec<u8>,
    /// From sending to the receipt.
    pub took: Duration,
}

/// Sends a command and waits for the device's word. When the device says that epoch or time
/// were wrong, it is signed once more with what the receipt says of them.
///
/// # Errors
/// If the broker, the device's `state` or the key cannot be used.
pub async fn send(request: &Request<'_>) -> Result<Sent, Failure> {
    let mut hearing = Hearing::begin(request).await?;
    let mut standing = hearing.state().await?.body.standing;
    let mut carry = carried(request, Some(&standing))?;
    let mut now = clock::system();
    let mut until = None;
    let mut again = true;
    // The same when it is signed anew: the one that was late must not run besides.
    let mut counter = request.holder.next_counter()?;
    loop {
        let command = request
            .holder
            .command(request.wish, counter, &standing, now, until)?;
        let name = hash(&command);
        let bundle = [carry.clone(), command].concat();
        if bundle.len() > MAX_BUNDLE {
            return Err(Failure::new(
                status::DATA,
                "the statements to carry and the command are more than 64 KiB together",
            ));
        }
        let watch = Stopwatch::start();
        let receipt = hearing.ask(&bundle, name).await?;
        let took = watch.elapsed();
        match &receipt {
            // Its log knows of the lists, and it may have lost them.
            Some(receipt) if again && !request.news.is_empty() && is_stale(receipt) => {
                again = false;
                carry = carried(request, None)?;
                counter = request.holder.next_counter()?;
                now = receipt.iat;
                standing = receipt.body.standing.clone();
            }
            Some(receipt) if again && is_signed_anew(receipt) => {
                again = false;
                now = receipt.iat;
                until = Some(receipt.body.standing.uptime + UNTIL);
                standing = receipt.body.standing.clone();
            }
            _ => {
                return Ok(Sent {
                    receipt,
                    pieces: hearing.pieces,
                    bundle,
                    took,
                });
            }
        }
    }
}

/// What goes along: the news that the device lacks, as its `state` tells, or all of them if that
/// is not known, and whatever was asked for. Issuers go with other news only, which they may have
/// signed.
fn carried(request: &Request<'_>, standing: Option<&Standing>) -> Result<Vec<u8>, Failure> {
    let is_lacked = |item: &&[u8]| {
        let envelope = Envelope::parse(item).ok();
        !envelope.is_some_and(|it| standing.is_some_and(|standing| is_known(&it, standing)))
    };
    let is_issuers = |item: &&[u8]| Envelope::parse(item).is_ok_and(|it| it.kind == Kind::Issuers);
    let mut along: Vec<&[u8]> = split(request.news)?.into_iter().filter(is_lacked).collect();
    if along.iter().all(is_issuers) {
        along.clear();
    }
    for item in split(request.carry)? {
        if !along.contains(&item) {
            along.push(item);
        }
    }
    if along.len() >= MAX_ITEMS {
        let most = MAX_ITEMS - 1;
        let why = format!("a command carries {most} statements at most");
        return Err(Failure::new(status::DATA, why)
            .with_remedy("Carry fewer, or take them there by `doorkey bundle`."));
    }
    Ok(along.concat())
}

fn split(statements: &[Vec<u8>]) -> Result<Vec<&[u8]>, Failure> {
    let broken = |error| Failure::new(status::DATA, format!("what is to be carried: {error}"));
    let lists = statements.iter().map(|statements| items(statements));
    let lists: Result<Vec<_>, _> = lists.collect();
    Ok(lists.map_err(broken)?.concat())
}

fn is_known(envelope: &Envelope<'_>, standing: &Standing) -> bool {
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

/// Whether the device lacks news of the share's audience.
fn is_stale(receipt: &Receipt) -> bool {
    code_of(receipt) == Some(Code::Stale)
}

/// Whether the device only lacks a newer signature, not a reason. What was seen before may
/// have run, so that is never sent again by itself.
fn is_signed_anew(receipt: &Receipt) -> bool {
    code_of(receipt).is_some_and(|code| code.retry() == Retry::Anew && !code.may_have_run())
}

pub(super) fn verified<T: crate::wire::Object>(
    bytes: &[u8],
    kind: Kind,
    key: &PublicKey,
) -> Option<T> {
    let envelope = Envelope::parse(bytes).ok().filter(|e| e.kind == kind)?;
    envelope.verify(key).ok()?;
    envelope.claims().ok()
}

/// The code of a receipt, if this program knows it.
#[must_use]
pub fn code_of(receipt: &Receipt) -> Option<Code> {
    Code::from_name(receipt.body.code.as_ref()?.as_str())
}

/// The exit status that stands for a receipt.
#[must_use]
pub fn exit_of(receipt: Option<&Receipt>) -> u8 {
    match receipt.map(|receipt| receipt.body.outcome) {
        Some(Outcome::Done | Outcome::Executing | Outcome::Allowed) => 0,
        Some(Outcome::Denied) => status::DENIED,
        Some(Outcome::Failed) => status::FAILED,
        Some(Outcome::Unknown | Outcome::Accepted) => status::UNKNOWN,
        None => status::UNAVAILABLE,
    }
}

const SILENCE: &str = "No answer. A device answers only keys that it knows; this one may not \
                       know yours, may be off, or may have no connection to this broker.";

/// Prints what came of it.
pub fn print(request: &Request<'_>, sent: &Sent, json: bool) {
    if json {
        return super::print_json(&to_json(request.wish, sent));
    }
    let what = format!("{} on {}", request.wish.operation, request.wish.device);
    let Some(receipt) = &sent.receipt else {
        println!("{:<9} {what}", paint::bad("silence"));
        println!("          {SILENCE}");
        return;
    };
    let body = &receipt.body;
    let outcome = format!("{:<9}", body.outcome.name());
    let outcome = match body.outcome {
        Outcome::Done | Outcome::Executing | Outcome::Allowed => paint::good(&outcome),
        Outcome::Denied | Outcome::Failed | Outcome::Unknown | Outcome::Accepted => {
            paint::bad(&outcome)
        }
    };
    println!("{outcome} {what}");
    if let Some(name) = &body.code {
        println!("code      {name}");
    }
    if let Some(code) = code_of(receipt) {
        println!("          {}", code.sentence());
        if !code.remedy().is_empty() {
            println!("          {}", code.remedy());
        }
    }
    if let Some(detail) = &body.detail {
        println!("detail    {detail}");
    }
    for (name, value) in body.result.iter() {
        println!("result    {name} = {value}");
    }
    println!(
        "receipt   verified: signed by {} at {}, record {} of its log",
        receipt.iss, receipt.iat, body.log.size
    );
}

fn to_json(wish: &Wish, sent: &Sent) -> serde_json::Value {
    let receipt = sent.receipt.as_ref();
    let code = receipt.and_then(code_of);
    let body = receipt.map(|receipt| &receipt.body);
    let result: Option<serde_json::Map<_, _>> = body.map(|body| {
        let rows = body.result.iter();
        rows.map(|(name, value)| (name.to_string(), json!(value)))
            .collect()
    });
    json!({
        "device": wish.device.as_str(),
        "operation": wish.operation.as_str(),
        "outcome": body.map_or("silence", |body| body.outcome.name()),
        "code": body.and_then(|body| body.code.as_ref()).map(ToString::to_string),
        "sentence": code.map_or_else(|| body.is_none().then_some(SILENCE), |code| Some(code.sentence())),
        "remedy": code.map(Code::remedy).filter(|remedy| !remedy.is_empty()),
        "detail": body.and_then(|body| body.detail.as_ref()).map(ToString::to_string),
        "result": result,
        "at": receipt.map(|receipt| Timestamp::to_string(&receipt.iat)),
        "command": body.map(|body| body.command.hex()),
        "log_size": body.map(|body| body.log.size),
        "log_head": body.map(|body| body.log.hash.hex()),
        "took_ms": u64::try_from(sent.took.as_millis()).unwrap_or(u64::MAX),
    })
}
