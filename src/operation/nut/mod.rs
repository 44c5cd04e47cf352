//! What a UPS is asked by NUT: instant commands, variables. That upsd's driver has taken a
//! command is told apart from what the UPS shows afterwards.

mod client;

use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::config::{Condition, Definition, Nut};
use crate::core::OperationResult;
use crate::operation::nut::client::{Accepted, Upsd, UpsdError};
use doorward_protocol::gate::Code;
use doorward_protocol::wire::{Map, Text, Value};
use doorward_transport::TrustedTime;

/// How often the UPS is looked at while somebody wants to be told.
const WATCH: Duration = Duration::from_secs(5);
/// How long upsd may take to tell what the UPS shows.
const PATIENCE: Duration = Duration::from_secs(5);

const NOT_PLAIN: &str = "NUT takes numbers, and text of ASCII without \", \\ and #";

/// The UPS, and how upsd is asked for it.
#[derive(Debug)]
pub(super) struct Ups {
    pub(super) nut: Nut,
    /// By which upsd's certificate is judged.
    pub(super) time: TrustedTime,
}

/// Carries out what a definition names, with the arguments of a command.
pub(super) async fn run(
    ups: &Ups,
    definition: &Definition,
    args: &Map<Text, Value>,
) -> OperationResult {
    let mut told = false;
    let begun = begin(ups, definition, args, &mut told);
    let (mut upsd, mut rows) = match timeout(definition.timeout(), begun).await {
        Ok(Ok(Begun::Taken(upsd, rows))) => (upsd, rows),
        Ok(Ok(Begun::Ended(ended))) => return ended,
        // Whether it arrived before the connection was lost is not known to anybody.
        Ok(Err(UpsdError::Lost(error))) if told => {
            return OperationResult::failed(Code::Unknown, &UpsdError::Lost(error).to_string());
        }
        Ok(Err(error)) => return OperationResult::failed(Code::Failed, &error.to_string()),
        Err(_) if told => {
            return OperationResult::failed(Code::Unknown, "upsd has not said what became of it");
        }
        Err(_) => return OperationResult::failed(Code::Timeout, "upsd does not answer"),
    };
    for variable in &definition.read {
        // What was done is done, even if the UPS does not show this any more.
        match timeout(PATIENCE, upsd.value(variable)).await {
            Ok(Ok(value)) => rows.push((variable.clone(), Value::Text(shortened(value)))),
            Ok(Err(UpsdError::Refused(_))) if told => {}
            Ok(Err(UpsdError::Lost(_))) | Err(_) if told => break,
            Ok(Err(error)) => return OperationResult::failed(Code::Failed, &error.to_string()),
            Err(_) => return OperationResult::failed(Code::Timeout, "upsd does not answer"),
        }
    }
    let _ = timeout(PATIENCE, upsd.leave()).await;
    OperationResult::done(Map::named(rows))
}

/// How far it came.
enum Begun {
    /// The driver has taken it; the conversation goes on.
    Taken(Upsd, Vec<(String, Value)>),
    /// Nothing was begun.
    Ended(OperationResult),
}

/// Tells upsd what is to be done, if anything, and waits until the driver has taken it. `told`
/// is set when it may have arrived.
async fn begin(
    ups: &Ups,
    definition: &Definition,
    args: &Map<Text, Value>,
    told: &mut bool,
) -> Result<Begun, UpsdError> {
    let mut upsd = Upsd::connect(ups).await?;
    let taken = match (&definition.command, &definition.variable) {
        (Some(command), _) => {
            upsd.log_in(&ups.nut).await?;
            *told = true;
            upsd.command(command).await?
        }
        (None, Some(variable)) => {
            let Some(value) = args.get("value").and_then(plain) else {
                return Ok(Begun::Ended(OperationResult::failed(
                    Code::Param,
                    NOT_PLAIN,
                )));
            };
            upsd.log_in(&ups.nut).await?;
            *told = true;
            upsd.set(variable, &value).await?
        }
        (None, None) => return Ok(Begun::Taken(upsd, Vec::new())),
    };
    let mut rows = Vec::new();
    if let Accepted::Tracked(id) = taken {
        upsd.follow(&id).await?;
        rows.push(("tracking".to_owned(), Value::Text(id)));
    }
    rows.push(("accepted".to_owned(), Value::Bool(true)));
    Ok(Begun::Taken(upsd, rows))
}

impl Ups {
    /// The value of a variable.
    pub(super) async fn get(&self, variable: &str) -> Result<String, String> {
        let asked = async {
            let mut upsd = Upsd::connect(self).await?;
            let value = upsd.value(variable).await?;
            upsd.leave().await;
            Ok::<_, UpsdError>(value)
        };
        asked.await.map_err(|error| error.to_string())
    }

    /// Writes a variable, and waits until the driver has taken it.
    pub(super) async fn set(&self, variable: &str, value: &Value) -> Result<(), String> {
        let value = plain(value).ok_or(NOT_PLAIN)?;
        let asked = async {
            let mut upsd = Upsd::connect(self).await?;
            upsd.log_in(&self.nut).await?;
            if let Accepted::Tracked(id) = upsd.set(variable, &value).await? {
                upsd.follow(&id).await?;
            }
            upsd.leave().await;
            Ok::<_, UpsdError>(())
        };
        asked.await.map_err(|error| error.to_string())
    }

    /// Whether upsd takes our name and password. A wrong password is told with a command only.
    pub(super) async fn log_in(&self) -> Result<(), String> {
        let asked = async {
            let mut upsd = Upsd::connect(self).await?;
            upsd.log_in(&self.nut).await?;
            upsd.leave().await;
            Ok::<_, UpsdError>(())
        };
        match timeout(PATIENCE, asked).await {
            Ok(asked) => asked.map_err(|error| error.to_string()),
            Err(_) => Err("upsd does not answer".to_owned()),
        }
    }
}

/// Tells what `ups.status` is whenever it is another than before.
pub(super) async fn watch<T: Future>(ups: &Ups, tell: impl Fn(Map<Text, Value>) -> T) {
    let mut before = None;
    loop {
        let status = match timeout(PATIENCE, ups.get("ups.status")).await {
            Ok(Ok(status)) => shortened(status),
            // Not to know is news too.
            Ok(Err(_)) | Err(_) => "unknown".to_owned(),
        };
        let changed = before.as_ref().is_some_and(|before| *before != status);
        if changed {
            tell(Map::named([("ups.status", Value::Text(status.clone()))])).await;
        }
        before = Some(status);
        sleep(WATCH).await;
    }
}

/// What forbids an operation now: a condition of the UPS, or that it is not known.
pub(super) async fn blocking_interlock(
    ups: &Ups,
    interlocks: &[Condition],
) -> Option<OperationResult> {
    let status = async {
        let mut upsd = Upsd::connect(ups).await?;
        let status = upsd.value("ups.status").await?;
        upsd.leave().await;
        Ok::<_, UpsdError>(status)
    };
    let why = match timeout(PATIENCE, status).await {
        Ok(Ok(status)) => rules_out(&status, interlocks)?,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "upsd does not answer".to_owned(),
    };
    Some(OperationResult::failed(Code::Interlock, &why))
}

/// Why an operation is not begun with this `ups.status`, if it is not.
fn rules_out(status: &str, interlocks: &[Condition]) -> Option<String> {
    let words: Vec<&str> = status.split_whitespace().collect();
    let is = |word: &str| words.contains(&word);
    let on_battery = interlocks.contains(&Condition::OnBattery);
    match interlocks.iter().find(|condition| is(condition.word())) {
        Some(condition) => Some(format!("ups.status has {}", condition.word())),
        // Not to say that it is on line is not to be.
        None if words.is_empty() || (on_battery && !is("OL")) => Some(format!(
            "ups.status is `{status}`, which does not say that it may"
        )),
        None => None,
    }
}

/// A value as NUT writes it. What its parser has to escape does not always reach a driver as it
/// was (2.8.0 lost quotes and all that is not ASCII, and never said what became of a lone #), so
/// there is none of it.
pub(super) fn plain(value: &Value) -> Option<String> {
    match value {
        Value::Int(number) => Some(number.to_string()),
        Value::Text(text) => {
            let plain = |c: char| matches!(c, ' '..='~') && !matches!(c, '"' | '\\' | '#');
            text.chars().all(plain).then(|| text.clone())
        }
        Value::Bool(true) => Some("yes".to_owned()),
        Value::Bool(false) => Some("no".to_owned()),
        Value::Bytes(_) => None,
    }
}

fn shortened(mut text: String) -> String {
    while text.len() > 256 {
        text.pop();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_that_does_not_say_so_lets_nothing_begin() {
        use Condition::{Calibrating, LowBattery, OnBattery};
        for (status, interlocks, begins) in [
            ("OL CHRG", vec![OnBattery, LowBattery], true),
            ("OL CAL", vec![Calibrating], false),
            ("OL CAL", vec![OnBattery], true),
            ("OB DISCHRG", vec![OnBattery], false),
            ("OB LB", vec![LowBattery], false),
            ("OB", vec![LowBattery], true),
            ("ALARM", vec![OnBattery], false),
            ("BYPASS", vec![OnBattery], false),
            ("", vec![LowBattery], false),
        ] {
            let forbidden = rules_out(status, &interlocks);
            assert_eq!(forbidden.is_none(), begins, "{status:?} {interlocks:?}");
        }
    }
}
