//! Questions on the terminal. Without one nobody is asked.

use std::io::{BufRead, IsTerminal, Read, Write};

use doorward_protocol::wire::MAX_PAIRING_TEXT;
use doorward_terminal::{CliError, exit_status};

/// Whoever can be asked.
pub(super) struct Ask {
    somebody: bool,
}

/// So often the same is asked.
const TRIES: usize = 5;

impl Ask {
    pub(super) fn new(silent: bool) -> Self {
        Self {
            somebody: !silent && std::io::stdin().is_terminal(),
        }
    }

    /// Asks until the answer makes sense; an empty one is the usual value, if there is one. `None`
    /// if nobody is there.
    pub(super) fn value<T>(
        &mut self,
        question: &str,
        usual: Option<&str>,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, CliError> {
        if !self.somebody {
            return Ok(None);
        }
        for _ in 0..TRIES {
            let hint = usual.map_or_else(String::new, |usual| format!(" [{usual}]"));
            let answer = line(&format!("{question}{hint}: "))?;
            let answer = match (answer.trim(), usual) {
                ("", Some(usual)) => usual,
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
        Err(CliError::new(exit_status::USAGE, "no answer made sense"))
    }

    /// Whether somebody is there and types yes.
    pub(super) fn agrees(&mut self, question: &str) -> Result<bool, CliError> {
        Ok(self.somebody && line(&format!("{question} [yes/no]: "))?.trim() == "yes")
    }

    /// Whether somebody can be asked.
    pub(super) fn somebody(&self) -> bool {
        self.somebody
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
        return Err(CliError::new(exit_status::USAGE, "nobody answers any more"));
    }
    Ok(line)
}
