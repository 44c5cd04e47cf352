//! The builtin handler: the operations that doorward executes itself.

use std::collections::BTreeMap;

use crate::config::{Config, Definition};
use crate::core::OperationResult;
use crate::operation::handler::{
    Execution, OperationHandler, Resumption, allow_fields, args_by_name, definition_args,
    interrupted,
};
use crate::operation::{diagnostics, history, large_results, licence, report, settings, status};
use doorward_protocol::gate::{Argument, Code};
use doorward_protocol::wire::{ArgLimit, Operation, Text, Value};

/// A built-in operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Builtin {
    /// The device's status.
    Status,
    /// The event log, a page at a time.
    History,
    /// Reads settings.
    ConfigRead,
    /// Changes one setting.
    ConfigWrite,
    /// A diagnostics bundle.
    Diagnostics,
    /// A report as a CSV table.
    Report,
    /// Installs a licence of the machine's manufacturer.
    Licence,
}

impl Builtin {
    const ALL: [(&'static str, Self); 7] = [
        ("status.read", Self::Status),
        ("history.read", Self::History),
        ("config.read", Self::ConfigRead),
        ("config.write", Self::ConfigWrite),
        ("diag.bundle", Self::Diagnostics),
        ("report.read", Self::Report),
        ("licence.apply", Self::Licence),
    ];

    /// The built-in operation of this name.
    pub(super) fn of(name: &Operation) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find_map(|(known, builtin)| (known == name.as_str()).then_some(builtin))
    }

    fn needs_settings(self) -> bool {
        matches!(self, Self::ConfigRead | Self::ConfigWrite)
    }

    /// Whether it reads the complete event log or builds a large result in memory.
    fn needs_much_memory(self) -> bool {
        matches!(self, Self::History | Self::Diagnostics | Self::Report)
    }

    fn own_args(self, config: &Config) -> BTreeMap<Text, Argument> {
        let names = || one_of(config.settings.keys().map(String::as_str));
        let number = || ArgLimit {
            min: Some(0),
            ..ArgLimit::default()
        };
        // To continue a result that is larger than what is sent for one command.
        let more = [
            ("of", false, ArgLimit::default()),
            ("from", false, number()),
        ];
        match self {
            Self::Status => args_by_name([]),
            Self::History => args_by_name([("from", false, ArgLimit::default())]),
            Self::ConfigRead => args_by_name([("key", false, names())]),
            Self::ConfigWrite => {
                let value = ArgLimit::default();
                args_by_name([("key", true, names()), ("value", true, value)])
            }
            Self::Licence => args_by_name([("licence", true, ArgLimit::default())]),
            Self::Diagnostics => args_by_name(more),
            Self::Report => {
                let kinds = one_of(report::KINDS.into_iter());
                args_by_name([("kind", true, kinds)].into_iter().chain(more))
            }
        }
    }
}

impl OperationHandler for Builtin {
    const OWN_ARGS: bool = true;

    fn new(name: &Operation, definition: &Definition, config: &Config) -> Result<Self, String> {
        let Some(builtin) = Self::of(name) else {
            return Err("doorward has no built-in operation of this name".into());
        };
        if !definition.args.is_empty() {
            return Err("a built-in operation has its own arguments; remove args".into());
        }
        if builtin.needs_settings() && config.settings.is_empty() {
            return Err("no settings are configured; add [settings.NAME]".into());
        }
        if builtin == Self::Licence && config.licence.is_none() {
            return Err("no licence keys are configured; add [licence]".into());
        }
        allow_fields(definition, &[])?;
        Ok(builtin)
    }

    fn args(
        name: &Operation,
        definition: &Definition,
        config: &Config,
    ) -> BTreeMap<Text, Argument> {
        match Self::of(name) {
            Some(builtin) => builtin.own_args(config),
            None => definition_args(definition),
        }
    }

    fn acts(&self) -> bool {
        matches!(self, Self::ConfigWrite | Self::Licence)
    }

    fn resumable(&self) -> bool {
        *self == Self::ConfigWrite
    }

    fn reads_memory_only(&self) -> bool {
        *self == Self::Status
    }

    async fn run(&self, execution: Execution<'_>) -> OperationResult {
        let Execution {
            shared,
            permit,
            context,
            ..
        } = execution;
        let config = &shared.config;
        let state = config.state.as_path();
        let failed = |why: &str| OperationResult::failed(Code::Failed, why);
        if matches!(self, Self::Diagnostics | Self::Report) {
            match large_results::resend_request(permit) {
                Some(Ok(of)) => return large_results::resend(state, permit, context, &of).await,
                Some(Err(result)) => return result,
                None => {}
            }
        }
        let _one_at_a_time = match self.needs_much_memory() {
            true => shared.reading.acquire().await.ok(),
            false => None,
        };
        match self {
            Self::Status => status::read(execution.status),
            Self::History => {
                let (permit, state) = (permit.clone(), state.to_owned());
                let page = tokio::task::spawn_blocking(move || history::read(&permit, &state));
                page.await
                    .unwrap_or_else(|error| failed(&error.to_string()))
            }
            Self::Licence => match &config.licence {
                Some(licence) => licence::apply(licence, permit.args(), &execution.status.now),
                None => failed("no licence keys are configured"),
            },
            Self::ConfigRead => settings::read(shared.settings(), permit.args()).await,
            Self::ConfigWrite => {
                settings::write(shared.settings(), &shared.pending, permit, context).await
            }
            Self::Diagnostics => {
                match diagnostics::bundle(config, permit, execution.status).await {
                    Ok(bundle) => large_results::new(state, permit, context, bundle).await,
                    Err(why) => failed(&why),
                }
            }
            Self::Report => {
                let (requester, path) = (permit.clone(), state.to_owned());
                let table =
                    tokio::task::spawn_blocking(move || match requester.args().get("kind") {
                        Some(Value::Text(kind)) => report::table(kind, &requester, &path),
                        _ => Err("kind is the name of a report".to_owned()),
                    });
                match table.await {
                    Ok(Ok(csv)) => {
                        large_results::new(state, permit, context, csv.into_bytes()).await
                    }
                    Ok(Err(why)) => failed(&why),
                    Err(error) => failed(&error.to_string()),
                }
            }
        }
    }

    async fn resume(&self, resumption: Resumption<'_>) -> OperationResult {
        let shared = resumption.shared;
        let command = &resumption.intent.asked.command;
        match self {
            Self::ConfigWrite => {
                settings::resume(shared.settings(), &shared.pending, command).await
            }
            _ => interrupted(),
        }
    }
}

fn one_of<'a>(names: impl Iterator<Item = &'a str>) -> ArgLimit {
    ArgLimit {
        one_of: Some(names.map(Value::from).collect()),
        ..ArgLimit::default()
    }
}
