//! The structure of the source: which crate and which folder may import what, and how long files
//! are. Cargo keeps the borders of crates; these tests keep the borders inside a crate.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    doorward_testkit::root()
}

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

/// The code of a file without comments and without its unit tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let lines = text.lines().map(|line| match line.trim_start() {
        comment if comment.starts_with("//") => "",
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The other folders and top-level files of a crate that `name` imports by `crate::` paths.
fn imports(source: &Path, name: &str) -> BTreeSet<String> {
    let folder = source.join(name);
    let paths = match folder.is_dir() {
        true => files(&folder),
        false => vec![source.join(format!("{name}.rs"))],
    };
    let first_name = |text: &str| -> String {
        let name = text.trim_start().chars();
        name.take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let mut found = BTreeSet::new();
    for path in paths {
        for part in code(&path).split("crate::").skip(1) {
            let names: Vec<String> = match part.strip_prefix('{') {
                Some(rest) => rest
                    .split('}')
                    .next()
                    .unwrap()
                    .split(',')
                    .map(first_name)
                    .collect(),
                None => vec![first_name(part)],
            };
            found.extend(names.into_iter().filter(|import| {
                import != name
                    && !import.is_empty()
                    && (source.join(import).is_dir()
                        || source.join(format!("{import}.rs")).exists())
            }));
        }
    }
    found
}

/// Checks that every folder of a crate imports only the folders of its row, and that there is no
/// circle among them.
fn check_folders(source: &str, table: &[(&str, &[&str])]) {
    let source = root().join(source);
    for entry in fs::read_dir(&source).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let listed = table.iter().any(|(folder, _)| *folder == name);
        let is_root = ["lib", "main"].contains(&name.as_str());
        assert!(listed || is_root, "{} is not in the table", path.display());
    }
    let mut left: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (folder, allowed) in table {
        let found = imports(&source, folder);
        for import in &found {
            let message = format!("{}: {folder} imports {import}", source.display());
            assert!(allowed.contains(&import.as_str()), "{message}");
        }
        left.insert(folder, found);
    }
    while !left.is_empty() {
        let is_free =
            |imports: &BTreeSet<String>| !imports.iter().any(|it| left.contains_key(&**it));
        let free = left.iter().filter(|(_, imports)| is_free(imports));
        let free: Vec<&str> = free.map(|(name, _)| *name).collect();
        assert!(!free.is_empty(), "a circle among {left:?}");
        left.retain(|name, _| !free.contains(name));
    }
}

/// Lines of code below a folder that contain one of `words`.
fn mentions(folder: &str, words: &[&str]) -> Vec<String> {
    let paths = files(&root().join(folder));
    assert!(!paths.is_empty(), "{folder} is empty");
    let mut found = Vec::new();
    for path in paths {
        for line in code(&path).lines() {
            if words.iter().any(|word| line.contains(word)) {
                found.push(format!("{}: {line}", path.display()));
            }
        }
    }
    found
}

const NONE: &[String] = &[];

#[test]
fn folders_of_the_daemon_import_only_what_the_table_allows() {
    check_folders(
        "src",
        &[
            ("core", &[]),
            ("store", &["core"]),
            ("link", &[]),
            ("config", &["link"]),
            ("operation", &["core", "config", "store"]),
            ("daemon", &["core", "store", "link", "config", "operation"]),
            (
                "cli",
                &["core", "store", "link", "config", "operation", "daemon"],
            ),
        ],
    );
}

#[test]
fn folders_of_doorkey_import_only_what_the_table_allows() {
    check_folders(
        "crates/doorkey/src",
        &[
            ("domain", &[]),
            ("error", &["domain"]),
            ("ledger", &["domain", "error"]),
            ("keys", &["domain", "error"]),
            ("service", &["domain", "error", "ledger", "keys"]),
            ("email", &["domain", "error", "service"]),
            ("broker", &["domain", "error", "service"]),
            ("http", &["domain", "error", "service", "email"]),
            ("serve", &["broker", "domain", "error", "http", "service"]),
            (
                "cli",
                &[
                    "broker", "domain", "email", "error", "http", "keys", "ledger", "serve",
                    "service",
                ],
            ),
        ],
    );
}

#[test]
fn folders_of_the_protocol_import_only_what_the_table_allows() {
    check_folders(
        "crates/protocol/src",
        &[
            ("token_bucket", &[]),
            ("wire", &[]),
            ("gate", &["wire"]),
            ("event_log", &["wire", "gate"]),
        ],
    );
}

#[test]
fn crates_import_only_what_the_table_allows() {
    for (manifest, allowed) in [
        ("crates/protocol", &[][..]),
        ("crates/transport", &["protocol"]),
        ("crates/client", &["protocol", "transport"]),
        ("crates/terminal", &["protocol", "transport"]),
        (
            "crates/demo",
            &["protocol", "transport", "client", "terminal"],
        ),
        (
            "crates/doorkey",
            &["protocol", "transport", "client", "terminal"],
        ),
        (".", &["protocol", "transport", "terminal", "demo"]),
    ] {
        let text = fs::read_to_string(root().join(manifest).join("Cargo.toml")).unwrap();
        let section = text.split("\n[dependencies]\n").nth(1).unwrap();
        for line in section.split("\n[").next().unwrap().lines() {
            let name = line.split(['.', ' ']).next().unwrap();
            let ours = name.strip_prefix("doorward-");
            if let Some(name) = ours.or((name == "doorkey").then_some(name)) {
                assert!(allowed.contains(&name), "{manifest} depends on {name}");
            }
        }
    }
}

#[test]
fn pure_folders_do_no_io_and_read_no_clock() {
    let io = [
        "tokio",
        "sled",
        "rumqttc",
        "sqlx",
        "std::fs",
        "std::net",
        "std::time",
        "std::io",
        "std::process",
        "getrandom",
        "tracing",
        "doorward_transport",
        "async ",
    ];
    assert_eq!(mentions("crates/protocol/src", &io), NONE);
    assert_eq!(mentions("src/core", &io), NONE);
    assert_eq!(mentions("crates/doorkey/src/domain", &io), NONE);
    let printing = ["println!", "outln!", "std::process", "exit_status"];
    assert_eq!(mentions("crates/client/src", &printing), NONE);
}

#[test]
fn each_library_is_known_to_one_place() {
    for (library, places) in [
        ("rumqttc", &["crates/transport/src/", "/src/link/"][..]),
        ("sled::", &["/src/store/cache.rs"]),
        ("mqtt5::", &["crates/demo/"]),
        ("ed25519_dalek", &["crates/protocol/src/wire/key.rs"]),
        (
            "sqlx::",
            &["crates/doorkey/src/ledger/", "crates/doorkey/src/error.rs"],
        ),
        (
            "axum::",
            &["crates/doorkey/src/http/", "crates/doorkey/src/serve.rs"],
        ),
        ("lettre::", &["crates/doorkey/src/email/smtp.rs"]),
        ("x509_cert::", &["/src/link/certificate.rs"]),
        ("ureq::", &["crates/doorkey/src/cli/api_client.rs"]),
        ("anstream::", &["crates/terminal/src/"]),
    ] {
        let mut all = mentions("src", &[library]);
        all.extend(mentions("crates", &[library]));
        all.retain(|line| !places.iter().any(|place| line.contains(place)));
        assert_eq!(all, NONE, "{library}");
    }
}

#[test]
fn no_file_has_grown_past_400_lines_of_code() {
    for folder in ["src", "crates"] {
        for path in files(&root().join(folder)) {
            if ["/testkit/", "/tests/"]
                .iter()
                .any(|it| path.to_string_lossy().contains(it))
            {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
            let lines = code.lines().count();
            assert!(lines <= 400, "{}: {lines} lines", path.display());
        }
    }
}

#[test]
fn conditional_compilation_is_rare() {
    let folders = ["src", "crates"].iter();
    let found = folders
        .flat_map(|folder| mentions(folder, &["cfg(feature", "cfg(not(feature", "cfg_attr("]));
    let found: Vec<String> = found.collect();
    assert!(found.len() <= 20, "{found:#?}");
}

/// The output of `cargo tree` for the crates in the lock file.
fn tree(args: &[&str]) -> String {
    let out = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline"])
        .args(args)
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8(out.stdout).unwrap()
}

/// The packages of a build without our own.
fn packages(args: &[&str]) -> BTreeSet<String> {
    let common = ["--edges", "normal", "--prefix", "none", "--format", "{p}"];
    let text = tree(&[&common[..], args].concat());
    let lines = text.lines().map(|line| line.trim_end_matches(" (*)"));
    let others = lines.filter(|line| !line.is_empty() && !line.starts_with("door"));
    others.map(str::to_owned).collect()
}

#[test]
fn the_protocol_needs_at_most_35_packages_and_no_runtime() {
    let found = packages(&["-p", "doorward-protocol"]);
    assert!(found.len() <= 35, "{}: {found:#?}", found.len());
    for unwanted in ["clap", "tokio", "rumqttc", "serde_json"] {
        assert!(
            !found.iter().any(|it| it.starts_with(unwanted)),
            "{unwanted}"
        );
    }
}

#[test]
fn a_device_build_has_at_most_146_packages_and_none_of_the_issuing_side() {
    let device = [
        "-p",
        "doorward",
        "--no-default-features",
        "--features",
        "local-listener",
    ];
    let found = packages(&device);
    assert!(found.iter().any(|it| it.starts_with("sled v0.34.7")));
    assert!(found.len() <= 146, "{}: {found:#?}", found.len());
    for unwanted in [
        "mqtt5", "tempfile", "axum", "sqlx", "proptest", "rcgen", "lettre",
    ] {
        assert!(
            !found.iter().any(|it| it.starts_with(unwanted)),
            "{unwanted}"
        );
    }
}

#[test]
fn the_demo_needs_no_sql_no_http_service_and_no_mail() {
    let found = packages(&["-p", "doorward"]);
    assert!(found.iter().any(|it| it.starts_with("mqtt5 ")));
    for unwanted in ["axum", "sqlx", "lettre", "utoipa"] {
        assert!(
            !found.iter().any(|it| it.starts_with(unwanted)),
            "{unwanted}"
        );
    }
}

#[test]
fn no_crate_turns_on_legacy_signatures() {
    let text = tree(&["--edges", "features", "--workspace", "--all-features"]);
    assert!(text.contains("ed25519-dalek"), "{text}");
    assert!(
        !text.contains("legacy_compatibility"),
        "it accepts weak keys"
    );
}
