//! Standard output. If the reader closes the pipe, as `head` does, the remaining output is dropped;
//! the command is completed and its exit status stays valid. Results that are shown only once then
//! go to standard error.

use std::fmt::Arguments;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the reader of standard output has closed it.
static CLOSED: AtomicBool = AtomicBool::new(false);
/// The first other error.
static FAILURE: Mutex<Option<std::io::Error>> = Mutex::new(None);

/// Prints a line like `println!`; see the [module](self) for a closed pipe.
#[macro_export]
macro_rules! outln {
    () => { $crate::output::write(format_args!("\n"), false) };
    ($format:literal $($rest:tt)*) => {
        $crate::output::write(format_args!("{}\n", format_args!($format $($rest)*)), false)
    };
}

/// Prints like `print!`; see the [module](self) for a closed pipe.
#[macro_export]
macro_rules! out {
    ($($rest:tt)*) => { $crate::output::write(format_args!($($rest)*), false) };
}

/// Prints a line that cannot be printed again, such as a one-time code: on standard error if
/// standard output is closed.
#[macro_export]
macro_rules! outln_once {
    ($format:literal $($rest:tt)*) => {
        $crate::output::write(format_args!("{}\n", format_args!($format $($rest)*)), true)
    };
}

/// Writes to standard output. Use the macros.
pub fn write(text: Arguments<'_>, once: bool) {
    if !CLOSED.load(Ordering::Relaxed) {
        let mut out = anstream::stdout().lock();
        match out.write_fmt(text).and_then(|()| out.flush()) {
            Ok(()) => return,
            Err(error) => {
                CLOSED.store(true, Ordering::Relaxed);
                if error.kind() != std::io::ErrorKind::BrokenPipe
                    && let Ok(mut failure) = FAILURE.lock()
                {
                    *failure = Some(error);
                }
            }
        }
    }
    if once {
        let _ = std::io::stderr().write_fmt(text);
    }
}

/// Returns whether the reader of standard output has closed it.
#[must_use]
pub fn is_closed() -> bool {
    CLOSED.load(Ordering::Relaxed)
}

/// Prints a value as indented JSON.
pub fn print_json(value: &serde_json::Value) {
    crate::outln!("{value:#}");
}

/// Prints a value as indented JSON that cannot be printed again; see
/// [`outln_once`].
pub fn print_json_once(value: &serde_json::Value) {
    crate::outln_once!("{value:#}");
}

/// The error that made the output incomplete, other than a closed pipe.
pub(crate) fn failure() -> Option<std::io::Error> {
    FAILURE.lock().ok()?.take()
}
