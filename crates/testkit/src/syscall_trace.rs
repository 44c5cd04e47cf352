//! The preloaded library that watches what a program does to files.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds the shim with the C compiler that building doorward needs anyway.
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
