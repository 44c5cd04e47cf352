//! Verification of a copy of an event log, also against a head that was kept elsewhere.

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
/// With the first record that is missing or changed, or if the log is not the one of `head`.
pub fn verify(directory: &Path, head: Option<LogHead>, json: bool) -> Result<(), CliError> {
    let found = read_log(directory)?;
    if let Some(damage) = &found.damage {
        return Err(CliError::new(exit_status::DATA, damage)
            .with_remedy("Keep a copy of the state directory as evidence."));
    }
    if let Some(head) = head {
        found
            .agrees_with(head)
            .map_err(|differs| disagreement(differs, head))?;
    }
    let count = found.records.len();
    let size = found.records.last().map_or(0, |record| record.seq + 1);
    let last = found.records.last();
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
        Differs::Other => format!("record {} is not the one of that head", size - 1),
        Differs::Gone => format!("record {} is no longer kept here", size - 1),
    };
    let remedy = match differs {
        Differs::Shorter | Differs::Other => {
            "Records were taken away or written anew. Keep a copy of it as evidence."
        }
        Differs::Gone => "Compare with a later head, or with where the older records are kept.",
    };
    CliError::new(exit_status::DATA, why).with_remedy(remedy)
}
