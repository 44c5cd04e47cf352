//! `doorkey cancel`: ends shares, and waits for the devices' signed word that they have.

use doorward_terminal::outln;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use crate::broker::{publish, subscribe};
use crate::cli::IssuerDir;
use crate::cli::broker_args::BrokerArgs;
use crate::cli::published_text;
use crate::cli::value_parsers::ShareId;
use crate::domain::Actor;
use crate::service::Platform;
use doorward_client::verified;
use doorward_protocol::wire::topics;
use doorward_protocol::wire::{Audience, Id, Kind, PublicKey, State, Timestamp};
use doorward_terminal::{CliError, block_on, exit_status, print_json};
use doorward_transport::Broker;
use doorward_transport::MqttClient;
use doorward_transport::clock;
use doorward_transport::clock::Stopwatch;
use doorward_transport::files;

#[derive(Debug, clap::Args)]
pub(crate) struct Cancel {
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

pub(crate) fn run(home: &IssuerDir, args: Cancel, json: bool) -> Result<ExitCode, CliError> {
    let (broker, wait, now) = (args.broker.broker(), args.wait, clock::system());
    let (audience, named, of) = (&args.audience, &args.shares, &args.of);
    let (cancelled, seq, bytes, published, waiting) = block_on(async {
        let platform = home.open().await?;
        let known = platform.shares(audience, Timestamp(0)).await?;
        let mut ending = Vec::new();
        for ShareId(id) in named {
            if known.iter().all(|share| share.id != *id) {
                let why = format!("{audience} has no share with the id {id}");
                return Err(CliError::new(exit_status::DATA, why));
            }
            ending.push(*id);
        }
        if let Some(of) = of {
            let theirs = known
                .iter()
                .filter(|share| share.recipient.name() == of.as_str());
            ending.extend(theirs.map(|share| share.id));
        }
        let seq = match ending.is_empty() {
            true => platform.refresh(audience, now).await?,
            false => match platform.cancel(Actor::Issuer, &ending, now).await?.pop() {
                Some((_, seq)) => seq?,
                None => 0,
            },
        };
        let list = platform.statement(audience, Kind::Revocations, "").await?;
        let mut waiting = Waiting::default();
        let published = match (wait, &broker) {
            (Some(wait), Some(broker)) => {
                waiting = Waiting::of(&platform, audience, seq).await?;
                let wait = Duration::from_secs(wait);
                waiting.publish_and_wait(&platform, broker, wait).await?;
                true
            }
            _ => crate::cli::broker_args::send_all(&platform, broker).await?,
        };
        Ok((
            ending.len(),
            seq,
            list.unwrap_or_default(),
            published,
            waiting,
        ))
    })?;
    if let Some(out) = &args.out {
        files::replace(out, &bytes, 0o644)?;
    }
    let exit = match waiting.missing() {
        true => ExitCode::from(exit_status::UNAVAILABLE),
        false => ExitCode::SUCCESS,
    };
    if json {
        print_json(&json!({
            "audience": audience.to_string(), "seq": seq,
            "cancelled": cancelled, "published": published, "devices": waiting.json(),
        }));
        return Ok(exit);
    }
    outln!(
        "{cancelled} shares of {audience} are cancelled, list {seq}{}",
        published_text(published)
    );
    match args.wait {
        Some(_) => waiting.print(),
        None => outln!("It counts when the device has it, or when the leases of the shares end."),
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
    async fn of(platform: &Platform, audience: &Audience, seq: u64) -> Result<Self, CliError> {
        let mut devices = Vec::new();
        for device in platform.devices(audience).await? {
            let id = device.id;
            let key = PublicKey::new(&device.key).map_err(|error| {
                CliError::new(exit_status::DATA, format!("the key of {id}: {error}"))
            })?;
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
        platform: &Platform,
        broker: &Broker,
        wait: Duration,
    ) -> Result<(), CliError> {
        let mut caller = MqttClient::connect(broker).await?;
        let states: Vec<_> = self
            .devices
            .iter()
            .map(|(id, ..)| topics::state(id))
            .collect();
        if !states.is_empty() {
            caller.subscribe(states).await?;
        }
        publish::send_all(platform, &caller, clock::system).await?;
        let watch = Stopwatch::start();
        while self.missing()
            && let Some(left) = wait.checked_sub(watch.elapsed())
            && let Some((topic, payload)) = caller.next(left).await?
        {
            self.hear(&topic, &payload);
            // The ledger hears it too: a slot may be free now.
            subscribe::apply_report(platform, &topic, &payload).await?;
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
                && let Some(state) = verified::<State>(payload, Kind::State, key)
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
                Some(at) => outln!("{id} has applied it at {at}, signed by the device"),
                None => outln!(
                    "{id} has not said yet that it has it; until it does, its shares end with \
                     their leases"
                ),
            }
        }
    }
}
