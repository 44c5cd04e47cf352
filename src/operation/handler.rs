//! The handlers of operations, built from the configuration and checked.
//!
//! A new handler is a file of its own with an [`OperationHandler`], its name in
//! [`HandlerKind`] and one line of `handlers!`.

use std::collections::BTreeMap;

use crate::config::{
    Condition, Config, Confirm, Definition, HandlerKind, NO_UPS, OperationName, is_word,
};
use crate::core::{DeviceStatus, OperationResult};
use crate::operation::OperationContext;
use crate::operation::builtin::Builtin;
use crate::operation::exec::ExecHandler;
use crate::operation::firmware::FirmwareHandler;
use crate::operation::logind::LogindHandler;
use crate::operation::mqtt::MqttHandler;
use crate::operation::nut;
use crate::operation::nut::{NutHandler, Ups};
use crate::operation::shared::Shared;
use crate::operation::systemd_unit::UnitHandler;
use doorward_protocol::event_log::record::Intent;
use doorward_protocol::gate::{Argument, Code, Permit};
use doorward_protocol::wire::{ArgLimit, Class, Map, Operation, Text, Value};

/// The input of one execution.
#[derive(Clone, Copy)]
pub(super) struct Execution<'a> {
    pub(super) shared: &'a Shared,
    pub(super) definition: &'a Definition,
    pub(super) permit: &'a Permit,
    /// The device's status when the operation was started.
    pub(super) status: &'a DeviceStatus,
    pub(super) context: &'a OperationContext,
}

/// The input for finishing an operation that a stop of the daemon interrupted.
#[derive(Clone, Copy)]
pub(super) struct Resumption<'a> {
    pub(super) shared: &'a Shared,
    pub(super) definition: &'a Definition,
    /// The log record of the start.
    pub(super) intent: &'a Intent,
    /// Whether the machine has rebooted since the start.
    pub(super) rebooted: bool,
}

/// The interface of a handler.
pub(super) trait OperationHandler: Sized {
    /// Whether the arguments are the handler's own, instead of those in the definition.
    const OWN_ARGS: bool = false;

    /// Builds the handler of the operation `name`.
    ///
    /// # Errors
    /// With the reason why the operation can never work as it is defined.
    fn new(name: &Operation, definition: &Definition, config: &Config) -> Result<Self, String>;

    /// The arguments of a command. They depend on the definition only, since unusable operations
    /// are offered too.
    fn args(
        _name: &Operation,
        definition: &Definition,
        _config: &Config,
    ) -> BTreeMap<Text, Argument> {
        definition_args(definition)
    }

    /// Whether the operation succeeds by a reboot of the machine.
    fn reboots(_name: &Operation, _definition: &Definition) -> bool {
        false
    }

    /// Whether the operation is known to change something, which excludes class `read`.
    fn acts(&self) -> bool;

    /// Whether [`resume`](Self::resume) can finish the operation.
    fn resumable(&self) -> bool {
        false
    }

    /// Whether the operation only reads the device's status, which is in memory.
    fn reads_memory_only(&self) -> bool {
        false
    }

    /// Executes a permitted command.
    fn run(&self, execution: Execution<'_>) -> impl Future<Output = OperationResult> + Send;

    /// Finishes an operation that was interrupted; it is never started a second time.
    fn resume(&self, _resumption: Resumption<'_>) -> impl Future<Output = OperationResult> + Send {
        std::future::ready(interrupted())
    }
}

/// Defines [`Handler`] and passes each call on to the type of the variant.
macro_rules! handlers {
    ($($kind:ident($handler:ty),)*) => {
        /// The handler of one operation.
        #[derive(Debug)]
        pub(super) enum Handler {
            $($kind($handler),)*
        }

        impl Handler {
            fn of_kind(
                name: &Operation,
                definition: &Definition,
                config: &Config,
            ) -> Result<Self, String> {
                match definition.handler {
                    $(HandlerKind::$kind => {
                        <$handler>::new(name, definition, config).map(Self::$kind)
                    })*
                }
            }

            /// The arguments of a command.
            pub(super) fn args(
                name: &Operation,
                definition: &Definition,
                config: &Config,
            ) -> BTreeMap<Text, Argument> {
                match definition.handler {
                    $(HandlerKind::$kind => <$handler>::args(name, definition, config),)*
                }
            }

            /// Whether the operation succeeds by a reboot of the machine.
            pub(super) fn reboots(name: &Operation, definition: &Definition) -> bool {
                match definition.handler {
                    $(HandlerKind::$kind => <$handler>::reboots(name, definition),)*
                }
            }

            fn has_own_args(&self) -> bool {
                match self {
                    $(Self::$kind(_) => <$handler>::OWN_ARGS,)*
                }
            }

            fn acts(&self) -> bool {
                match self {
                    $(Self::$kind(handler) => handler.acts(),)*
                }
            }

            /// Whether an interrupted operation can be finished.
            pub(super) fn resumable(&self) -> bool {
                match self {
                    $(Self::$kind(handler) => handler.resumable(),)*
                }
            }

            /// Whether the operation only reads the device's status, which is in memory.
            pub(super) fn reads_memory_only(&self) -> bool {
                match self {
                    $(Self::$kind(handler) => handler.reads_memory_only(),)*
                }
            }

            /// Executes a permitted command.
            pub(super) async fn run(&self, execution: Execution<'_>) -> OperationResult {
                match self {
                    $(Self::$kind(handler) => handler.run(execution).await,)*
                }
            }

            /// Finishes an interrupted operation.
            pub(super) async fn resume(&self, resumption: Resumption<'_>) -> OperationResult {
                match self {
                    $(Self::$kind(handler) => handler.resume(resumption).await,)*
                }
            }
        }
    };
}

handlers! {
    Builtin(Builtin),
    Exec(ExecHandler),
    Nut(NutHandler),
    Logind(LogindHandler),
    Unit(UnitHandler),
    Mqtt(MqttHandler),
    Firmware(FirmwareHandler),
}

impl Handler {
    /// Builds the handler of the operation `name`, and checks the rest of the definition.
    ///
    /// # Errors
    /// With the reason why the operation can never work as it is defined.
    pub(super) fn new(
        name: &Operation,
        definition: &Definition,
        config: &Config,
    ) -> Result<Self, String> {
        let handler = Self::of_kind(name, definition, config)?;
        if handler.acts() && definition.class == Class::Read {
            return Err("an operation that changes something cannot have class = \"read\"".into());
        }
        if definition.confirm == Confirm::Boot && definition.handler != HandlerKind::Exec {
            return Err("confirm = \"boot\" is for the exec handler".into());
        }
        if !definition.interlocks.is_empty() && config.nut.is_none() {
            return Err(NO_UPS.into());
        }
        for (arg, limits) in &definition.args {
            if !is_word(arg) {
                return Err(format!("`{arg}` is not a valid name of an argument"));
            }
            limits.check().map_err(|why| format!("args.{arg}: {why}"))?;
        }
        if !(1..=86400).contains(&definition.timeout_s) {
            return Err("timeout_s must be from 1 to 86400".into());
        }
        Ok(handler)
    }

    /// Checks the arguments of a permitted command once more. The gate has checked them already;
    /// this protects the programs and services that receive them.
    pub(super) fn accepts(&self, definition: &Definition, args: &Map<Text, Value>) -> bool {
        let accepts = |(arg, value): (&Text, &Value)| {
            let limits = definition.args.get(arg.as_str());
            limits.is_some_and(|limits| limits.takes(value))
        };
        self.has_own_args() || args.iter().all(accepts)
    }
}

/// Returns the operations that can never work as they are defined, with the reasons. They are
/// offered, and fail with that reason; the other operations work.
#[must_use]
pub fn unusable_operations(config: &Config) -> BTreeMap<Operation, String> {
    let operations = config.operations.iter();
    operations
        .filter_map(|(OperationName(name), definition)| {
            let handler = Handler::new(name, definition, config);
            Some((name.clone(), handler.err()?))
        })
        .collect()
}

/// Returns the result of an operation that a stop of the daemon interrupted.
pub(super) fn interrupted() -> OperationResult {
    OperationResult::failed(Code::Unknown, "the device stopped while it ran")
}

/// Fails if a field is set that another handler reads.
pub(super) fn allow_fields(definition: &Definition, allowed: &[&str]) -> Result<(), String> {
    for (field, is_set) in [
        ("argv", !definition.argv.is_empty()),
        ("command", definition.command.is_some()),
        ("variable", definition.variable.is_some()),
        ("read", !definition.read.is_empty()),
        ("action", definition.action.is_some()),
        ("unit", definition.unit.is_some()),
        ("job", definition.job.is_some()),
        ("topic", definition.topic.is_some()),
    ] {
        if is_set && !allowed.contains(&field) {
            return Err(format!("{field} is for another handler"));
        }
    }
    Ok(())
}

/// Returns the arguments that `args` of the definition allows.
pub(super) fn definition_args(definition: &Definition) -> BTreeMap<Text, Argument> {
    let args = definition.args.iter();
    args_by_name(args.map(|(name, arg)| (name.as_str(), !arg.optional, arg.limit())))
}

/// Returns arguments by name, from their names, whether they are required, and their limits.
pub(super) fn args_by_name<'a>(
    list: impl IntoIterator<Item = (&'a str, bool, ArgLimit)>,
) -> BTreeMap<Text, Argument> {
    let list = list.into_iter().filter_map(|(name, required, limit)| {
        let argument = Argument { required, limit };
        Some((Text::new(name).ok()?, argument))
    });
    list.collect()
}

/// Fails with the operation's result if a condition of the UPS forbids it now.
pub(super) async fn check_interlocks(
    ups: Option<&Ups>,
    interlocks: &[Condition],
) -> Result<(), OperationResult> {
    if interlocks.is_empty() {
        return Ok(());
    }
    let forbidden = match ups {
        Some(ups) => nut::blocking_interlock(ups, interlocks).await,
        None => Some(OperationResult::failed(
            Code::Interlock,
            "no UPS is configured",
        )),
    };
    forbidden.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::directory_of;

    fn load(text: &str) -> Result<Config, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("doorward.toml");
        std::fs::write(&path, text).unwrap();
        Config::load(&path).map_err(|e| e.to_string())
    }

    const GOOD: &str = r#"
state = "/var/lib/doorward"
[links.local]
url = "mqtt://127.0.0.1"
[operations."status.read"]
class = "read"
handler = "builtin"
"#;

    #[test]
    fn the_shipped_example_is_valid() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/doorward.toml");
        // The links are what `doorward provision` asks for.
        let error = Config::load(&path).unwrap_err().to_string();
        assert!(error.contains("doorward provision"), "{error}");
        let link = "[links.local]\nurl = \"mqtt://127.0.0.1\"\n".to_owned();
        let part = directory_of(&path).join("links.toml");
        let config = Config::load_with(&path, &[(part, link)]).unwrap();
        assert_eq!(unusable_operations(&config), BTreeMap::new());
    }

    #[test]
    fn what_the_shipped_example_only_shows_is_valid_too() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/doorward.toml");
        let text = std::fs::read_to_string(path).unwrap();
        let shown = |line: &str| {
            let inner = line.strip_prefix("# ")?;
            toml::from_str::<toml::Table>(inner).ok()?;
            (!inner.is_empty() && !inner.starts_with('#')).then(|| inner.to_owned())
        };
        let all: Vec<String> = text
            .lines()
            .map(|line| shown(line).unwrap_or_else(|| line.to_owned()))
            .collect();
        // Two that exclude each other, and what only a maker can fill in.
        let all = all
            .join("\n")
            .replacen("\"device.reboot\"]", "\"device.reboot.exec\"]", 1)
            .replace(
                "64 hexadecimal digits\"]",
                &format!("{}\"]", "58".to_owned() + &"66".repeat(31)),
            );
        let config = load(&all).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(unusable_operations(&config), BTreeMap::new());
        assert!(config.operations.len() > 15, "{}", config.operations.len());
    }

    #[test]
    fn an_operation_that_cannot_work_is_named_and_the_others_do() {
        let with = |fields: &str| {
            let text = format!(
                "{GOOD}[operations.\"x\"]\nclass = \"change\"\n{fields}\n[nut]\nups = \"ups\"\n\
                 user = \"doorward\"\npassword_file = \"/p\"\n"
            );
            let broken = unusable_operations(&load(&text).unwrap());
            assert!(broken.len() <= 1, "{broken:?}");
            broken.into_values().next().unwrap_or_default()
        };
        let nut = "handler = \"nut\"\n";
        let exec = "handler = \"exec\"\n";
        let int = "args.value = { type = \"int\" }";
        for (fields, says) in [
            (format!("{nut}command = \"load.off\""), ""),
            (format!("{nut}read = [\"ups.status\"]"), ""),
            (format!("{nut}variable = \"a.b\"\n{int}"), ""),
            (
                format!("{exec}argv = [\"/bin/x\", \"{{value}}\"]\n{int}"),
                "",
            ),
            ("handler = \"builtin\"".into(), "no built-in operation"),
            ("handler = \"logind\"".into(), "needs action"),
            (
                "handler = \"logind\"\naction = \"reboot\"\nargs.delay_s = { type = \"int\" }"
                    .into(),
                "with a min of 0 or more",
            ),
            (
                "handler = \"logind\"\naction = \"cancel\"\nargs.delay_s = { type = \"int\" }"
                    .into(),
                "no argument but delay_s",
            ),
            (
                "handler = \"unit\"\nunit = \"x\"".into(),
                "not the name of a unit",
            ),
            (
                "handler = \"unit\"\nunit = \"-x.service --now\"".into(),
                "not the name of a unit",
            ),
            (
                "handler = \"unit\"\nunit = \"x.service\"\njob = \"reload\"".into(),
                "",
            ),
            (
                "handler = \"mqtt\"\ntopic = \"te/#\"".into(),
                "without + and #",
            ),
            (
                "handler = \"mqtt\"\ntopic = \"doorward/v1/x/command\"".into(),
                "not of doorward",
            ),
            ("handler = \"mqtt\"\ntopic = \"te/x\"".into(), "add [bus]"),
            ("handler = \"firmware\"".into(), "does firmware.stage"),
            (exec.into(), "needs argv"),
            (format!("{exec}argv = [\"x\"]"), "absolute path"),
            (
                format!("{exec}argv = [\"/bin/x\", \"{{value}}\"]"),
                "needs args.value",
            ),
            (
                format!("{exec}argv = [\"/bin/x\", \"-{{value}}\"]\n{int}"),
                "must be the whole argument",
            ),
            (
                format!("{exec}argv = [\"/bin/x\"]\ncommand = \"load.off\""),
                "another handler",
            ),
            (nut.into(), "needs command, variable or read"),
            (
                format!("{nut}command = \"outlet.0.load.off\""),
                "outlet 0 stands for all",
            ),
            (
                format!("{nut}command = \"load.off\\nFSD ups\""),
                "not a valid name of NUT",
            ),
            (
                format!("{nut}command = \"load.off\"\n{int}"),
                "only an operation with variable takes",
            ),
            (format!("{nut}variable = \"a.b\""), "needs args.value"),
            (
                format!("{nut}command = \"a\"\nvariable = \"a.b\"\n{int}"),
                "either command",
            ),
            (format!("{nut}command = \"a\"\ntimeout_s = 0"), "timeout_s"),
            (
                format!("{nut}command = \"a\"\nconfirm = \"boot\""),
                "for the exec",
            ),
            (
                format!("{nut}variable = \"a.b\"\nargs.value = {{ type = \"text\", min = 1 }}"),
                "min and max are for",
            ),
            (
                format!("{nut}variable = \"a.b\"\nargs.value = {{ type = \"text\", one_of = [] }}"),
                "one_of is empty",
            ),
            (
                format!(
                    "{nut}variable = \"a.b\"\nargs.value = {{ type = \"int\", min = 2, max = 1 }}"
                ),
                "min is above max",
            ),
        ] {
            let said = with(&fields);
            assert!(
                said.contains(says) && said.is_empty() == says.is_empty(),
                "{fields}: {said}"
            );
        }
        let alone = format!("{GOOD}[operations.\"x\"]\nclass = \"read\"\n{nut}read = [\"a\"]");
        let broken = unusable_operations(&load(&alone).unwrap());
        assert!(broken.values().all(|why| why.contains("add [nut]")) && broken.len() == 1);
        let far = with("handler = \"exec\"\nargv = [\"/bin/x\"]");
        assert_eq!(far, "");
        let far = GOOD.replace("[operations", "[nut]\nups = \"u\"\nuser = \"d\"\npassword_file = \"/p\"\naddress = \"10.0.0.1:3493\"\n[operations");
        assert!(load(&far).unwrap_err().contains("must be on this machine"));
    }

    #[test]
    fn what_changes_something_is_not_of_class_read() {
        let settings = "[settings.x]\nvalue = { type = \"int\" }\nget = [\"/x\"]\nset = [\"/x\", \"{value}\"]\n";
        for (name, fields) in [
            ("config.write", "handler = \"builtin\""),
            ("boot", "handler = \"logind\"\naction = \"reboot\""),
            ("unit", "handler = \"unit\"\nunit = \"x.service\""),
        ] {
            for (class, broken) in [("read", true), ("change", false)] {
                let text = format!(
                    "{GOOD}[operations.\"{name}\"]\nclass = \"{class}\"\n{fields}\n{settings}"
                );
                let found = unusable_operations(&load(&text).unwrap());
                assert_eq!(!found.is_empty(), broken, "{name} {class} {found:?}");
            }
        }
    }
}
