//! What makes an operation that cannot work known before anybody asks for it.

use crate::config::nut::is_word;
use crate::config::{
    ArgKind, Config, Confirm, Definition, Firmware, Handler, PowerAction, UpdaterKind, placeholder,
};
use crate::operation::{Builtin, FirmwareOperation};
use doorward_protocol::wire::{Class, Operation};

impl Definition {
    /// Why it cannot work as it is defined, if it cannot.
    pub(super) fn check(&self, name: &Operation, config: &Config) -> Result<(), String> {
        let handled = match self.handler {
            Handler::Builtin => self.check_builtin(name, config),
            Handler::Exec => self.check_exec(),
            Handler::Nut => self.check_nut(),
            Handler::Logind => self.check_logind(),
            Handler::Unit => self.check_unit(),
            Handler::Mqtt => self.check_mqtt(config.bus.is_some()),
            Handler::Firmware => self.check_firmware(name, config.firmware.as_ref()),
        };
        handled?;
        let acts = match self.handler {
            Handler::Logind | Handler::Unit | Handler::Mqtt | Handler::Firmware => true,
            Handler::Builtin => Builtin::of(name).is_some_and(Builtin::acts),
            Handler::Nut => self.command.is_some() || self.variable.is_some(),
            Handler::Exec => false,
        };
        if acts && self.class == Class::Read {
            return Err("what changes something is not of class read".into());
        }
        let has_nut = config.nut.is_some();
        if self.confirm == Confirm::Boot && self.handler != Handler::Exec {
            return Err("confirm = \"boot\" is for the exec handler".into());
        }
        if (self.handler == Handler::Nut || !self.interlocks.is_empty()) && !has_nut {
            return Err("the UPS is not named; add [nut]".into());
        }
        for (arg, definition) in &self.args {
            if !is_word(arg) {
                return Err(format!("`{arg}` is no name of an argument"));
            }
            let checked = definition.check();
            checked.map_err(|why| format!("args.{arg}: {why}"))?;
        }
        if !(1..=86400).contains(&self.timeout_s) {
            return Err("timeout_s must be from 1 to 86400".into());
        }
        Ok(())
    }

    fn check_builtin(&self, name: &Operation, config: &Config) -> Result<(), String> {
        let Some(builtin) = Builtin::of(name) else {
            return Err("doorward has no built-in operation of this name".into());
        };
        if !self.args.is_empty() {
            return Err("a built-in operation has its own arguments".into());
        }
        if builtin.needs_settings() && config.settings.is_empty() {
            return Err("there is nothing to read or write; add [settings.NAME]".into());
        }
        if builtin == Builtin::Licence && config.licence.is_none() {
            return Err("nobody's licences are trusted; add [licence]".into());
        }
        self.has_only(&[])
    }

    fn check_exec(&self) -> Result<(), String> {
        let Some(program) = self.argv.first() else {
            return Err("the exec handler needs argv".into());
        };
        if !program.starts_with('/') {
            return Err("argv must begin with an absolute path".into());
        }
        for part in &self.argv {
            let required = |arg: &str| self.args.get(arg).is_some_and(|arg| !arg.optional);
            match placeholder(part) {
                Some(arg) if !required(arg) => {
                    return Err(format!("`{part}` in argv needs args.{arg}, not optional"));
                }
                None if part.contains(['{', '}']) => {
                    return Err(format!("in argv, `{part}`: a placeholder stands alone"));
                }
                _ => {}
            }
        }
        self.has_only(&["argv"])
    }

    fn check_nut(&self) -> Result<(), String> {
        let names = self.command.iter().chain(&self.variable).chain(&self.read);
        for name in names {
            if !is_word(name) {
                return Err(format!("`{name}` is no name of NUT"));
            }
            if name.split('.').take(2).eq(["outlet", "0"]) {
                return Err("outlet 0 is all outlets at once; name one".into());
            }
        }
        let (command, variable) = (&self.command, &self.variable);
        match (command, variable) {
            (Some(_), Some(_)) => return Err("either command or variable".into()),
            (None, None) if self.read.is_empty() => {
                return Err("the nut handler needs command, variable or read".into());
            }
            _ => {}
        }
        let value = self.args.get("value").is_some_and(|value| !value.optional);
        if variable.is_some() && !(value && self.args.len() == 1) {
            return Err("variable needs args.value, not optional, and no other".into());
        }
        if variable.is_none() && !self.args.is_empty() {
            return Err("only variable takes an argument".into());
        }
        self.has_only(&["command", "variable", "read"])
    }

    fn check_logind(&self) -> Result<(), String> {
        let Some(action) = self.action else {
            return Err("the logind handler needs action".into());
        };
        let takes_delay = action != PowerAction::Cancel;
        for (name, arg) in &self.args {
            if !takes_delay || name != "delay_s" {
                return Err(
                    "the logind handler takes no argument but delay_s, to begin later".into(),
                );
            }
            if arg.kind != ArgKind::Int || arg.min.is_none_or(|min| min < 0) || arg.max.is_none() {
                return Err(
                    "args.delay_s is of type int, with a min of 0 or more and a max".into(),
                );
            }
        }
        self.has_only(&["action"])
    }

    fn check_unit(&self) -> Result<(), String> {
        let Some(unit) = &self.unit else {
            return Err("the unit handler needs unit".into());
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
        let sound = (1..=255).contains(&unit.len()) && unit.chars().all(plain);
        let typed = unit.rsplit_once('.').is_some_and(|(name, kind)| {
            !name.is_empty() && ["service", "target", "timer", "mount", "socket"].contains(&kind)
        });
        if !sound || !typed {
            return Err(format!("`{unit}` is no unit with its type, like x.service"));
        }
        if !self.args.is_empty() {
            return Err("the unit handler takes no argument; use x@y.service".into());
        }
        self.has_only(&["unit", "job"])
    }

    fn check_mqtt(&self, has_bus: bool) -> Result<(), String> {
        let Some(topic) = &self.topic else {
            return Err("the mqtt handler needs topic".into());
        };
        let plain = |c: char| !c.is_control() && c != '+' && c != '#';
        if topic.is_empty() || topic.len() > 200 || !topic.chars().all(plain) {
            return Err("topic is 1 to 200 characters without + and #".into());
        }
        if topic.starts_with("doorward/") || topic.starts_with('$') {
            return Err(
                "topic is one of the machine's own bus, not of doorward or the broker".into(),
            );
        }
        if self.args.contains_key("status") {
            return Err("args.status would be taken for how far the command has come".into());
        }
        if !has_bus {
            return Err("the machine's own bus is not named; add [bus]".into());
        }
        self.has_only(&["topic"])
    }

    fn check_firmware(&self, name: &Operation, firmware: Option<&Firmware>) -> Result<(), String> {
        let Some(step) = FirmwareOperation::of(name) else {
            return Err("the firmware handler does firmware.stage, .install and .rollback".into());
        };
        let Some(firmware) = firmware else {
            return Err("there is no source and no updater; add [firmware]".into());
        };
        if step == FirmwareOperation::Rollback && firmware.updater != UpdaterKind::Rauc {
            return Err("only rauc can go back to the other slot".into());
        }
        if !self.args.is_empty() {
            return Err("the firmware handler has its own argument, version".into());
        }
        self.has_only(&[])
    }

    /// What belongs to other handlers must not be there.
    fn has_only(&self, fields: &[&str]) -> Result<(), String> {
        for (field, is_set) in [
            ("argv", !self.argv.is_empty()),
            ("command", self.command.is_some()),
            ("variable", self.variable.is_some()),
            ("read", !self.read.is_empty()),
            ("action", self.action.is_some()),
            ("unit", self.unit.is_some()),
            ("job", self.job.is_some()),
            ("topic", self.topic.is_some()),
        ] {
            if is_set && !fields.contains(&field) {
                return Err(format!("{field} is for another handler"));
            }
        }
        Ok(())
    }
}
