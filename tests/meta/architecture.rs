//! The shape of the house: which room may know what.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found
}

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Lines of code under `room` that name one of `words`.
fn mentions(room: &str, words: &[&str]) -> Vec<String> {
    let path = source(room);
    let paths = if path.is_dir() {
        files(&path)
    } else {
        vec![path]
    };
    assert!(!paths.is_empty(), "{room} is empty");
    let mut found = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap();
            if words.iter().any(|word| code.contains(word)) {
                found.push(format!("{}:{}: {line}", path.display(), number + 1));
            }
        }
    }
    found
}

#[test]
fn wire_and_gate_know_no_io_and_no_clock() {
    let io = [
        "tokio",
        "sled",
        "rumqttc",
        "std::fs",
        "std::net",
        "std::time",
        "std::io",
        "getrandom",
        "tracing",
        "crate::store",
        "crate::link",
        "crate::agent",
        "crate::operation",
        "crate::cli",
        "crate::clock",
        "crate::config",
        "crate::issuer",
        "crate::files",
    ];
    let none: Vec<String> = Vec::new();
    assert_eq!(mentions("src/wire", &io), none);
    assert_eq!(mentions("src/gate", &io), none);
    assert_eq!(mentions("src/wire", &["crate::gate"]), none);
}

#[test]
fn the_core_of_the_agent_does_no_io() {
    let io = [
        "tokio",
        "sled",
        "rumqttc",
        "std::fs",
        "std::time",
        "crate::link",
        "crate::clock",
    ];
    for file in ["core.rs", "journal.rs", "start.rs"] {
        let found = mentions(&format!("src/agent/{file}"), &io);
        assert_eq!(found, Vec::<String>::new());
    }
}

#[test]
fn the_rules_of_sharing_do_no_io() {
    let io = [
        "tokio",
        "sqlx",
        "std::fs",
        "std::net",
        "std::time",
        "getrandom",
        "crate::link",
        "crate::clock",
        "crate::files",
        "async ",
        "ledger::",
    ];
    for file in [
        "account",
        "device",
        "group",
        "invitation",
        "preset",
        "share",
    ] {
        let found = mentions(&format!("src/issuer/{file}.rs"), &io);
        assert_eq!(found, Vec::<String>::new());
    }
}

#[test]
fn each_library_has_one_room() {
    for (library, rooms) in [
        ("rumqttc", &["src/link/"][..]),
        ("sled::", &["src/store/cache.rs"]),
        ("mqtt5::", &["src/cli/demo/"]),
        ("ed25519_dalek", &["src/wire/key.rs"]),
        ("sqlx::", &["src/issuer/ledger/", "src/issuer/terms.rs"]),
        ("axum::", &["src/service/"]),
        ("lettre::", &["src/service/mail.rs"]),
        ("x509_cert::", &["src/link/certificate.rs"]),
        ("ureq::", &["src/cli/doorkey/client.rs"]),
    ] {
        let elsewhere: Vec<String> = mentions("src", &[library])
            .into_iter()
            .filter(|line| !rooms.iter().any(|room| line.contains(room)))
            .collect();
        assert_eq!(elsewhere, Vec::<String>::new(), "{library}");
    }
}

#[test]
fn no_file_has_grown_past_400_lines_of_code() {
    for path in files(&source("src")) {
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let lines = code.lines().count();
        assert!(lines <= 400, "{}: {lines} lines", path.display());
    }
}

/// What `cargo tree` says of the crates in the lock file.
fn tree(args: &[&str]) -> String {
    let out = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline"])
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn a_device_build_holds_no_issuer_no_demo_and_no_test_crates() {
    let text = tree(&[
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--no-default-features",
        "--features",
        "device",
    ]);
    assert!(text.contains("sled v0.34.7"), "{text}");
    for unwanted in ["mqtt5", "tempfile", "axum", "sqlx", "proptest", "rcgen"] {
        let found = text.lines().find(|line| line.starts_with(unwanted));
        assert_eq!(found, None);
    }
}

#[test]
fn no_crate_turns_on_legacy_signatures() {
    let text = tree(&["--edges", "features", "--all-features"]);
    assert!(text.contains("ed25519-dalek"), "{text}");
    assert!(
        !text.contains("legacy_compatibility"),
        "it lets weak keys pass"
    );
}
