//! The nut handler: instant commands and variables of a UPS, by NUT's upsd. That the driver has
//! accepted a command is distinguished from what the UPS reports afterwards.

mod client;

use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::config::{Condition, Config, Definition, NO_UPS, Nut, is_word};
use crate::core::OperationResult;
use crate::operation::handler::{Execution, OperationHandler, allow_fields};
use crate::operation::nut::client::{Accepted, Upsd, UpsdError};
use doorward_protocol::gate::Code;
use doorward_protocol::wire::{Map, Operation, Text, Value, truncate};
use doorward_transport::TrustedTime;

/// Interval at which the UPS is polled for notifications.
const POLL: Duration = Duration::from_secs(5);
/// Timeout for reading a variable.
const TIMEOUT: Duration = Duration::from_secs(5);

const UNSUPPORTED_VALUE: &str = "NUT accepts numbers, and ASCII text without \", \\ and #";

/// A UPS and its upsd.
#[derive(Debug)]
pub(super) struct Ups {
    pub(super) nut: Nut,
    /// The time by which upsd's certificate is checked.
    pub(super) time: TrustedTime,
}

/// What is done with the UPS.
#[derive(Debug)]
enum Request {
    Read,
    /// An instant command.
    Command(String),
    /// Sets this variable to the argument `value`.
    Set(String),
}

/// A request to the UPS, and the variables that are read afterwards.
#[derive(Debug)]
pub(super) struct NutHandler {
    request: Request,
    read: Vec<String>,
}

impl OperationHandler for NutHandler {
    fn new(_name: &Operation, definition: &Definition, config: &Config) -> Result<Self, String> {
        let (command, variable) = (&definition.command, &definition.variable);
        for name in command.iter().chain(variable).chain(&definition.read) {
            if !is_word(name) {
                return Err(format!("`{name}` is not a valid name of NUT"));
            }
            if name.split('.').take(2).eq(["outlet", "0"]) {
                return Err("outlet 0 stands for all outlets; name a single one".into());
            }
        }
        let request = match (command, variable) {
            (Some(_), Some(_)) => return Err("set either command or variable, not both".into()),
            (None, None) if definition.read.is_empty() => {
                return Err("the nut handler needs command, variable or read".into());
            }
            (None, None) => Request::Read,
            (Some(command), None) => Request::Command(command.clone()),
            (None, Some(variable)) => Request::Set(variable.clone()),
        };
        let args = &definition.args;
        let has_value = args.get("value").is_some_and(|value| !value.optional);
        if variable.is_some() && !(has_value && args.len() == 1) {
            return Err("variable needs args.value, not optional, and no other argument".into());
        }
        if variable.is_none() && !args.is_empty() {
            return Err("only an operation with variable takes an argument".into());
        }
        allow_fields(definition, &["command", "variable", "read"])?;
        if config.nut.is_none() {
            return Err(NO_UPS.into());
        }
        Ok(Self {
            request,
            read: definition.read.clone(),
        })
    }

    fn acts(&self) -> bool {
        !matches!(self.request, Request::Read)
    }

    async fn run(&self, execution: Execution<'_>) -> OperationResult {
        match &execution.shared.ups {
            Some(ups) => self.run_on(ups, execution).await,
            None => OperationResult::failed(Code::Failed, "no UPS is configured"),
        }
    }
}

impl NutHandler {
    async fn run_on(&self, ups: &Ups, execution: Execution<'_>) -> OperationResult {
        let mut sent = false;
        let started = self.start(ups, execution.permit.args(), &mut sent);
        let (mut upsd, mut rows) = match timeout(execution.definition.timeout(), started).await {
            Ok(Ok(Started::Accepted(upsd, rows))) => (upsd, rows),
            Ok(Ok(Started::Ended(result))) => return result,
            // Whether the request arrived before the connection was lost is not known.
            Ok(Err(UpsdError::Lost(error))) if sent => {
                return OperationResult::failed(Code::Unknown, &UpsdError::Lost(error).to_string());
            }
            Ok(Err(error)) => return OperationResult::failed(Code::Failed, &error.to_string()),
            Err(_) if sent => {
                return OperationResult::failed(
                    Code::Unknown,
                    "upsd did not report the result within timeout_s",
                );
            }
            Err(_) => return OperationResult::failed(Code::Timeout, "upsd does not answer"),
        };
        for variable in &self.read {
            // An executed request is a success, even if a variable cannot be read afterwards.
            match timeout(TIMEOUT, upsd.value(variable)).await {
                Ok(Ok(value)) => rows.push((variable.clone(), Value::Text(shortened(value)))),
                Ok(Err(UpsdError::Refused(_))) if sent => {}
                Ok(Err(UpsdError::Lost(_))) | Err(_) if sent => break,
                Ok(Err(error)) => return OperationResult::failed(Code::Failed, &error.to_string()),
                Err(_) => return OperationResult::failed(Code::Timeout, "upsd does not answer"),
            }
        }
        let _ = timeout(TIMEOUT, upsd.leave()).await;
        OperationResult::done(Map::named(rows))
    }

    /// Sends the request, if there is one, and waits until the driver has accepted it. Sets `sent`
    /// when it may have arrived.
    async fn start(
        &self,
        ups: &Ups,
        args: &Map<Text, Value>,
        sent: &mut bool,
    ) -> Result<Started, UpsdError> {
        let mut upsd = Upsd::connect(ups).await?;
        let accepted = match &self.request {
            Request::Command(command) => {
                upsd.log_in(&ups.nut).await?;
                *sent = true;
                upsd.command(command).await?
            }
            Request::Set(variable) => {
                let Some(value) = args.get("value").and_then(plain) else {
                    return Ok(Started::Ended(OperationResult::failed(
                        Code::Param,
                        UNSUPPORTED_VALUE,
                    )));
                };
                upsd.log_in(&ups.nut).await?;
                *sent = true;
                upsd.set(variable, &value).await?
            }
            Request::Read => return Ok(Started::Accepted(upsd, Vec::new())),
        };
        let mut rows = Vec::new();
        if let Accepted::Tracked(id) = accepted {
            upsd.follow(&id).await?;
            rows.push(("tracking".to_owned(), Value::Text(id)));
        }
        rows.push(("accepted".to_owned(), Value::Bool(true)));
        Ok(Started::Accepted(upsd, rows))
    }
}

/// The state after the request.
enum Started {
    /// The driver has accepted it; the connection stays open.
    Accepted(Upsd, Vec<(String, Value)>),
    /// Nothing was sent.
    Ended(OperationResult),
}

impl Ups {
    /// Reads a variable.
    pub(super) async fn get(&self, variable: &str) -> Result<String, String> {
        let reply = async {
            let mut upsd = Upsd::connect(self).await?;
            let value = upsd.value(variable).await?;
            upsd.leave().await;
            Ok::<_, UpsdError>(value)
        };
        reply.await.map_err(|error| error.to_string())
    }

    /// Sets a variable and waits until the driver has accepted it.
    pub(super) async fn set(&self, variable: &str, value: &Value) -> Result<(), String> {
        let value = plain(value).ok_or(UNSUPPORTED_VALUE)?;
        let reply = async {
            let mut upsd = Upsd::connect(self).await?;
            upsd.log_in(&self.nut).await?;
            if let Accepted::Tracked(id) = upsd.set(variable, &value).await? {
                upsd.follow(&id).await?;
            }
            upsd.leave().await;
            Ok::<_, UpsdError>(())
        };
        reply.await.map_err(|error| error.to_string())
    }

    /// Logs in with the configured user name and password. upsd reports a wrong password with the
    /// first command only.
    pub(super) async fn log_in(&self) -> Result<(), String> {
        let reply = async {
            let mut upsd = Upsd::connect(self).await?;
            upsd.log_in(&self.nut).await?;
            upsd.leave().await;
            Ok::<_, UpsdError>(())
        };
        match timeout(TIMEOUT, reply).await {
            Ok(reply) => reply.map_err(|error| error.to_string()),
            Err(_) => Err("upsd does not answer".to_owned()),
        }
    }
}

/// Calls `notify` when `ups.status` has changed.
pub(super) async fn watch<T: Future>(ups: &Ups, notify: impl Fn(Map<Text, Value>) -> T) {
    let mut before = None;
    loop {
        let status = match timeout(TIMEOUT, ups.get("ups.status")).await {
            Ok(Ok(status)) => shortened(status),
            // That the status is not known is a change too.
            Ok(Err(_)) | Err(_) => "unknown".to_owned(),
        };
        let changed = before.as_ref().is_some_and(|before| *before != status);
        if changed {
            notify(Map::named([("ups.status", Value::Text(status.clone()))])).await;
        }
        before = Some(status);
        sleep(POLL).await;
    }
}

/// Returns the result of an operation that a condition of the UPS, or an unknown status, forbids.
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
    let why = match timeout(TIMEOUT, status).await {
        Ok(Ok(status)) => forbids(&status, interlocks)?,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "upsd does not answer".to_owned(),
    };
    Some(OperationResult::failed(Code::Interlock, &why))
}

/// Returns the reason why `ups.status` forbids an operation with these interlocks.
fn forbids(status: &str, interlocks: &[Condition]) -> Option<String> {
    let words: Vec<&str> = status.split_whitespace().collect();
    let is = |word: &str| words.contains(&word);
    let on_battery = interlocks.contains(&Condition::OnBattery);
    match interlocks.iter().find(|condition| is(condition.word())) {
        Some(condition) => Some(format!("ups.status has {}", condition.word())),
        // A status without OL is not treated as online.
        None if words.is_empty() || (on_battery && !is("OL")) => Some(format!(
            "ups.status is `{status}`, which does not confirm that the UPS is online"
        )),
        None => None,
    }
}

/// A value in NUT's spelling; `None` if it needs escaping. Escaped characters do not always reach a
/// driver unchanged: NUT 2.8.0 loses quotes and non-ASCII characters, and never answers for a
/// lone `#`.
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
    truncate(&mut text, 256);
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
            let forbidden = forbids(status, &interlocks);
            assert_eq!(forbidden.is_none(), begins, "{status:?} {interlocks:?}");
        }
    }
}
