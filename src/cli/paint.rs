//! Colours, only on a terminal, and not when `NO_COLOR` is set.

use std::io::IsTerminal;

fn wanted(terminal: bool) -> bool {
    terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn painted(code: &str, text: &str, terminal: bool) -> String {
    if wanted(terminal) {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// Bold red, on standard error.
pub(super) fn bad_on_stderr(text: &str) -> String {
    painted("1;31", text, std::io::stderr().is_terminal())
}

/// Red.
pub(super) fn bad(text: &str) -> String {
    painted("31", text, std::io::stdout().is_terminal())
}

/// Green.
pub(super) fn good(text: &str) -> String {
    painted("32", text, std::io::stdout().is_terminal())
}

/// Faint.
#[cfg(feature = "demo")]
pub(super) fn faint(text: &str) -> String {
    painted("2", text, std::io::stdout().is_terminal())
}

/// Bold.
#[cfg(feature = "demo")]
pub(super) fn bold(text: &str) -> String {
    painted("1", text, std::io::stdout().is_terminal())
}
