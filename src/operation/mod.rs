//! What is done. Every operation starts with a [`Permit`], which only the gate can make.

mod builtin;
mod context;
mod dbus;
mod diagnostics;
mod exec;
mod firmware;
mod history;
mod large_results;
mod licence;
mod logind;
mod mqtt;
mod nut;
mod report;
mod retry;
pub mod self_check;
mod settings;
mod status;
mod systemd_unit;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::{Mutex, Semaphore};

pub use builtin::Builtin;
pub use context::{OperationContext, OperationEvent};
pub use firmware::FirmwareOperation;

use crate::config::{Config, Definition, Handler, OperationName};
use crate::core::{DeviceStatus, OperationResult};
use builtin::args;
use doorward_protocol::event_log::record::Intent;
use doorward_protocol::gate::{Argument, Code, Offer, Offers, Permit, REBOOTS};
use doorward_protocol::wire::{ArgLimit, Hash, Id, Map, Operation, Text, Value};
use doorward_transport::TrustedTime;
use nut::Ups;
use settings::{Pending, SettingsContext};

/// The operations of this device.
#[derive(Debug, Clone)]
pub struct OperationTable {
    config: Arc<Config>,
    /// Those that cannot work, and why.
    broken: Arc<BTreeMap<Operation, String>>,
    pending: Pending,
    ups: Option<Arc<Ups>>,
    time: TrustedTime,
    /// One image at a time is fetched or installed.
    updating: Arc<Mutex<()>>,
    /// The event log is read as a whole by one at a time.
    reading: Arc<Semaphore>,
}

impl OperationTable {
    /// Takes them from a configuration that has been checked. Certificates of those who are asked
    /// are judged by `time`.
    #[must_use]
    pub fn new(config: &Config, time: TrustedTime) -> Self {
        Self {
            broken: Arc::new(config.unusable_operations()),
            config: Arc::new(config.clone()),
            pending: Pending::found(config),
            updating: Arc::default(),
            reading: Arc::new(Semaphore::new(1)),
            ups: config.nut.clone().map(|nut| {
                let time = time.clone();
                Arc::new(Ups { nut, time })
            }),
            time,
        }
    }

    fn operations(&self) -> impl Iterator<Item = (&Operation, &Definition)> {
        let operations = self.config.operations.iter();
        operations.map(|(name, definition)| (&name.0, definition))
    }

    fn definition(&self, name: &Operation) -> Option<&Definition> {
        self.config.operations.get(&OperationName(name.clone()))
    }

    /// What the gate needs to know of them.
    #[must_use]
    pub fn offers(&self) -> Offers {
        let offers = self.operations().map(|(name, definition)| {
            let boots = Self::boots(name, definition);
            let interlocks = boots.then(|| Id::new(REBOOTS).ok());
            let offer = Offer {
                class: definition.class,
                args: self.args(name, definition),
                interlocks: interlocks.flatten().into_iter().collect(),
            };
            (name.clone(), offer)
        });
        offers.collect()
    }

    /// Whether an operation boots the machine.
    fn boots(name: &Operation, definition: &Definition) -> bool {
        let firmware = definition.handler == Handler::Firmware;
        definition.boots()
            || (firmware
                && FirmwareOperation::of(name).is_some_and(|it| it != FirmwareOperation::Stage))
    }

    fn args(&self, name: &Operation, definition: &Definition) -> BTreeMap<Text, Argument> {
        match (
            definition.handler,
            Builtin::of(name),
            FirmwareOperation::of(name),
        ) {
            (Handler::Builtin, Some(builtin), _) => builtin.args(&self.config),
            (Handler::Firmware, _, Some(FirmwareOperation::Stage | FirmwareOperation::Install)) => {
                let limit = ArgLimit {
                    min: Some(1),
                    ..ArgLimit::default()
                };
                args([("version", true, limit)])
            }
            _ => args(
                definition
                    .args
                    .iter()
                    .map(|(name, arg)| (name.as_str(), !arg.optional, arg.limit())),
            ),
        }
    }

    /// Those whose success shows in a new boot.
    #[must_use]
    pub fn rebooting(&self) -> Vec<Operation> {
        let boots = self.operations();
        let boots = boots.filter(|(name, definition)| Self::boots(name, definition));
        boots.map(|(name, _)| name.clone()).collect()
    }

    /// Those that a stop interrupts and that then have to be brought to an end.
    #[must_use]
    pub fn resumable(&self) -> Vec<Operation> {
        let resumes = self
            .operations()
            .filter(|(name, definition)| match definition.handler {
                Handler::Mqtt | Handler::Logind => true,
                Handler::Firmware => {
                    FirmwareOperation::of(name) == Some(FirmwareOperation::Install)
                }
                Handler::Builtin => Builtin::of(name) == Some(Builtin::ConfigWrite),
                _ => false,
            });
        resumes.map(|(name, _)| name.clone()).collect()
    }

    /// Those that only look at what is in memory.
    #[must_use]
    pub fn in_memory_reads(&self) -> Vec<Operation> {
        let looks = self.operations().filter(|(name, definition)| {
            definition.handler == Handler::Builtin
                && definition.interlocks.is_empty()
                && Builtin::of(name) == Some(Builtin::Status)
                && !self.broken.contains_key(name)
        });
        looks.map(|(name, _)| name.clone()).collect()
    }

    /// Does one of those that was permitted.
    #[must_use]
    pub fn read_in_memory(permit: &Permit, facts: &DeviceStatus) -> OperationResult {
        match Builtin::of(&permit.caller().operation) {
            Some(Builtin::Status) => status::read(facts),
            _ => {
                OperationResult::failed(Code::Failed, "it does not only look at what is in memory")
            }
        }
    }

    /// The number of the firmware that runs; 0 if that is not known.
    #[must_use]
    pub fn firmware(&self) -> u32 {
        firmware::running(&self.config)
    }

    /// Carries out what was permitted, and says how it ended.
    pub async fn execute(
        &self,
        permit: Permit,
        facts: DeviceStatus,
        context: &OperationContext,
    ) -> OperationResult {
        let name = &permit.caller().operation;
        let Some(definition) = self.definition(name) else {
            return OperationResult::failed(Code::Failed, "the operation is no longer configured");
        };
        if let Some(why) = self.broken.get(name) {
            return OperationResult::failed(
                Code::Failed,
                &format!("its definition is broken: {why}"),
            );
        }
        // The gate has looked at them; whoever hands them on looks again.
        let sound = |(arg, value): (&Text, &Value)| {
            let definition = definition.args.get(arg.as_str());
            definition.is_some_and(|definition| definition.takes(value))
        };
        let own = matches!(definition.handler, Handler::Builtin | Handler::Firmware);
        if !own && !permit.args().iter().all(sound) {
            return OperationResult::failed(
                Code::Param,
                "an argument is not what the operation takes",
            );
        }
        let config = &*self.config;
        if let Err(ended) = check_interlocks(self.ups.as_deref(), definition).await {
            return ended;
        }
        let missing =
            |what: &str| OperationResult::failed(Code::Failed, &format!("no {what} is configured"));
        match definition.handler {
            Handler::Builtin => self.builtin(permit, facts, context).await,
            Handler::Exec => exec::run(definition, permit.args()).await,
            Handler::Logind => logind::run(definition, &permit, context).await,
            Handler::Unit => systemd_unit::run(definition).await,
            Handler::Nut => match &self.ups {
                Some(ups) => nut::run(ups, definition, permit.args()).await,
                None => missing("UPS"),
            },
            Handler::Mqtt => match &config.bus {
                Some(bus) => mqtt::run(bus, definition, &permit, context).await,
                None => missing("bus"),
            },
            Handler::Firmware => match (&config.firmware, FirmwareOperation::of(name)) {
                (Some(firmware), Some(step)) => {
                    let Ok(_alone) = self.updating.try_lock() else {
                        let why = "another image is being fetched or installed";
                        return OperationResult::failed(Code::Busy, why);
                    };
                    let work = firmware::FirmwareJob {
                        firmware,
                        definition,
                        ups: self.ups.as_deref(),
                        state: &config.state,
                        reserve: config.log.limit_mib << 21,
                        time: &self.time,
                        context,
                        armed: AtomicBool::new(false),
                    };
                    work.run(step, &permit).await
                }
                _ => missing("source of firmware"),
            },
        }
    }

    fn settings_context(&self) -> SettingsContext<'_> {
        SettingsContext {
            config: &self.config,
            ups: self.ups.as_deref(),
        }
    }

    async fn builtin(
        &self,
        permit: Permit,
        facts: DeviceStatus,
        context: &OperationContext,
    ) -> OperationResult {
        let config = &*self.config;
        let state: &Path = &config.state;
        let failed = |why: &str| OperationResult::failed(Code::Failed, why);
        let Some(builtin) = Builtin::of(&permit.caller().operation) else {
            return failed("doorward has no built-in operation of this name");
        };
        if matches!(builtin, Builtin::Diagnostics | Builtin::Report) {
            match large_results::resend_request(&permit) {
                Some(Ok(of)) => return large_results::resend(state, &permit, context, &of).await,
                Some(Err(ended)) => return ended,
                None => {}
            }
        }
        let whole = matches!(
            builtin,
            Builtin::History | Builtin::Diagnostics | Builtin::Report
        );
        let _alone = match whole {
            true => self.reading.acquire().await.ok(),
            false => None,
        };
        match builtin {
            Builtin::Status => status::read(&facts),
            Builtin::History => {
                let state = state.to_owned();
                let read = tokio::task::spawn_blocking(move || history::read(&permit, &state));
                read.await
                    .unwrap_or_else(|error| failed(&error.to_string()))
            }
            Builtin::Licence => match &config.licence {
                Some(licence) => licence::apply(licence, permit.args(), &facts.now),
                None => failed("nobody's licences are trusted here"),
            },
            Builtin::ConfigRead => settings::read(self.settings_context(), permit.args()).await,
            Builtin::ConfigWrite => {
                settings::write(self.settings_context(), &self.pending, &permit, context).await
            }
            Builtin::Diagnostics => match diagnostics::bundle(config, &permit, &facts).await {
                Ok(bundle) => large_results::new(state, &permit, context, bundle).await,
                Err(why) => failed(&why),
            },
            Builtin::Report => {
                let (asker, path) = (permit.clone(), state.to_owned());
                let made = tokio::task::spawn_blocking(move || match asker.args().get("kind") {
                    Some(Value::Text(kind)) => report::table(kind, &asker, &path),
                    _ => Err("kind is the name of a report".to_owned()),
                });
                match made.await {
                    Ok(Ok(csv)) => {
                        large_results::new(state, &permit, context, csv.into_bytes()).await
                    }
                    Ok(Err(why)) => failed(&why),
                    Err(error) => failed(&error.to_string()),
                }
            }
        }
    }

    /// The command of a change of settings that a stop has left unconfirmed.
    #[must_use]
    pub fn unconfirmed(&self) -> Option<Hash> {
        settings::unconfirmed(&self.config)
    }

    /// Takes that change back.
    pub async fn take_back(&self, command: &Hash) {
        let ended = settings::resume(self.settings_context(), &self.pending, command).await;
        tracing::warn!(detail = ?ended.detail, "a change of settings that was not confirmed");
    }

    /// Lets go of what can be had again, where a disk is too full to serve.
    pub fn free_disk_space(&self) {
        large_results::clear(&self.config.state);
        firmware::drop_parts(&self.config.state);
    }

    /// Looks out for news of the equipment, and tells it.
    pub async fn watch<T: Future>(&self, tell: impl Fn(Map<Text, Value>) -> T) {
        if let Some(ups) = &self.ups {
            nut::watch(ups, tell).await;
        }
    }

    /// Lets go of what was kept for people: results, and firmware that was staged.
    pub fn clear_user_data(&self) {
        large_results::clear(&self.config.state);
        firmware::clear(&self.config.state);
    }

    /// Brings to an end what a stop had interrupted; `booted` says that the machine has booted
    /// since. It is never begun again.
    pub async fn resume(&self, intent: &Intent, booted: bool) -> OperationResult {
        let name = &intent.asked.operation;
        let config = &*self.config;
        let stopped = || OperationResult::failed(Code::Unknown, "the device stopped while it ran");
        let Some(definition) = self.definition(name) else {
            return stopped();
        };
        match definition.handler {
            Handler::Mqtt => match &config.bus {
                Some(bus) => mqtt::resume(bus, definition, &intent.asked.command).await,
                None => stopped(),
            },
            Handler::Firmware => match (&config.firmware, intent.version) {
                (Some(firmware), Some(version)) => {
                    let _alone = self.updating.lock().await;
                    let command = &intent.asked.command;
                    let after = firmware::ResumedInstall {
                        firmware,
                        asked: version,
                        command,
                        state: &config.state,
                    };
                    after.resume(booted).await
                }
                _ => stopped(),
            },
            Handler::Builtin => {
                settings::resume(
                    self.settings_context(),
                    &self.pending,
                    &intent.asked.command,
                )
                .await
            }
            Handler::Logind if booted && definition.boots() => {
                OperationResult::done(Map::default())
            }
            Handler::Logind => logind::resume().await,
            _ => stopped(),
        }
    }
}

/// Whether a condition of the UPS forbids an operation now.
async fn check_interlocks(
    ups: Option<&Ups>,
    definition: &Definition,
) -> Result<(), OperationResult> {
    if definition.interlocks.is_empty() {
        return Ok(());
    }
    let forbidden = match ups {
        Some(ups) => nut::blocking_interlock(ups, &definition.interlocks).await,
        None => Some(OperationResult::failed(
            Code::Interlock,
            "no UPS is configured",
        )),
    };
    forbidden.map_or(Ok(()), Err)
}
