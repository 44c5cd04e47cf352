//! The exec handler: runs a configured program with a fixed argv, without a shell, with an empty
//! environment, and keeps a bounded amount of its output.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use crate::config::{Config, Confirm, Definition, placeholder};
use crate::core::OperationResult;
use crate::operation::handler::{Execution, OperationHandler, allow_fields};
use doorward_protocol::gate::Code;
use doorward_protocol::wire::{Map, Operation, Text, Value, truncate};

/// Bytes of a program's output that are kept.
const OUTPUT: u64 = 1024;

/// A program that is run.
#[derive(Debug)]
pub(super) struct ExecHandler {
    argv: Vec<String>,
    confirm: Confirm,
}

impl OperationHandler for ExecHandler {
    fn new(_name: &Operation, definition: &Definition, _config: &Config) -> Result<Self, String> {
        let Some(program) = definition.argv.first() else {
            return Err("the exec handler needs argv".into());
        };
        if !program.starts_with('/') {
            return Err("argv must begin with an absolute path".into());
        }
        for part in &definition.argv {
            let args = &definition.args;
            let is_required = |arg: &str| args.get(arg).is_some_and(|arg| !arg.optional);
            match placeholder(part) {
                Some(arg) if !is_required(arg) => {
                    return Err(format!("`{part}` in argv needs args.{arg}, not optional"));
                }
                None if part.contains(['{', '}']) => {
                    return Err(format!(
                        "`{part}` in argv: a placeholder must be the whole argument"
                    ));
                }
                _ => {}
            }
        }
        allow_fields(definition, &["argv"])?;
        Ok(Self {
            argv: definition.argv.clone(),
            confirm: definition.confirm,
        })
    }

    fn reboots(_name: &Operation, definition: &Definition) -> bool {
        definition.confirm == Confirm::Boot
    }

    /// The effect of a program is not known.
    fn acts(&self) -> bool {
        false
    }

    async fn run(&self, execution: Execution<'_>) -> OperationResult {
        let limit = execution.definition.timeout();
        self.run_program(execution.permit.args(), limit).await
    }
}

impl ExecHandler {
    /// Runs the program to its end or to its timeout.
    async fn run_program(&self, args: &Map<Text, Value>, limit: Duration) -> OperationResult {
        let reboots = self.confirm == Confirm::Boot;
        let finished = async {
            let result = self.exit(args).await;
            // A successful program has only requested the reboot. The proof is the reboot itself,
            // which ends this process.
            if reboots && result.code.is_none() {
                std::future::pending::<()>().await;
            }
            result
        };
        match timeout(limit, finished).await {
            Ok(result) => result,
            Err(_) if reboots => OperationResult::failed(
                Code::Timeout,
                "the machine did not reboot within timeout_s",
            ),
            Err(_) => OperationResult::failed(
                Code::Timeout,
                "the program did not end within timeout_s and was stopped",
            ),
        }
    }

    async fn exit(&self, args: &Map<Text, Value>) -> OperationResult {
        let Some(argv) = filled(&self.argv, args) else {
            return OperationResult::failed(Code::Param, "an argument is missing");
        };
        match output(&argv, OUTPUT).await.and_then(Output::printed) {
            Ok(out) if out.is_empty() => OperationResult::done(Map::default()),
            Ok(out) => OperationResult::done(Map::named([("output", Value::Text(out))])),
            Err(why) => OperationResult::failed(Code::Failed, &why),
        }
    }
}

/// Exit status and output of a program.
pub(super) struct Output {
    /// Whether the exit status is success.
    pub(super) ok: bool,
    /// The exit status as text.
    pub(super) status: String,
    /// The beginning of its standard output.
    pub(super) out: String,
    /// The beginning of its standard error.
    pub(super) err: String,
}

impl Output {
    /// Returns the standard output.
    ///
    /// # Errors
    /// With the exit status and the standard error if the program failed.
    pub(super) fn printed(self) -> Result<String, String> {
        match self.ok {
            true => Ok(self.out),
            false => Err(format!("{}: {}", self.status, self.err)),
        }
    }
}

/// Runs a program to its end, with an empty environment; kills it when the future is dropped.
/// Keeps up to `limit` bytes of its standard output.
#[expect(
    clippy::disallowed_methods,
    reason = "this is operation/, behind a permit"
)]
pub(super) async fn output(argv: &[String], limit: u64) -> Result<Output, String> {
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
    let (status, out, err) = tokio::join!(child.wait(), bounded(out, limit), bounded(err, OUTPUT));
    let status = status.map_err(failed)?;
    Ok(Output {
        ok: status.success(),
        status: status.to_string(),
        out,
        err,
    })
}

/// Returns `argv` with the placeholders replaced by the values of the command. A value is always
/// one whole argument.
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

/// Reads to the end, so that the program never blocks, and keeps the beginning.
async fn bounded(stream: Option<impl AsyncRead + Unpin>, limit: u64) -> String {
    let mut kept = Vec::new();
    if let Some(mut stream) = stream {
        let _ = (&mut stream).take(limit).read_to_end(&mut kept).await;
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    }
    let mut text = String::from_utf8_lossy(&kept).trim_end().to_owned();
    truncate(&mut text, usize::try_from(limit).unwrap_or(usize::MAX));
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
        let handler = ExecHandler {
            argv: definition.argv.clone(),
            confirm: definition.confirm,
        };
        let limit = definition.timeout();
        handler.run_program(&Map::default(), limit).await
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
