//! The demo's temporary directory, with keys in it. It is removed even after SIGKILL: a shell waits
//! until the demo closes its standard input, ends the daemon, and removes the directory.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use doorward_protocol::wire::Bytes;
use doorward_terminal::{CliError, exit_status};
use doorward_transport::{files, random};

/// Shell script: reads process IDs, one per line, and ends the last one.
const CLEANER: &str = r#"trap '' HUP INT QUIT TERM
while read -r line; do daemon=$line; done
[ -z "$daemon" ] || kill -9 "$daemon" 2>/dev/null
rm -rf -- "$1""#;

pub(super) struct Scratch {
    pub(super) path: PathBuf,
    cleaner: Child,
}

impl Scratch {
    #[expect(
        clippy::disallowed_methods,
        reason = "the demo cleans up after itself in a process of its own"
    )]
    pub(super) fn new() -> Result<Self, CliError> {
        let failed =
            |error| CliError::new(exit_status::IO, format!("the demo's directory: {error}"));
        let random: [u8; 6] = random().map_err(failed)?;
        let path = std::env::temp_dir().join(format!("doorward-demo-{}", Bytes(random)));
        let cleaner = std::process::Command::new("/bin/sh")
            .args(["-c", CLEANER, "sh"])
            .arg(&path)
            .stdin(Stdio::piped())
            // Signals to the demo's process group do not reach it.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        files::create_private_directory(&path)?;
        Ok(Self { path, cleaner })
    }

    /// Sets the daemon's process, which is ended with the demo; `None` if it has ended already.
    pub(super) fn watch(&mut self, daemon: Option<u32>) {
        let line = daemon.map_or_else(String::new, |id| id.to_string());
        if let Some(input) = &mut self.cleaner.stdin {
            let _ = writeln!(input, "{line}");
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.watch(None);
        drop(self.cleaner.stdin.take());
        let _ = self.cleaner.wait();
    }
}
