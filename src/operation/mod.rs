//! What is done. Every operation starts with a [`Permit`], which only the gate can make.

mod exec;
mod history;
mod nut;
mod status;
mod upsd;

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::agent::{Ended, Facts};
use crate::config::{Config, Confirm, Definition, Handler, Nut};
use crate::gate::{Argument, Code, Offer, Offers, Permit};
use crate::wire::{ArgLimit, Operation, Text, Value};

/// Operations that doorward carries out itself.
const BUILTIN: [&str; 2] = ["history.read", "status.read"];

/// Whether doorward carries out this operation itself.
#[must_use]
pub fn is_builtin(name: &Operation) -> bool {
    BUILTIN.contains(&name.as_str())
}

/// The arguments of a built-in operation.
fn arguments(name: &Operation, handler: Handler) -> Option<&'static str> {
    (handler == Handler::Builtin && name.as_str() == "history.read").then_some("from")
}

fn optional(name: Text) -> (Text, Argument) {
    let argument = Argument {
        required: false,
        limit: ArgLimit::default(),
    };
    (name, argument)
}

/// The operations of this device.
#[derive(Debug, Clone)]
pub struct Table {
    operations: BTreeMap<Operation, Definition>,
    /// The state directory.
    state: PathBuf,
    nut: Option<Nut>,
    /// Those that cannot work, and why.
    broken: BTreeMap<Operation, String>,
}

impl Table {
    /// Takes them from a configuration that has been checked.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let operations = config.operations.iter();
        Self {
            operations: operations
                .map(|(name, definition)| (name.0.clone(), definition.clone()))
                .collect(),
            state: config.state.clone(),
            nut: config.nut.clone(),
            broken: config.broken(),
        }
    }

    /// What the gate needs to know of them.
    #[must_use]
    pub fn offers(&self) -> Offers {
        self.operations
            .iter()
            .map(|(name, definition)| {
                let builtin = arguments(name, definition.handler).into_iter();
                let builtin = builtin.filter_map(|arg| Text::new(arg).ok()).map(optional);
                let configured = definition.args.iter().filter_map(|(arg, definition)| {
                    let argument = Argument {
                        required: !definition.optional,
                        limit: definition.limit(),
                    };
                    Some((Text::new(arg).ok()?, argument))
                });
                let offer = Offer {
                    args: builtin.chain(configured).collect(),
                    ..Offer::plain(definition.class)
                };
                (name.clone(), offer)
            })
            .collect()
    }

    /// Those whose success shows in a new boot.
    #[must_use]
    pub fn reboots(&self) -> Vec<Operation> {
        self.operations
            .iter()
            .filter(|(_, definition)| definition.confirm == Confirm::Boot)
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Carries out what was permitted, and says how it ended.
    pub async fn carry_out(&self, permit: Permit, facts: Facts) -> Ended {
        let name = &permit.caller().operation;
        let Some(definition) = self.operations.get(name) else {
            return Ended::failed(Code::Failed, "the operation is no longer configured");
        };
        if let Some(why) = self.broken.get(name) {
            return Ended::failed(Code::Failed, &format!("its definition is broken: {why}"));
        }
        // The gate has looked at them; whoever hands them on looks again.
        let sound = |(arg, value): (&Text, &Value)| {
            let definition = definition.args.get(arg.as_str());
            definition.is_some_and(|definition| definition.takes(value))
        };
        if definition.handler != Handler::Builtin && !permit.args().iter().all(sound) {
            return Ended::failed(Code::Param, "an argument is not what the operation takes");
        }
        if !definition.interlocks.is_empty() {
            let forbidden = match &self.nut {
                Some(nut) => nut::forbidden(nut, &definition.interlocks).await,
                None => Some(Ended::failed(Code::Interlock, "no UPS is configured")),
            };
            if let Some(ended) = forbidden {
                return ended;
            }
        }
        match definition.handler {
            Handler::Builtin if name.as_str() == "history.read" => {
                let state = self.state.clone();
                let read = tokio::task::spawn_blocking(move || history::read(&permit, &state));
                read.await
                    .unwrap_or_else(|error| Ended::failed(Code::Failed, &error.to_string()))
            }
            Handler::Builtin => status::read(&facts),
            Handler::Exec => exec::run(definition, permit.args()).await,
            Handler::Nut => match &self.nut {
                Some(nut) => nut::run(nut, definition, permit.args()).await,
                None => Ended::failed(Code::Failed, "no UPS is configured"),
            },
        }
    }
}
