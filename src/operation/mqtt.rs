//! Commands of the machine's own MQTT bus, as thin-edge.io has them: `init` is published, retained,
//! on a topic of its own; the service there answers on the same topic with `executing`, then
//! `successful` or `failed`; whoever asked clears it.

use std::time::Duration;

use serde_json::{Map as Json, Value as JsonValue, json};
use tokio::time::timeout;

use crate::config::{Definition, LinkSection};
use crate::core::OperationResult;
use crate::operation::OperationContext;
use doorward_protocol::gate::{Code, Permit};
use doorward_protocol::wire::{Hash, Map, Text, Value};
use doorward_transport::{MqttClient, MqttError};

/// Largest answer that is looked at, in bytes.
const ANSWER: usize = 4096;
/// Most fields of an answer that are handed on, and their longest text.
const FIELDS: usize = 16;
const TEXT: usize = 200;

/// Publishes the command and stays until it is answered, or its time is over.
pub(super) async fn run(
    bus: &LinkSection,
    definition: &Definition,
    permit: &Permit,
    context: &OperationContext,
) -> OperationResult {
    let topic = topic(definition, &context.command());
    let mut told = false;
    let done = async {
        let mut caller = open(bus, &topic).await?;
        if let Err(ended) = context.reauthorize().await {
            return Ok(ended);
        }
        told = true;
        caller.publish(topic.clone(), init(permit), true).await?;
        answered(&mut caller, &topic, Some(context)).await
    };
    let ended = match timeout(definition.timeout(), done).await {
        Ok(Ok(ended)) => ended,
        Ok(Err(error)) if told => OperationResult::failed(Code::Unknown, &error.to_string()),
        Ok(Err(error)) => OperationResult::failed(Code::Failed, &error.to_string()),
        Err(_) => OperationResult::failed(
            Code::Timeout,
            "the service on the bus has not come to an end",
        ),
    };
    if told {
        clear(bus, &topic).await;
    }
    ended
}

/// After a stop: the answer may have come meanwhile, and is retained.
pub(super) async fn resume(
    bus: &LinkSection,
    definition: &Definition,
    command: &Hash,
) -> OperationResult {
    let topic = topic(definition, command);
    let done = async {
        let mut caller = open(bus, &topic).await?;
        answered(&mut caller, &topic, None).await
    };
    let ended = match timeout(definition.timeout(), done).await {
        Ok(Ok(ended)) => ended,
        Ok(Err(error)) => OperationResult::failed(Code::Unknown, &error.to_string()),
        Err(_) => OperationResult::failed(Code::Unknown, "the device stopped while it ran"),
    };
    clear(bus, &topic).await;
    ended
}

fn topic(definition: &Definition, command: &Hash) -> String {
    let base = definition.topic.as_deref().unwrap_or_default();
    let id: String = command.hex().chars().take(16).collect();
    format!("{base}/doorward-{id}")
}

async fn open(bus: &LinkSection, topic: &str) -> Result<MqttClient, MqttError> {
    let caller = MqttClient::connect(&bus.broker()).await?;
    caller.subscribe(vec![topic.to_owned()]).await?;
    Ok(caller)
}

async fn clear(bus: &LinkSection, topic: &str) {
    let cleared = async {
        let caller = MqttClient::connect(&bus.broker()).await?;
        caller.publish(topic.to_owned(), Vec::new(), true).await
    };
    if let Err(error) = cleared.await {
        tracing::warn!(%topic, %error, "a command on the bus could not be cleared");
    }
}

/// The command as the bus knows it: its arguments are fields, whatever is in them.
fn init(permit: &Permit) -> Vec<u8> {
    let mut fields = Json::new();
    fields.insert("status".to_owned(), json!("init"));
    for (name, value) in permit.args().iter() {
        fields.insert(name.to_string(), json!(value));
    }
    JsonValue::Object(fields).to_string().into_bytes()
}

/// Waits for the end.
async fn answered(
    caller: &mut MqttClient,
    topic: &str,
    context: Option<&OperationContext>,
) -> Result<OperationResult, MqttError> {
    loop {
        let Some((on, payload)) = caller.next(Duration::from_secs(3600)).await? else {
            continue;
        };
        if on != topic || payload.len() > ANSWER {
            continue;
        }
        let Ok(JsonValue::Object(mut fields)) = serde_json::from_slice(&payload) else {
            continue;
        };
        let status = fields.remove("status");
        match status.as_ref().and_then(JsonValue::as_str) {
            Some("successful") => return Ok(OperationResult::done(rows(fields))),
            Some("failed") => {
                let reason = fields.get("reason").and_then(JsonValue::as_str);
                let reason = reason.unwrap_or("the service on the bus says no more than that");
                return Ok(OperationResult::failed(Code::Failed, reason));
            }
            Some("init") | None => {}
            Some(other) => {
                fields.insert("status".to_owned(), json!(other));
                if let Some(context) = context {
                    context.report_progress(rows(fields)).await;
                }
            }
        }
    }
}

fn rows(fields: Json<String, JsonValue>) -> Map<Text, Value> {
    let rows = fields.into_iter().filter_map(|(name, value)| {
        let value = match value {
            JsonValue::String(text) => Value::Text(text.chars().take(TEXT).collect()),
            JsonValue::Bool(flag) => Value::Bool(flag),
            JsonValue::Number(number) => Value::Int(number.as_i64()?),
            _ => return None,
        };
        Some((name, value))
    });
    Map::named(rows.take(FIELDS))
}
