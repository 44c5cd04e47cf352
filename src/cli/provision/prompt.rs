//! Questions on the terminal. Without a terminal, no questions are asked.

use std::io::{BufRead, IsTerminal, Read, Write};

use doorward_protocol::wire::MAX_PAIRING_TEXT;
use doorward_terminal::{CliError, exit_status};

/// Asks questions if standard input is a terminal.
pub(super) struct Prompt {
    interactive: bool,
}

/// Maximum number of attempts per question.
const TRIES: usize = 5;

impl Prompt {
    pub(super) fn new(silent: bool) -> Self {
        Self {
            interactive: !silent && std::io::stdin().is_terminal(),
        }
    }

    /// Asks until the answer is valid; an empty answer is the default, if there is one. `None`
    /// without a terminal.
    pub(super) fn value<T>(
        &mut self,
        question: &str,
        default: Option<&str>,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, CliError> {
        if !self.interactive {
            return Ok(None);
        }
        for _ in 0..TRIES {
            let hint = default.map_or_else(String::new, |default| format!(" [{default}]"));
            let answer = line(&format!("{question}{hint}: "))?;
            let answer = match (answer.trim(), default) {
                ("", Some(default)) => default,
                (answer, _) => answer,
            };
            let result = match answer {
                "" => Err("an answer is needed".to_owned()),
                answer => read(answer),
            };
            match result {
                Ok(value) => return Ok(Some(value)),
                Err(why) => eprintln!("  {why}"),
            }
        }
        Err(CliError::new(
            exit_status::USAGE,
            "too many invalid answers",
        ))
    }

    /// Asks for confirmation. `false` without a terminal.
    pub(super) fn confirm(&mut self, question: &str) -> Result<bool, CliError> {
        Ok(self.interactive && line(&format!("{question} [yes/no]: "))?.trim() == "yes")
    }

    /// Whether questions can be asked.
    pub(super) fn is_interactive(&self) -> bool {
        self.interactive
    }
}

fn line(prompt: &str) -> Result<String, CliError> {
    let failed = |error: std::io::Error| CliError::new(exit_status::IO, error);
    eprint!("{prompt}");
    std::io::stderr().flush().map_err(failed)?;
    let mut line = String::new();
    let mut input = std::io::stdin().lock().take(MAX_PAIRING_TEXT as u64);
    let read = input.read_line(&mut line).map_err(failed)?;
    if read == 0 {
        eprintln!();
        return Err(CliError::new(exit_status::USAGE, "input ended"));
    }
    Ok(line)
}
