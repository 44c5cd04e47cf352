//! A device on a real state directory: the real store and the core in one thread.

use std::path::Path;

use doorward::core::{
    Action, Core, CoreConfig, Delivery, Effects, Input, LinkId, OperationResult, ReplyTopic,
};
use doorward::store::Store;
use doorward_protocol::gate::{ClockReading, Origin};
use doorward_protocol::wire::*;

use doorward_testkit::*;

pub(crate) struct Device {
    pub(crate) core: Core,
    store: Store,
    reading: ClockReading,
    /// Commands that were run.
    pub(crate) ran: Vec<Hash>,
    /// Published receipts.
    pub(crate) receipts: Vec<Receipt>,
    pub(crate) acknowledged: Vec<u64>,
    /// Whether the store failed.
    pub(crate) failed: bool,
    /// Called with a description of everything that leaves the device, at that moment.
    pub(crate) observer: Option<Box<dyn FnMut(String)>>,
}

impl Device {
    /// Starts the device as the daemon does. A panic of sled ends a process, and a service manager
    /// restarts it: here up to three attempts.
    pub(crate) fn start(state: &Path) -> Result<Self, String> {
        Self::start_observed(state, None)
    }

    /// Starts the device with its clock at the given time.
    pub(crate) fn start_at(state: &Path, clock: u64) -> Result<Self, String> {
        Self::start_with(state, None, Timestamp(clock))
    }

    pub(crate) fn start_observed(
        state: &Path,
        observer: Option<Box<dyn FnMut(String)>>,
    ) -> Result<Self, String> {
        Self::start_with(state, observer, Timestamp(NOON))
    }

    fn start_with(
        state: &Path,
        observer: Option<Box<dyn FnMut(String)>>,
        system: Timestamp,
    ) -> Result<Self, String> {
        let mut opened = None;
        for _ in 0..3 {
            let attempt = std::panic::catch_unwind(|| Store::open(state));
            match attempt {
                Ok(Ok(store)) => {
                    opened = Some(store);
                    break;
                }
                Ok(Err(error)) => return Err(error.to_string()),
                Err(_) => {}
            }
        }
        let (mut store, found, _) = opened.ok_or("it panicked three times")?.into_parts();
        let reading = ClockReading {
            system,
            uptime: 1000,
            boot: Bytes([0xb0; 16]),
        };
        let settings = CoreConfig {
            segment: 2_000,
            ..settings()
        };
        let mut epoch = [0; 16];
        getrandom::fill(&mut epoch).unwrap();
        let (mut core, Effects { batch, actions, .. }) =
            Core::start(found, settings, Bytes(epoch), &reading);
        store.commit(&batch).map_err(|error| error.to_string())?;
        let more = core.handle(Input::Durable(core.log_size()), &reading);
        let mut device = Self {
            core,
            store,
            reading,
            ran: Vec::new(),
            receipts: Vec::new(),
            acknowledged: Vec::new(),
            failed: false,
            observer,
        };
        device.act(actions);
        device.act(more.actions);
        Ok(device)
    }

    fn report(&mut self, what: String) {
        if let Some(observer) = &mut self.observer {
            observer(what);
        }
    }

    pub(crate) fn deliver(&mut self, number: u64, payload: &[u8]) {
        self.input(Input::Arrived {
            origin: Origin::Cloud,
            retained: false,
            delivery: Delivery {
                link: LinkId(0),
                number,
            },
            payload: payload.to_vec(),
        });
    }

    fn input(&mut self, input: Input) {
        let mut effects = self.core.handle(input, &self.reading);
        while !effects.batch.is_empty() || !effects.actions.is_empty() {
            let durable = match effects.batch.is_empty() {
                true => None,
                false => Some(self.store.commit(&effects.batch)),
            };
            self.act(effects.actions);
            effects = match durable {
                None => Effects::default(),
                Some(Ok(())) => {
                    let size = self.core.log_size();
                    self.report(format!("durable {size}"));
                    self.core.handle(Input::Durable(size), &self.reading)
                }
                Some(Err(_)) => {
                    self.failed = true;
                    self.core.handle(Input::StoreFailed, &self.reading)
                }
            };
        }
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Run(permit) => {
                    let command = permit.caller().command;
                    self.report(format!("ran {command}"));
                    self.ran.push(command);
                    self.input(Input::Finished(
                        command,
                        OperationResult::done(Map::default()),
                    ));
                }
                Action::Publish(ReplyTopic::Receipts(..), bytes) => {
                    let receipt = receipt(&bytes);
                    let body = &receipt.body;
                    self.report(format!("receipt {} {}", body.command, body.outcome.name()));
                    self.receipts.push(receipt);
                }
                Action::Ack(delivery) => {
                    self.report(format!("acknowledged {}", delivery.number));
                    self.acknowledged.push(delivery.number);
                }
                Action::Publish(..)
                | Action::SetSite(_)
                | Action::ClearUserData
                | Action::WatchEquipment(_)
                | Action::RequestRetained
                | Action::Refuse(_)
                | Action::Resume(..)
                | Action::Upload(..) => {}
            }
        }
    }

    pub(crate) fn command(&mut self, wanted: &str, counter: u64, person: &str) -> Vec<u8> {
        let facts = self.core.status(&self.reading);
        let (epoch, now) = (facts.standing.epoch, facts.now.estimate);
        let command = Command {
            aud: device(),
            iat: now,
            exp: now.plus(120),
            cti: Bytes([7; 16]),
            body: CommandBody {
                format: 1,
                counter,
                instance: Bytes([1; 4]),
                epoch,
                operation: operation(wanted),
                args: Map::default(),
                // Without a clock the command expires by the uptime of the device.
                until: (facts.now.quality < 2).then_some(BootTime {
                    boot: facts.standing.boot,
                    uptime: facts.standing.uptime + 120,
                }),
                dry: None,
            },
        };
        sign(&command, &key(person))
    }

    /// Advances clock and uptime.
    pub(crate) fn pass(&mut self, seconds: u64) {
        self.reading.system = self.reading.system.plus(seconds);
        self.reading.uptime += seconds;
    }

    pub(crate) fn size(&self) -> u64 {
        self.core.log_size()
    }
}
