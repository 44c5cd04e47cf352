//! The preloaded library that traces the file operations of a program.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds the library with the C compiler, which building doorward requires anyway.
pub fn build(directory: &Path) -> PathBuf {
    let library = directory.join("shim.so");
    let built = Command::new("cc")
        .args([
            "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o",
        ])
        .arg(&library)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/syscall_trace.c"))
        .status()
        .unwrap();
    assert!(built.success());
    library
}
