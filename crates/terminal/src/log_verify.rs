//! Verification of an event log or a copy of it, also against a head that was stored elsewhere.

use std::path::Path;
use std::str::FromStr;

use crate::{CliError, exit_status};
use doorward_protocol::wire::{Bytes, LogHead, hash};
use doorward_transport::event_log::{Differs, read_log};

/// The head of a log on the command line, as `SIZE:HASH`.
#[derive(Debug, Clone, Copy)]
pub struct LogHeadArg(
    /// The head.
    pub LogHead,
);

impl FromStr for LogHeadArg {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text.split_once(':').and_then(|(size, hash)| {
            let (size, hash) = (size.parse().ok()?, Bytes::from_hex(hash)?);
            Some(LogHead { size, hash })
        });
        parsed
            .map(Self)
            .ok_or("a head is a number of records, a colon and 64 hexadecimal digits")
    }
}

/// Reads the segments of a log and prints how many records they hold.
///
/// # Errors
/// With the first record that is missing or changed, or if the log does not match `head`.
pub fn verify(directory: &Path, head: Option<LogHead>, json: bool) -> Result<(), CliError> {
    let log = read_log(directory)?;
    if let Some(damage) = &log.damage {
        return Err(CliError::new(exit_status::DATA, damage)
            .with_remedy("Keep a copy of the state directory as evidence."));
    }
    if let Some(head) = head {
        log.agrees_with(head)
            .map_err(|differs| disagreement(differs, head))?;
    }
    let count = log.records.len();
    let size = log.records.last().map_or(0, |record| record.seq + 1);
    let last = log.records.last();
    let name = last.map_or_else(|| "none".to_owned(), |last| hash(&last.encode()).hex());
    if json {
        let out = serde_json::json!({"ok": true, "records": count, "size": size, "head": name});
        crate::outln!("{out}");
    } else {
        crate::outln!("{count} records, unbroken; head {size}:{name}");
    }
    Ok(())
}

fn disagreement(differs: Differs, head: LogHead) -> CliError {
    let LogHead { size, .. } = head;
    let why = match differs {
        Differs::Shorter => format!("the log is shorter than the {size} records of that head"),
        Differs::Other => format!("record {} does not match that head", size - 1),
        Differs::Gone => format!("record {} was deleted here already", size - 1),
    };
    let remedy = match differs {
        Differs::Shorter | Differs::Other => {
            "Records were removed or rewritten. Keep a copy of the log as evidence."
        }
        Differs::Gone => {
            "Compare with a later head, or with a collected copy of the older records."
        }
    };
    CliError::new(exit_status::DATA, why).with_remedy(remedy)
}
