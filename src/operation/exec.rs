//! Runs a configured program: a fixed argv, no shell, an empty environment, bounded output.

use std::process::Stdio;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use crate::config::{Confirm, Definition, placeholder};
use crate::core::OperationResult;
use doorward_protocol::gate::Code;
use doorward_protocol::wire::{Map, Text, Value};

/// How much of a program's output is kept, in bytes.
const OUTPUT: u64 = 1024;

/// Runs the program to its end, or until its time is over.
pub(super) async fn run(definition: &Definition, args: &Map<Text, Value>) -> OperationResult {
    let finished = async {
        let ended = exit(definition, args).await;
        // A program that asked for a boot has only been heard. The proof is the boot, and if
        // it comes, nobody is here any more to see this end.
        if definition.confirm == Confirm::Boot && ended.code.is_none() {
            std::future::pending::<()>().await;
        }
        ended
    };
    match timeout(definition.timeout(), finished).await {
        Ok(ended) => ended,
        Err(_) if definition.confirm == Confirm::Boot => {
            OperationResult::failed(Code::Timeout, "the machine has not booted in the time set")
        }
        Err(_) => OperationResult::failed(
            Code::Timeout,
            "the program was stopped when its time was over",
        ),
    }
}

async fn exit(definition: &Definition, args: &Map<Text, Value>) -> OperationResult {
    let Some(argv) = filled(&definition.argv, args) else {
        return OperationResult::failed(Code::Param, "an argument is missing");
    };
    match output(&argv, OUTPUT).await.and_then(Output::printed) {
        Ok(out) if out.is_empty() => OperationResult::done(Map::default()),
        Ok(out) => OperationResult::done(Map::named([("output", Value::Text(out))])),
        Err(why) => OperationResult::failed(Code::Failed, &why),
    }
}

/// What a program has left.
pub(super) struct Output {
    /// Whether it says that it went well.
    pub(super) ok: bool,
    /// How it ended.
    pub(super) status: String,
    /// The beginning of what it printed.
    pub(super) out: String,
    /// The beginning of what it complained of.
    pub(super) err: String,
}

impl Output {
    /// What it printed, if it says that it went well; otherwise how it ended, and its complaint.
    pub(super) fn printed(self) -> Result<String, String> {
        match self.ok {
            true => Ok(self.out),
            false => Err(format!("{}: {}", self.status, self.err)),
        }
    }
}

/// Runs a program to its end, with an empty environment; it ends when nobody waits any more.
/// `most` bytes of what it prints are kept.
#[expect(
    clippy::disallowed_methods,
    reason = "this is operation/, behind a permit"
)]
pub(super) async fn output(argv: &[String], most: u64) -> Result<Output, String> {
    let Some((program, args)) = argv.split_first() else {
        return Err("no program is configured".to_owned());
    };
    let failed = |error: std::io::Error| format!("{program}: {error}");
    let mut child = tokio::process::Command::new(program)
        .args(args)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let (status, out, err) = tokio::join!(child.wait(), bounded(out, most), bounded(err, OUTPUT));
    let status = status.map_err(failed)?;
    Ok(Output {
        ok: status.success(),
        status: status.to_string(),
        out,
        err,
    })
}

/// The program and its arguments, with the values of the command in their places. A value is
/// always one whole argument.
pub(super) fn filled(argv: &[String], args: &Map<Text, Value>) -> Option<Vec<String>> {
    argv.iter()
        .map(|part| match placeholder(part) {
            Some(name) => match args.get(name)? {
                Value::Text(text) => Some(text.clone()),
                value => Some(value.to_string()),
            },
            None => Some(part.clone()),
        })
        .collect()
}

/// Reads to the end, so that the program never waits for us, and keeps the beginning.
async fn bounded(stream: Option<impl AsyncRead + Unpin>, most: u64) -> String {
    let mut kept = Vec::new();
    if let Some(mut stream) = stream {
        let _ = (&mut stream).take(most).read_to_end(&mut kept).await;
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    }
    let mut text = String::from_utf8_lossy(&kept).trim_end().to_owned();
    while text.len() as u64 > most {
        text.pop();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorward_protocol::wire::Outcome;

    fn definition(argv: &[&str], confirm: Confirm) -> Definition {
        let argv: Vec<String> = argv.iter().map(|part| format!("{part:?}")).collect();
        let text = format!(
            "class = \"interrupt\"\nhandler = \"exec\"\nargv = [{}]\ntimeout_s = 1",
            argv.join(", ")
        );
        Definition {
            confirm,
            ..toml::from_str(&text).unwrap()
        }
    }

    async fn run(definition: &Definition) -> OperationResult {
        super::run(definition, &Map::default()).await
    }

    #[tokio::test]
    async fn a_program_gets_its_arguments_as_they_are_and_no_environment() {
        let ended = run(&definition(
            &["/usr/bin/printf", "%s", "$HOME; `id`"],
            Confirm::Exit,
        ))
        .await;
        assert_eq!(ended.outcome, Outcome::Done);
        assert_eq!(
            ended.result.get("output"),
            Some(&Value::from("$HOME; `id`"))
        );
        let ended = run(&definition(&["/usr/bin/env"], Confirm::Exit)).await;
        assert!(ended.result.is_empty(), "{:?}", ended.result);
    }

    #[tokio::test]
    async fn failure_silence_and_absence_are_told_apart() {
        let ended = run(&definition(&["/bin/false"], Confirm::Exit)).await;
        assert_eq!(ended.code, Some(Code::Failed));
        let ended = run(&definition(&["/bin/sleep", "60"], Confirm::Exit)).await;
        assert_eq!(ended.code, Some(Code::Timeout));
        let ended = run(&definition(&["/nonexistent"], Confirm::Exit)).await;
        assert!(ended.detail.unwrap().as_str().contains("/nonexistent"));
    }

    #[tokio::test]
    async fn a_reboot_that_does_not_happen_is_not_done() {
        let ended = run(&definition(&["/bin/true"], Confirm::Boot)).await;
        assert_eq!(ended.code, Some(Code::Timeout));
        let ended = run(&definition(&["/bin/false"], Confirm::Boot)).await;
        assert_eq!(ended.code, Some(Code::Failed));
    }

    #[tokio::test]
    async fn a_talkative_program_is_cut_short_and_not_held_up() {
        let ended = run(&definition(
            &["/usr/bin/head", "-c", "1000000", "/dev/zero"],
            Confirm::Exit,
        ))
        .await;
        assert_eq!(ended.outcome, Outcome::Done);
        let Some(Value::Text(output)) = ended.result.get("output") else {
            panic!("{:?}", ended.result);
        };
        assert_eq!(output.len(), 1024);
    }
}
