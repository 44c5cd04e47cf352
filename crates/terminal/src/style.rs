//! Colours. Print styled text with the macros of [`output`](crate::output): they remove colours if
//! the output is not a terminal, or if `NO_COLOR` is set (<https://no-color.org>).

use anstyle::{AnsiColor, Effects, Style};

fn styled(text: &str, style: Style) -> String {
    format!("{style}{text}{style:#}")
}

/// For `error:`.
#[must_use]
pub fn bold_red(text: &str) -> String {
    styled(text, AnsiColor::Red.on_default() | Effects::BOLD)
}

/// For failures and denials.
#[must_use]
pub fn red(text: &str) -> String {
    styled(text, AnsiColor::Red.on_default())
}

/// For warnings.
#[must_use]
pub fn yellow(text: &str) -> String {
    styled(text, AnsiColor::Yellow.on_default())
}

/// For success.
#[must_use]
pub fn green(text: &str) -> String {
    styled(text, AnsiColor::Green.on_default())
}

/// For secondary text.
#[must_use]
pub fn dim(text: &str) -> String {
    styled(text, Style::new() | Effects::DIMMED)
}

/// For headings.
#[must_use]
pub fn bold(text: &str) -> String {
    styled(text, Style::new() | Effects::BOLD)
}
