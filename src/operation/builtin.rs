//! The operations that doorward carries out itself, and the arguments that they take.

use std::collections::BTreeMap;

use crate::config::Config;
use doorward_protocol::gate::Argument;
use doorward_protocol::wire::{ArgLimit, Operation, Text, Value};

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Builtin {
    /// What the device says of itself.
    Status,
    /// The event log, a page at a time.
    History,
    /// Settings, as they are.
    ConfigRead,
    /// A setting, changed.
    ConfigWrite,
    /// All that helps to find a fault, in one file.
    Diagnostics,
    /// Tables for people.
    Report,
    /// A licence of the machine's maker.
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

    /// The one of this name.
    #[must_use]
    pub fn of(name: &Operation) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find_map(|(known, builtin)| (known == name.as_str()).then_some(builtin))
    }

    /// Whether it is about the settings of the configuration.
    #[must_use]
    pub fn needs_settings(self) -> bool {
        matches!(self, Self::ConfigRead | Self::ConfigWrite)
    }

    /// Whether it changes something, so that a stop in the middle matters.
    #[must_use]
    pub fn acts(self) -> bool {
        matches!(self, Self::ConfigWrite | Self::Licence)
    }

    /// What it takes.
    #[must_use]
    pub fn args(self, config: &Config) -> BTreeMap<Text, Argument> {
        let names = || one_of(config.settings.keys().map(String::as_str));
        let number = || ArgLimit {
            min: Some(0),
            ..ArgLimit::default()
        };
        // How to go on with a result that is larger than one answer.
        let on = [
            ("of", false, ArgLimit::default()),
            ("from", false, number()),
        ];
        match self {
            Self::Status => args([]),
            Self::History => args([("from", false, ArgLimit::default())]),
            Self::ConfigRead => args([("key", false, names())]),
            Self::ConfigWrite => {
                let value = ArgLimit::default();
                args([("key", true, names()), ("value", true, value)])
            }
            Self::Licence => args([("licence", true, ArgLimit::default())]),
            Self::Diagnostics => args(on),
            Self::Report => {
                let kinds = one_of(crate::operation::report::KINDS.into_iter());
                args([("kind", true, kinds)].into_iter().chain(on))
            }
        }
    }
}

fn one_of<'a>(names: impl Iterator<Item = &'a str>) -> ArgLimit {
    ArgLimit {
        one_of: Some(names.map(Value::from).collect()),
        ..ArgLimit::default()
    }
}

/// Arguments by name: whether they are required, and what they may be.
pub(super) fn args<'a>(
    list: impl IntoIterator<Item = (&'a str, bool, ArgLimit)>,
) -> BTreeMap<Text, Argument> {
    let list = list.into_iter().filter_map(|(name, required, limit)| {
        let argument = Argument { required, limit };
        Some((Text::new(name).ok()?, argument))
    });
    list.collect()
}
