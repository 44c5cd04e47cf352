//! The certificate with which RAUC's and SWUpdate's images are signed.

use std::path::Path;
use std::process::Command;

/// Runs a program that must succeed.
pub(crate) fn run(command: &mut Command) {
    let out = command.output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{said}");
}

/// Makes cert.pem, which vouches for itself, and key.pem.
pub(crate) fn make(directory: &Path, name: &str) {
    let subject = format!("/O=doorward test/CN={name}");
    run(Command::new("openssl").current_dir(directory).args([
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem",
        "-days", "2", "-subj", &subject,
    ]));
}
