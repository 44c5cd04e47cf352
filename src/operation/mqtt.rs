//! The mqtt handler: commands on the machine's own MQTT bus, in the format of thin-edge.io. `init`
//! is published, retained, on a topic of its own; the service answers on the same topic with
//! `executing`, then `successful` or `failed`; the requester clears the topic.

use std::time::Duration;

use serde_json::{Map as Json, Value as JsonValue, json};
use tokio::time::timeout;

use crate::config::{Config, Definition, LinkSection};
use crate::core::OperationResult;
use crate::operation::OperationContext;
use crate::operation::handler::{
    Execution, OperationHandler, Resumption, allow_fields, interrupted,
};
use doorward_protocol::gate::{Code, Permit};
use doorward_protocol::wire::{Hash, Map, Operation, Text, Value};
use doorward_transport::{MqttClient, MqttError};

/// Largest answer that is parsed, in bytes.
const MAX_ANSWER: usize = 4096;
/// Fields of an answer that are passed on.
const MAX_FIELDS: usize = 16;
/// Longest text of a field, in characters.
const MAX_TEXT: usize = 200;

/// A command on the machine's own bus.
#[derive(Debug)]
pub(super) struct MqttHandler {
    bus: LinkSection,
    topic: String,
}

impl OperationHandler for MqttHandler {
    fn new(_name: &Operation, definition: &Definition, config: &Config) -> Result<Self, String> {
        let Some(topic) = &definition.topic else {
            return Err("the mqtt handler needs topic".into());
        };
        let is_allowed = |c: char| !c.is_control() && c != '+' && c != '#';
        if topic.is_empty() || topic.len() > 200 || !topic.chars().all(is_allowed) {
            return Err("topic must be 1 to 200 characters without + and #".into());
        }
        if topic.starts_with("doorward/") || topic.starts_with('$') {
            return Err(
                "topic must be one of the machine's own bus, not of doorward or the broker".into(),
            );
        }
        if definition.args.contains_key("status") {
            return Err("args.status would collide with the field `status` of the command".into());
        }
        let Some(bus) = &config.bus else {
            return Err("the machine's own bus is not configured; add [bus]".into());
        };
        allow_fields(definition, &["topic"])?;
        Ok(Self {
            bus: bus.clone(),
            topic: topic.clone(),
        })
    }

    fn acts(&self) -> bool {
        true
    }

    fn resumable(&self) -> bool {
        true
    }

    /// Publishes the command and waits for its answer.
    async fn run(&self, execution: Execution<'_>) -> OperationResult {
        let Execution {
            permit, context, ..
        } = execution;
        let topic = self.command_topic(&context.command());
        let mut published = false;
        let result = async {
            let mut client = open(&self.bus, &topic).await?;
            if let Err(result) = context.reauthorize().await {
                return Ok(result);
            }
            published = true;
            client.publish(topic.clone(), init(permit), true).await?;
            answer(&mut client, &topic, Some(context)).await
        };
        let result = match timeout(execution.definition.timeout(), result).await {
            Ok(Ok(result)) => result,
            Ok(Err(error)) if published => {
                OperationResult::failed(Code::Unknown, &error.to_string())
            }
            Ok(Err(error)) => OperationResult::failed(Code::Failed, &error.to_string()),
            Err(_) => OperationResult::failed(
                Code::Timeout,
                "the service on the bus did not finish within timeout_s",
            ),
        };
        if published {
            clear(&self.bus, &topic).await;
        }
        result
    }

    /// Waits for the answer, which is retained if it arrived while the daemon was stopped.
    async fn resume(&self, resumption: Resumption<'_>) -> OperationResult {
        let topic = self.command_topic(&resumption.intent.asked.command);
        let result = async {
            let mut client = open(&self.bus, &topic).await?;
            answer(&mut client, &topic, None).await
        };
        let result = match timeout(resumption.definition.timeout(), result).await {
            Ok(Ok(result)) => result,
            Ok(Err(error)) => OperationResult::failed(Code::Unknown, &error.to_string()),
            Err(_) => interrupted(),
        };
        clear(&self.bus, &topic).await;
        result
    }
}

impl MqttHandler {
    fn command_topic(&self, command: &Hash) -> String {
        let id: String = command.hex().chars().take(16).collect();
        format!("{}/doorward-{id}", self.topic)
    }
}

async fn open(bus: &LinkSection, topic: &str) -> Result<MqttClient, MqttError> {
    let client = MqttClient::connect(&bus.broker()).await?;
    client.subscribe(vec![topic.to_owned()]).await?;
    Ok(client)
}

async fn clear(bus: &LinkSection, topic: &str) {
    let cleared = async {
        let client = MqttClient::connect(&bus.broker()).await?;
        client.publish(topic.to_owned(), Vec::new(), true).await
    };
    if let Err(error) = cleared.await {
        tracing::warn!(%topic, %error, "cannot clear the command on the bus");
    }
}

/// The command in the format of the bus: a JSON object with the arguments as fields.
fn init(permit: &Permit) -> Vec<u8> {
    let mut fields = Json::new();
    fields.insert("status".to_owned(), json!("init"));
    for (name, value) in permit.args().iter() {
        fields.insert(name.to_string(), json!(value));
    }
    JsonValue::Object(fields).to_string().into_bytes()
}

/// Waits for the result, and reports progress on the way.
async fn answer(
    client: &mut MqttClient,
    topic: &str,
    context: Option<&OperationContext>,
) -> Result<OperationResult, MqttError> {
    loop {
        let Some((published_on, payload)) = client.next(Duration::from_secs(3600)).await? else {
            continue;
        };
        if published_on != topic || payload.len() > MAX_ANSWER {
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
                let reason = reason.unwrap_or("the service on the bus gave no reason");
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
            JsonValue::String(text) => Value::Text(text.chars().take(MAX_TEXT).collect()),
            JsonValue::Bool(flag) => Value::Bool(flag),
            JsonValue::Number(number) => Value::Int(number.as_i64()?),
            _ => return None,
        };
        Some((name, value))
    });
    Map::named(rows.take(MAX_FIELDS))
}
