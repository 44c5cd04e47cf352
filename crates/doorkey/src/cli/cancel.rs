//! `doorkey cancel`: cancels shares, and waits for the devices' signed confirmation.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use crate::broker::{publish, subscribe};
use crate::cli::args::{IssuerArgs, OutputArgs};
use crate::cli::broker_args::{self, BrokerArgs};
use crate::cli::value_parsers::IdPrefix;
use crate::cli::{ids, published_text};
use crate::domain::Actor;
use crate::domain::share::ShareRecord;
use crate::service::Platform;
use doorward_client::verified;
use doorward_protocol::wire::topics;
use doorward_protocol::wire::{Audience, Bytes, Id, Kind, PublicKey, State, Timestamp};
use doorward_terminal::{CliError, block_on, exit_status, outln, print_json};
use doorward_transport::Broker;
use doorward_transport::MqttClient;
use doorward_transport::clock;
use doorward_transport::clock::Stopwatch;
use doorward_transport::files;

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  doorkey cancel ups-7 3f0a --broker mqtts://broker.example.org --wait 30
  doorkey cancel ups-7 --account anna
  doorkey cancel ups-7 --out ups-7.list

The last one only renews the revocation list.")]
pub(crate) struct Cancel {
    /// Id of the device, or site:NAME
    audience: Audience,
    /// Ids of the shares, or their first digits; without any, the revocation list is signed again,
    /// which extends the offline validity of the other shares
    #[arg(value_name = "SHARE")]
    shares: Vec<IdPrefix>,
    /// Account whose shares are all cancelled
    #[arg(long, alias = "of", value_name = "ACCOUNT")]
    account: Option<Id>,
    /// File for the revocation list, which `doorkey send --carry` delivers to the device
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// How long to wait for the signed confirmation of the devices, in seconds; needs a broker
    #[arg(long, value_name = "SECONDS")]
    wait: Option<u64>,
    #[command(flatten)]
    broker: BrokerArgs,
    #[command(flatten)]
    issuer: IssuerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// The shares to cancel. Shares that have ended are left out.
fn shares_to_cancel(
    args: &Cancel,
    known: &[ShareRecord],
    now: Timestamp,
) -> Result<Vec<Bytes<16>>, CliError> {
    let mut ids = Vec::new();
    for prefix in &args.shares {
        let candidates = known
            .iter()
            .filter(|share| share.id.hex().starts_with(prefix.digits()));
        let candidates = candidates.map(|share| (share.id, share.recipient.name().to_owned()));
        ids.push(
            ids::pick("share", prefix, candidates.collect()).map_err(|error| {
                let message = format!("{}: {}", args.audience, error.message);
                CliError { message, ..error }
            })?,
        );
    }
    if let Some(account) = &args.account {
        let theirs = known
            .iter()
            .filter(|share| share.recipient.name() == account.as_str());
        ids.extend(theirs.map(|share| share.id));
    }
    let is_live = |id: &Bytes<16>| {
        known
            .iter()
            .any(|share| share.id == *id && share.is_live(now))
    };
    ids.retain(is_live);
    ids.sort_unstable_by_key(Bytes::hex);
    ids.dedup();
    Ok(ids)
}

pub(crate) fn run(args: Cancel) -> Result<ExitCode, CliError> {
    let now = clock::system();
    let home = args.issuer.resolve()?;
    let broker = home.broker(args.broker.clone())?;
    if args.wait.is_some() && broker.is_none() {
        let why = "--wait needs a broker, and none is given";
        return Err(CliError::new(exit_status::USAGE, why).with_remedy("Give --broker URL."));
    }
    let audience = &args.audience;
    let result = block_on(async {
        let platform = home.open().await?;
        let known = platform.shares(audience, Timestamp(0)).await?;
        let ids = shares_to_cancel(&args, &known, now)?;
        if ids.is_empty() && (args.account.is_some() || !args.shares.is_empty()) {
            return Ok(None);
        }
        let seq = match ids.is_empty() {
            true => platform.refresh_revocation_list(audience, now).await?,
            false => match platform.cancel(Actor::Issuer, &ids, now).await?.pop() {
                Some((_, seq)) => seq?,
                None => 0,
            },
        };
        let list = platform.statement(audience, Kind::Revocations, "").await?;
        let mut waiting = Waiting::default();
        let published = match (args.wait, &broker) {
            (Some(wait), Some(broker)) => {
                waiting = Waiting::new(&platform, audience, seq).await?;
                let wait = Duration::from_secs(wait);
                waiting.publish_and_wait(&platform, broker, wait).await?;
                true
            }
            _ => broker_args::send_all(&platform, broker).await?,
        };
        Ok(Some(Cancelled {
            count: ids.len(),
            seq,
            list: list.unwrap_or_default(),
            published,
            waiting,
        }))
    })?;
    match result {
        Some(cancelled) => print(&args, &cancelled),
        None => {
            if args.output.json {
                print_json(&json!({
                    "audience": audience.to_string(), "seq": null, "cancelled": 0,
                    "published": false, "devices": {},
                }));
            } else {
                match &args.account {
                    Some(account) if args.shares.is_empty() => {
                        outln!("nothing to cancel: {account} has no valid share of {audience}");
                    }
                    _ => outln!("nothing to cancel: the shares of {audience} have ended already"),
                }
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The result of a cancellation.
struct Cancelled {
    count: usize,
    seq: u64,
    list: Vec<u8>,
    published: bool,
    waiting: Waiting,
}

fn print(args: &Cancel, cancelled: &Cancelled) -> Result<ExitCode, CliError> {
    let Cancelled {
        count,
        seq,
        list,
        published,
        waiting,
    } = cancelled;
    let audience = &args.audience;
    if let Some(out) = &args.out {
        files::replace(out, list, 0o644)?;
    }
    let exit = match waiting.missing() {
        true => ExitCode::from(exit_status::UNAVAILABLE),
        false => ExitCode::SUCCESS,
    };
    if args.output.json {
        print_json(&json!({
            "audience": audience.to_string(), "seq": seq,
            "cancelled": count, "published": published, "devices": waiting.json(),
        }));
        return Ok(exit);
    }
    match count {
        0 => outln!(
            "revocation list {seq} of {audience} is signed{}",
            published_text(*published)
        ),
        _ => outln!(
            "{count} shares of {audience} are cancelled, revocation list {seq}{}",
            published_text(*published)
        ),
    }
    match (args.wait, count) {
        (Some(_), _) => waiting.print(),
        (None, 0) => {}
        (None, _) => outln!(
            "This takes effect when the device receives the list, or at the end of the offline \
             validity of the shares."
        ),
    }
    Ok(exit)
}

/// Devices that have to apply a revocation list.
#[derive(Default)]
struct Waiting {
    audience: Option<Audience>,
    seq: u64,
    /// Each device, its key, and when it has confirmed the list.
    devices: Vec<(Id, PublicKey, Option<Timestamp>)>,
}

impl Waiting {
    async fn new(platform: &Platform, audience: &Audience, seq: u64) -> Result<Self, CliError> {
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
        let mut client = MqttClient::connect(broker).await?;
        let states: Vec<_> = self
            .devices
            .iter()
            .map(|(id, ..)| topics::state(id))
            .collect();
        if !states.is_empty() {
            client.subscribe(states).await?;
        }
        publish::send_all(platform, &client, clock::system).await?;
        let watch = Stopwatch::start();
        while self.missing()
            && let Some(left) = wait.checked_sub(watch.elapsed())
            && let Some((topic, payload)) = client.next(left).await?
        {
            self.record_state(&topic, &payload);
            // The database needs it too: the number of users of the device may have decreased.
            subscribe::apply_report(platform, &topic, &payload).await?;
        }
        Ok(())
    }

    /// Records the confirmation in a message, if it is the `state` of one of the devices.
    fn record_state(&mut self, topic: &str, payload: &[u8]) {
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
                Some(at) => outln!("{id} has applied the list at {at}, signed by the device"),
                None => outln!(
                    "{id} has not confirmed the list; until it does, the shares remain valid there \
                     until their offline validity ends"
                ),
            }
        }
    }
}
