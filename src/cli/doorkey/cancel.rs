//! `doorkey cancel`: ends shares, and waits for the devices' signed word that they have.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use super::super::{Failure, block_on, print_json, send, status};
use super::broker::BrokerArgs;
use super::published_text;
use super::values::ShareId;
use crate::clock::{self, Stopwatch};
use crate::files;
use crate::issuer::Platform;
use crate::link::caller::Caller;
use crate::link::{Broker, topics};
use crate::wire::{Audience, Id, Kind, PublicKey, State, Timestamp};

#[derive(Debug, clap::Args)]
pub(super) struct Cancel {
    /// A device's id, or site:NAME.
    audience: Audience,
    /// The ids of the shares; none of them: sign the list anew, as a proof of freshness.
    shares: Vec<ShareId>,
    /// End every share of this account.
    #[arg(long, value_name = "ACCOUNT")]
    of: Option<Id>,
    /// Write the list, to be carried to the device by `doorkey send --carry`.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Wait so many seconds for the device to say, signed, that it has applied the list.
    #[arg(long, value_name = "SECONDS", requires = "broker")]
    wait: Option<u64>,
    #[command(flatten)]
    broker: BrokerArgs,
}

pub(super) fn run(directory: &Path, args: Cancel, json: bool) -> Result<ExitCode, Failure> {
    let platform = Platform::open(directory)?;
    let audience = &args.audience;
    let known = platform.shares(audience)?;
    let mut ending = Vec::new();
    for ShareId(id) in &args.shares {
        let found = known.iter().find(|share| share.cti == *id);
        ending.push(found.cloned().ok_or_else(|| {
            let why = format!("{audience} has no share with the id {id}");
            Failure::new(status::DATA, why)
        })?);
    }
    if let Some(of) = &args.of {
        ending.extend(known.iter().filter(|share| share.sub == *of).cloned());
    }
    let (list, bytes) = platform.cancel(audience, &ending, clock::system())?;
    if let Some(out) = &args.out {
        files::replace(out, &bytes, 0o644)?;
    }
    let topic = topics::statement(audience, Kind::Revocations, None);
    let seq = list.body.seq;
    let mut waiting = Waiting::default();
    let published = match (args.wait, args.broker.broker()) {
        (Some(wait), Some(broker)) => {
            waiting = Waiting::of(&platform, audience, seq)?;
            let wait = Duration::from_secs(wait);
            block_on(waiting.publish_and_wait(&broker, topic, bytes, wait))?;
            true
        }
        (_, broker) => super::broker::publish(broker, topic, &bytes)?,
    };
    let exit = match waiting.missing() {
        true => ExitCode::from(status::UNAVAILABLE),
        false => ExitCode::SUCCESS,
    };
    if json {
        print_json(&json!({
            "audience": audience.to_string(), "seq": seq,
            "cancelled": ending.len(), "published": published, "devices": waiting.json(),
        }));
        return Ok(exit);
    }
    println!(
        "{} shares of {audience} are cancelled, list {seq}{}",
        ending.len(),
        published_text(published)
    );
    match args.wait {
        Some(_) => waiting.print(),
        None => println!("It counts when the device has it, or when the leases of the shares end."),
    }
    Ok(exit)
}

/// Devices that are to apply a list.
#[derive(Default)]
struct Waiting {
    audience: Option<Audience>,
    seq: u64,
    /// Each device, its key, and when it said that it has applied the list.
    devices: Vec<(Id, PublicKey, Option<Timestamp>)>,
}

impl Waiting {
    fn of(platform: &Platform, audience: &Audience, seq: u64) -> Result<Self, Failure> {
        let mut devices = Vec::new();
        for device in platform.devices(audience)? {
            let Audience::Device(id) = device.registration.aud else {
                continue;
            };
            let key = PublicKey::new(&device.registration.body.device)
                .map_err(|error| Failure::new(status::DATA, format!("the key of {id}: {error}")))?;
            devices.push((id, key, None));
        }
        Ok(Self {
            audience: Some(audience.clone()),
            seq,
            devices,
        })
    }

    async fn publish_and_wait(
        &mut self,
        broker: &Broker,
        topic: String,
        list: Vec<u8>,
        wait: Duration,
    ) -> Result<(), Failure> {
        let mut caller = Caller::connect(broker).await?;
        let states: Vec<_> = self
            .devices
            .iter()
            .map(|(id, ..)| topics::state(id))
            .collect();
        if !states.is_empty() {
            caller.subscribe(states).await?;
        }
        caller.publish(topic, list, true).await?;
        let watch = Stopwatch::start();
        while self.missing()
            && let Some(left) = wait.checked_sub(watch.elapsed())
            && let Some((topic, payload)) = caller.next(left).await?
        {
            self.hear(&topic, &payload);
        }
        Ok(())
    }

    /// Takes a device's `state`, if that is what it is.
    fn hear(&mut self, topic: &str, payload: &[u8]) {
        let Some(audience) = &self.audience else {
            return;
        };
        for (id, key, applied) in &mut self.devices {
            if topic == topics::state(id)
                && let Some(state) = send::verified::<State>(payload, Kind::State, key)
                && state.iss == *id
                && state.body.standing.revocations.get(audience) >= Some(&self.seq)
            {
                applied.get_or_insert(state.iat);
            }
        }
    }

    fn missing(&self) -> bool {
        self.devices.iter().any(|(.., applied)| applied.is_none())
    }

    fn json(&self) -> serde_json::Value {
        let devices = self.devices.iter();
        let devices = devices
            .map(|(id, _, applied)| (id.to_string(), json!(applied.map(|at| at.to_string()))));
        serde_json::Value::Object(devices.collect())
    }

    fn print(&self) {
        for (id, _, applied) in &self.devices {
            match applied {
                Some(at) => println!("{id} has applied it at {at}, signed by the device"),
                None => println!(
                    "{id} has not said yet that it has it; until it does, its shares end with \
                     their leases"
                ),
            }
        }
    }
}
