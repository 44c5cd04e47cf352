//! The grammar of `doorkey`, and the command lines that documents and messages quote.

#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{Arg, Command, CommandFactory, Parser};
use doorkey::cli::Cli;

const KEY: &str = "746c93b3fd98b66530d79c07904c858b28446cc0707030c997ad4aaeb7ad57d6";

fn claim() -> String {
    format!("doorward:claim?device=ups-7&key={KEY}&secret=0VAE-8KMX-WP4P-V45Q")
}

/// All commands without subcommands, with their names from `doorkey` on.
fn leaves() -> Vec<(String, Command)> {
    fn collect(command: &Command, path: &str, found: &mut Vec<(String, Command)>) {
        let mut subcommands = command
            .get_subcommands()
            .filter(|sub| sub.get_name() != "help")
            .peekable();
        if subcommands.peek().is_none() {
            found.push((path.to_owned(), command.clone()));
        }
        for sub in subcommands {
            collect(sub, &format!("{path} {}", sub.get_name()), found);
        }
    }
    let mut root = Cli::command();
    root.build();
    let mut found = Vec::new();
    collect(&root, "doorkey", &mut found);
    assert!(found.len() > 30, "{}", found.len());
    found
}

fn option<'a>(command: &'a Command, long: &str) -> Option<&'a Arg> {
    let mut arguments = command.get_arguments();
    arguments.find(|arg| arg.get_long() == Some(long))
}

fn value_name(arg: &Arg) -> String {
    let names = arg.get_value_names().unwrap_or_default();
    names.iter().map(ToString::to_string).collect()
}

fn help(arg: &Arg) -> String {
    arg.get_help().map(ToString::to_string).unwrap_or_default()
}

#[test]
fn a_key_is_secret_and_a_public_key_is_called_public_key() {
    for (path, command) in leaves() {
        for arg in command.get_arguments() {
            let Some(long) = arg.get_long() else { continue };
            let place = format!("{path} --{long}");
            let (value, help) = (value_name(arg), help(arg).to_lowercase());
            if long == "key" {
                assert_eq!(value, "FILE", "{place}");
                assert!(help.contains("secret key"), "{place}: {help}");
                let aliases = arg.get_all_aliases().unwrap_or_default();
                assert!(aliases.is_empty(), "{place}: {aliases:?}");
            }
            let is_public = long == "public-key" || long.ends_with("-public-key");
            assert_eq!(value == "PUBLIC_KEY", is_public, "{place}: {value}");
            if is_public {
                assert!(
                    help.contains("*.pub file or 64 hexadecimal"),
                    "{place}: {help}"
                );
                let aliases = arg.get_all_aliases().unwrap_or_default();
                assert!(!aliases.contains(&"key"), "{place}");
            }
        }
    }
}

#[test]
fn until_is_a_time_and_for_is_a_duration_and_they_come_together() {
    let mut count = 0;
    for (path, command) in leaves() {
        for prefix in ["", "plan-"] {
            let until = option(&command, &format!("{prefix}until")).map(value_name);
            let duration = option(&command, &format!("{prefix}for")).map(value_name);
            match (until.as_deref(), duration.as_deref()) {
                (None, None) => {}
                (Some("TIME"), Some("DURATION")) => count += 1,
                other => panic!("{path}: {other:?}"),
            }
        }
        for arg in command.get_arguments().filter(|arg| !arg.is_positional()) {
            let long = arg.get_long().unwrap_or_default();
            match value_name(arg).as_str() {
                "TIME" => assert!(long.ends_with("until"), "{path} --{long}"),
                "DURATION" => assert!(long.ends_with("for"), "{path} --{long}"),
                _ => {}
            }
        }
    }
    assert_eq!(
        count, 7,
        "share, extend, plan, register, members, licence, break-glass"
    );
    for line in [
        "doorkey share ups-7 --guest Visitor --allow view --until 2027-01-31 --for 4h",
        "doorkey share ups-7 --guest Visitor --allow view --until 4h",
        "doorkey share ups-7 --guest Visitor --allow view --for 2027-01-31",
        "doorkey extend 3f0a",
        "doorkey extend 3f0a --for 7d --until 2027-01-31",
        "doorkey plan ups-7 basic --for 7d --until 2027-01-31",
        "doorkey share ups-7 --to anna --key anna.key --allow view",
    ] {
        assert!(Cli::try_parse_from(split(line)).is_err(), "{line}");
    }
}

#[test]
fn options_are_offered_only_where_they_apply() {
    // Always JSON.
    let without_json = ["doorkey api"];
    for (path, command) in leaves() {
        for arg in command.get_arguments() {
            let name = arg.get_id().as_str();
            assert!(!arg.is_global_set() || name == "help", "{path}: {name}");
        }
        let has_json = option(&command, "json").is_some();
        assert_eq!(has_json, !without_json.contains(&&*path), "{path}");
        let has_issuer = option(&command, "issuer").is_some();
        assert_eq!(has_issuer, option(&command, "database").is_some(), "{path}");
        let has_profile = option(&command, "profile").is_some();
        let has_service = option(&command, "service").is_some();
        assert_eq!(has_profile, has_issuer || has_service, "{path}");
        if option(&command, "broker").is_some() {
            assert!(has_issuer, "{path}");
        }
        for (long, variable) in [
            ("broker", "DOORKEY_BROKER"),
            ("issuer", "DOORKEY_ISSUER"),
            ("database", "DOORKEY_DATABASE"),
            ("service", "DOORKEY_SERVICE"),
            ("profile", "DOORKEY_PROFILE"),
        ] {
            if let Some(arg) = option(&command, long) {
                assert_eq!(arg.get_env(), Some(variable.as_ref()), "{path} --{long}");
            }
        }
    }
    let of = |path: &str| {
        let found = leaves().into_iter().find(|(name, _)| name == path);
        found.unwrap_or_else(|| panic!("{path}")).1
    };
    for path in ["doorkey key new", "doorkey explain", "doorkey inspect"] {
        assert!(option(&of(path), "issuer").is_none(), "{path}");
    }
}

#[test]
fn things_have_one_name() {
    for (path, command) in leaves() {
        for arg in command.get_arguments() {
            let long = arg.get_long().unwrap_or_default();
            assert!(
                ![
                    "ledger",
                    "of",
                    "as",
                    "server",
                    "device-key",
                    "owner-key",
                    "end",
                    "plan-end"
                ]
                .contains(&long),
                "{path} --{long}"
            );
            if long == "device" {
                assert_eq!(value_name(arg), "DEVICE", "{path}");
            }
            if long == "account" {
                assert_eq!(value_name(arg), "ACCOUNT", "{path}");
            }
            assert!(
                arg.is_hide_set() || !help(arg).is_empty(),
                "{path}: {} has no help",
                arg.get_id()
            );
            assert!(!help(arg).ends_with('.'), "{path}: {}", arg.get_id());
        }
        let about = command.get_about().unwrap_or_else(|| panic!("{path}"));
        let about = about.to_string();
        assert!(about.starts_with(char::is_uppercase), "{path}: {about}");
    }
}

#[test]
fn old_spellings_still_parse() {
    for line in [
        &*format!("doorkey register ups-7 --device-key {KEY} --owner ole --owner-key {KEY}"),
        "doorkey shares --of ups-7 --ledger sqlite://file",
        "doorkey cancel ups-7 --of anna",
        "doorkey extend 3f0a 7d",
        "doorkey group roster tzbv --key tzbv.key --number 1 --take",
        "doorkey api GET /v1/shares --server https://x.example --as ole",
    ] {
        if let Err(error) = Cli::try_parse_from(split(line)) {
            panic!("{line}: {error}");
        }
    }
}

#[test]
fn every_command_has_examples_that_parse() {
    for (path, command) in leaves() {
        let text = command.get_after_long_help();
        let text = text.unwrap_or_else(|| panic!("{path} has no examples"));
        let text = text.to_string();
        assert!(text.contains("Examples:\n"), "{path}");
        let mut own = 0;
        for line in text.lines() {
            let Some(line) = line.strip_prefix("  doorkey ") else {
                continue;
            };
            let line = format!("doorkey {line}");
            own += usize::from(line.starts_with(&path));
            check(&line, true, &path);
        }
        assert!(own > 0, "{path} has no example of its own");
    }
    let root = Cli::command().get_after_long_help().unwrap().to_string();
    for line in root.lines().filter(|line| line.starts_with("  doorkey ")) {
        check(line.trim(), true, "doorkey");
    }
}

/// Splits a command line like a shell: quotes, and the end at `|`, `&`, `>` and `#`.
fn split(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for letter in line.chars() {
        match (quote, letter) {
            (Some(open), _) if letter == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, '|' | '&' | '>') => break,
            (None, '#') if word.is_none() => break,
            (None, _) if letter.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

/// Replaces placeholders and names of files by values that can be parsed.
fn plausible(word: &str) -> String {
    let placeholders = BTreeMap::from([
        ("URL", "mqtts://broker.example.org"),
        ("DEVICE", "ups-7"),
        ("ACCOUNT", "anna"),
        ("OWNER", "ole"),
        ("SITE", "depot"),
        ("SHARE", "3f0a"),
        ("NAME", "acme"),
        ("KEY", "TZBV"),
        ("GROUP", "TZBV"),
        ("ROLE", "shares"),
        ("ROLE...", "shares"),
        ("OPERATION", "status.read"),
        ("PUBLIC_KEY", KEY),
    ]);
    if word.starts_with("doorward:claim?") || ["CLAIM", "$CLAIM"].contains(&word) {
        return claim();
    }
    if let Some(value) = placeholders.get(word) {
        return (*value).to_owned();
    }
    match word.split_once('=') {
        Some((name, file)) if file.ends_with(".pub") => format!("{name}={KEY}"),
        Some((name, file)) if file.starts_with('@') => format!("{name}=1"),
        _ if word.ends_with(".pub") => KEY.to_owned(),
        _ => word.to_owned(),
    }
}

/// A quoted command line parses. If it is not complete, it may only name a command, or leave out
/// required arguments.
fn check(line: &str, complete: bool, place: &str) {
    let words = split(line)
        .into_iter()
        .filter(|word| !word.ends_with("...") || word == "ROLE...");
    let mut words: Vec<String> = words.map(|word| plausible(&word)).collect();
    // A file for a public key has only the name FILE.
    for at in 1..words.len() {
        if words[at - 1].ends_with("public-key") && words[at] == "FILE" {
            words[at] = KEY.to_owned();
        }
    }
    // An option that is only named, such as `doorkey send --carry`, gets a value.
    if !complete
        && words.last().is_some_and(|word| word.starts_with("--"))
        && let Err(error) = Cli::try_parse_from(&words)
        && error.kind() == ErrorKind::InvalidValue
    {
        words.push("x1".to_owned());
    }
    match Cli::try_parse_from(&words) {
        Ok(_) => {}
        Err(error) if !complete && is_reference(error.kind()) => {}
        Err(error) => panic!("{place}: {line}\n{error}"),
    }
}

/// Errors of command lines that only name a command, such as `doorkey issuer rotate`.
fn is_reference(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::MissingRequiredArgument
            | ErrorKind::MissingSubcommand
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    )
}

/// Command lines between backticks.
fn in_backticks(text: &str) -> Vec<String> {
    let mut parts = text.split("`doorkey ");
    parts.next();
    parts
        .filter_map(|rest| rest.split_once('`'))
        .map(|(line, _)| {
            let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
            format!("doorkey {line}")
        })
        .collect()
}

fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn command_lines_in_documents_parse() {
    let mut documents = files(&root().join("docs"), "md");
    documents.push(root().join("README.md"));
    let mut count = 0;
    for path in documents {
        let text = std::fs::read_to_string(&path).unwrap().replace("\\\n", " ");
        let place = path.display().to_string();
        let mut prose = String::new();
        for (number, block) in text.split("```").enumerate() {
            if number % 2 == 0 {
                prose.push_str(block);
                continue;
            }
            for line in block.lines() {
                let line = line.trim_start_matches(['$', '#']).trim_start();
                if line.starts_with("doorkey ") {
                    check(line, true, &place);
                    count += 1;
                }
            }
        }
        for line in in_backticks(&prose) {
            check(&line, false, &place);
            count += 1;
        }
    }
    assert!(count > 50, "{count}");
}

#[test]
fn command_lines_in_messages_and_comments_parse() {
    let mut count = 0;
    for directory in ["crates", "src"] {
        for path in files(&root().join(directory), "rs") {
            if path.ends_with("tests/command_line.rs") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let place = path.display().to_string();
            let mut joined = String::new();
            for line in text.lines() {
                let line = line.trim_start();
                let comment = ["//! ", "/// ", "// "];
                let comment = comment.iter().find_map(|sign| line.strip_prefix(sign));
                match comment.unwrap_or(line).strip_suffix('\\') {
                    Some(line) => joined.push_str(line),
                    None => {
                        joined.push_str(comment.unwrap_or(line));
                        joined.push('\n');
                    }
                }
            }
            for line in in_backticks(&joined) {
                check(&formatted(&line), false, &place);
                count += 1;
            }
            for rest in joined.split("\"doorkey ").skip(1) {
                let line = rest.split('"').next().unwrap();
                if line.starts_with(char::is_lowercase) && !line.contains("sealed v1") {
                    check(&formatted(&format!("doorkey {line}")), false, &place);
                    count += 1;
                }
            }
        }
    }
    assert!(count > 20, "{count}");
}

/// Replaces the arguments of a format string by values.
fn formatted(line: &str) -> String {
    let (mut out, mut rest) = (String::new(), line);
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else {
            break;
        };
        out.push_str(before);
        out.push_str(match name {
            "claim" => "CLAIM",
            "" => "TZBV",
            _ => "x1",
        });
        rest = after;
    }
    out.push_str(rest);
    out
}
