//! The certificate that signs the images for RAUC and SWUpdate.

use std::path::Path;
use std::process::Command;

/// Runs a program that must succeed.
pub(crate) fn run(command: &mut Command) {
    let out = command.output().unwrap();
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{error}");
}

/// Makes key.pem and the self-signed cert.pem.
pub(crate) fn make(directory: &Path, name: &str) {
    let subject = format!("/O=doorward test/CN={name}");
    run(Command::new("openssl").current_dir(directory).args([
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem",
        "-days", "2", "-subj", &subject,
    ]));
}
