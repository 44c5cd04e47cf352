//! What a UPS is asked by NUT: instant commands, variables. That upsd's driver has taken a
//! command is told apart from what the UPS shows afterwards.

use std::time::Duration;

use tokio::time::timeout;

use super::upsd::{Taken, Upsd, UpsdError};
use crate::agent::Ended;
use crate::config::{Condition, Definition, Nut};
use crate::gate::Code;
use crate::wire::{Map, Text, Value};

/// How long upsd may take to tell the conditions of the UPS.
const PATIENCE: Duration = Duration::from_secs(5);

/// Carries out what a definition names, with the arguments of a command.
pub(super) async fn run(nut: &Nut, definition: &Definition, args: &Map<Text, Value>) -> Ended {
    let mut told = false;
    let work = converse(nut, definition, args, &mut told);
    match timeout(definition.timeout(), work).await {
        Ok(Ok(ended)) => ended,
        // Whether it arrived before the connection was lost is not known to anybody.
        Ok(Err(UpsdError::Lost(error))) if told => {
            Ended::failed(Code::Unknown, &UpsdError::Lost(error).to_string())
        }
        Ok(Err(error)) => Ended::failed(Code::Failed, &error.to_string()),
        Err(_) if told => Ended::failed(Code::Unknown, "upsd has not said what became of it"),
        Err(_) => Ended::failed(Code::Timeout, "upsd does not answer"),
    }
}

/// `told` is set when upsd has been told to do something.
async fn converse(
    nut: &Nut,
    definition: &Definition,
    args: &Map<Text, Value>,
    told: &mut bool,
) -> Result<Ended, UpsdError> {
    let mut upsd = Upsd::connect(nut).await?;
    let mut rows = Vec::new();
    if definition.command.is_some() || definition.variable.is_some() {
        upsd.log_in(nut).await?;
        let taken = match (&definition.command, &definition.variable) {
            (Some(command), _) => {
                *told = true;
                upsd.command(command).await
            }
            (None, Some(variable)) => {
                let Some(value) = args.get("value").and_then(plain) else {
                    let why = "NUT takes numbers, and text of ASCII without \", \\ and #";
                    return Ok(Ended::failed(Code::Param, why));
                };
                *told = true;
                upsd.set(variable, &value).await
            }
            (None, None) => Ok(Taken::Untracked),
        };
        if let Taken::Tracked(id) = taken? {
            upsd.follow(&id).await?;
            rows.push(("tracking".to_owned(), Value::Text(id)));
        }
        rows.push(("accepted".to_owned(), Value::Bool(true)));
    }
    for variable in &definition.read {
        // What was done is done, even if the UPS does not show this.
        match upsd.value(variable).await {
            Ok(value) => rows.push((variable.clone(), Value::Text(shortened(value)))),
            Err(UpsdError::Refused(_)) if !rows.is_empty() => {}
            Err(UpsdError::Lost(_)) if *told => break,
            Err(error) => return Err(error),
        }
    }
    upsd.leave().await;
    Ok(Ended::done(Map::new(rows.into_iter().filter_map(
        |(name, value)| Some((Text::new(&name).ok()?, value)),
    ))))
}

/// What forbids an operation now: a condition of the UPS, or that it is not known.
pub(super) async fn forbidden(nut: &Nut, interlocks: &[Condition]) -> Option<Ended> {
    let status = async {
        let mut upsd = Upsd::connect(nut).await?;
        let status = upsd.value("ups.status").await?;
        upsd.leave().await;
        Ok::<_, UpsdError>(status)
    };
    let why = match timeout(PATIENCE, status).await {
        Ok(Ok(status)) => {
            let mut words = status.split_whitespace();
            let word = words.find(|word| interlocks.iter().any(|it| it.word() == *word))?;
            format!("ups.status has {word}")
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "upsd does not answer".to_owned(),
    };
    Some(Ended::failed(Code::Interlock, &why))
}

/// A value as NUT writes it. What its parser has to escape does not always reach a driver as it
/// was (2.8.0 lost quotes and all that is not ASCII, and never said what became of a lone #), so
/// there is none of it.
fn plain(value: &Value) -> Option<String> {
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
