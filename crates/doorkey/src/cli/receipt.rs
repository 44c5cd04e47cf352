//! Output of a receipt, as text or JSON.

use doorward_client::{CommandRequest, SendParams, Sent, code_of};
use doorward_protocol::gate::Code;
use doorward_protocol::wire::{Outcome, Receipt, Timestamp};
use doorward_terminal::{exit_status, outln, style};
use serde_json::json;

/// Exit status for a receipt.
pub(crate) fn exit_of(receipt: Option<&Receipt>) -> u8 {
    match receipt.map(|receipt| receipt.body.outcome) {
        Some(Outcome::Done | Outcome::Executing | Outcome::Allowed) => 0,
        Some(Outcome::Denied) => exit_status::DENIED,
        Some(Outcome::Failed) => exit_status::FAILED,
        Some(Outcome::Unknown | Outcome::Accepted) => exit_status::UNKNOWN,
        None => exit_status::UNAVAILABLE,
    }
}

const SILENCE: &str = "No answer. A device answers only keys that it knows: it may not know \
                       yours, may be off, or may not be connected to this broker.";

/// Prints the receipt, or that there was no answer.
pub(crate) fn print(params: &SendParams<'_>, sent: &Sent, json: bool) {
    if json {
        return doorward_terminal::print_json(&to_json(params.command, sent));
    }
    let what = format!("{} on {}", params.command.operation, params.command.device);
    let Some(receipt) = &sent.receipt else {
        outln!("{:<9} {what}", style::red("no answer"));
        outln!("          {SILENCE}");
        return;
    };
    let body = &receipt.body;
    let outcome = format!("{:<9}", body.outcome.name());
    let outcome = match body.outcome {
        Outcome::Done | Outcome::Executing | Outcome::Allowed => style::green(&outcome),
        Outcome::Denied | Outcome::Failed | Outcome::Unknown | Outcome::Accepted => {
            style::red(&outcome)
        }
    };
    outln!("{outcome} {what}");
    if let Some(name) = &body.code {
        outln!("code      {name}");
    }
    if let Some(code) = code_of(receipt) {
        outln!("          {}", code.sentence());
        if !code.remedy().is_empty() {
            outln!("          {}", code.remedy());
        }
    }
    if let Some(detail) = &body.detail {
        outln!("detail    {detail}");
    }
    for (name, value) in body.result.iter() {
        outln!("result    {name} = {value}");
    }
    outln!(
        "receipt   verified: signed by {} at {}, record {} of its log",
        receipt.iss,
        receipt.iat,
        body.log.size
    );
}

fn to_json(command: &CommandRequest, sent: &Sent) -> serde_json::Value {
    let receipt = sent.receipt.as_ref();
    let code = receipt.and_then(code_of);
    let body = receipt.map(|receipt| &receipt.body);
    let result: Option<serde_json::Map<_, _>> = body.map(|body| {
        let rows = body.result.iter();
        rows.map(|(name, value)| (name.to_string(), json!(value)))
            .collect()
    });
    json!({
        "device": command.device.as_str(),
        "operation": command.operation.as_str(),
        "outcome": body.map_or("silence", |body| body.outcome.name()),
        "code": body.and_then(|body| body.code.as_ref()).map(ToString::to_string),
        "sentence": code.map_or_else(|| body.is_none().then_some(SILENCE), |code| Some(code.sentence())),
        "remedy": code.map(Code::remedy).filter(|remedy| !remedy.is_empty()),
        "detail": body.and_then(|body| body.detail.as_ref()).map(ToString::to_string),
        "result": result,
        "at": receipt.map(|receipt| Timestamp::to_string(&receipt.iat)),
        "command": body.map(|body| body.command.hex()),
        "log_size": body.map(|body| body.log.size),
        "log_head": body.map(|body| body.log.hash.hex()),
        "took_ms": u64::try_from(sent.took.as_millis()).unwrap_or(u64::MAX),
    })
}
