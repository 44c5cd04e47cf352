//! The command line of `doorward`: one grammar for all commands, examples that parse, and the
//! command lines that documents and messages quote.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{Arg, Command, CommandFactory};

/// Commands that use neither the configuration nor the state directory.
const WITHOUT_FILES: [&str; 1] = ["demo"];
/// Commands without `--json`: the daemon prints its own log, `export` has `--format`.
const WITHOUT_JSON: [&str; 2] = ["run", "export"];

fn doorward() -> Command {
    let mut command = doorward::cli::Cli::command();
    command.build();
    command
}

/// Every command and subcommand with its path, such as `["events", "list"]`.
fn all_commands() -> Vec<(Vec<String>, Command)> {
    fn walk(path: &[String], command: &Command, found: &mut Vec<(Vec<String>, Command)>) {
        found.push((path.to_vec(), command.clone()));
        for below in command.get_subcommands() {
            if below.get_name() != "help" {
                let path = [path, &[below.get_name().to_owned()]].concat();
                walk(&path, below, found);
            }
        }
    }
    let mut found = Vec::new();
    walk(&[], &doorward(), &mut found);
    found
}

/// Those that do something themselves, without further subcommands.
fn leaves() -> impl Iterator<Item = (Vec<String>, Command)> {
    all_commands()
        .into_iter()
        .filter(|(_, command)| !command.has_subcommands())
}

fn option<'a>(command: &'a Command, long: &str) -> Option<&'a Arg> {
    command
        .get_arguments()
        .find(|arg| arg.get_long() == Some(long))
}

#[test]
fn every_command_has_examples_that_parse() {
    doorward::cli::Cli::command().debug_assert();
    for (path, command) in all_commands() {
        let text = command.get_after_long_help().map(ToString::to_string);
        let text = text.unwrap_or_default();
        let examples = text.strip_prefix("Examples:\n");
        let examples = examples.unwrap_or_else(|| panic!("{path:?} has no examples: {text}"));
        let own = ["doorward".to_owned()].into_iter().chain(path.clone());
        let own = own.collect::<Vec<_>>().join(" ");
        for line in examples.lines() {
            let line = line.trim();
            assert!(line.starts_with(&own), "{path:?}: {line}");
            parse(&shell_words(line), false).unwrap_or_else(|why| panic!("{line}: {why}"));
        }
    }
}

#[test]
fn help_texts_begin_with_an_imperative() {
    for (path, command) in all_commands().into_iter().skip(1) {
        let about = command.get_about().map(ToString::to_string);
        let about = about.unwrap_or_else(|| panic!("{path:?} has no help text"));
        let verb = about.split_whitespace().next().unwrap();
        let known = [
            "Check",
            "Delete",
            "Demonstrate",
            "Export",
            "Find",
            "Import",
            "List",
            "Provision",
            "Reset",
            "Run",
            "Show",
            "Show,",
            "Verify",
        ];
        assert!(known.contains(&verb), "{path:?}: {about}");
    }
}

#[test]
fn every_command_takes_the_same_files_and_prints_json() {
    for (path, command) in leaves() {
        let name = command.get_name();
        for long in ["config", "state"] {
            let wanted = !WITHOUT_FILES.contains(&name);
            assert_eq!(
                option(&command, long).is_some(),
                wanted,
                "{path:?} --{long}"
            );
        }
        let wanted = !WITHOUT_JSON.contains(&name);
        assert_eq!(
            option(&command, "json").is_some(),
            wanted,
            "{path:?} --json"
        );
    }
}

#[test]
fn no_option_is_global() {
    for (path, command) in all_commands() {
        let own = command.get_arguments();
        for arg in own.filter(|arg| !["help", "version"].contains(&arg.get_id().as_str())) {
            assert!(!arg.is_global_set(), "{path:?} {arg}");
            assert!(!command.has_subcommands(), "{path:?} {arg}");
        }
    }
}

/// One name for one thing: what an option takes is named after it.
#[test]
fn an_option_name_has_one_meaning() {
    for (path, command) in leaves() {
        for arg in command.get_arguments() {
            let long = arg.get_long().unwrap_or_default();
            let values = arg.get_value_names().unwrap_or_default();
            let value = values.first().map(|it| it.as_str()).unwrap_or_default();
            let allowed: &[&str] = match long {
                "config" | "key" | "public-key" | "ca" | "password-file" => &["FILE"],
                "state" => &["DIR"],
                "device" => &["ID"],
                "for" => &["DURATION"],
                "until" => &["TIME"],
                _ if long.ends_with("-key") || long.ends_with("certificate") => &["FILE"],
                _ => continue,
            };
            assert!(allowed.contains(&value), "{path:?} --{long} {value}");
        }
    }
}

#[test]
fn every_quoted_command_line_parses() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![root.join("README.md"), root.join("config/doorward.toml")];
    for (directory, extension) in [("docs", "md"), ("src", "rs"), ("crates", "rs")] {
        find(&root.join(directory), extension, &mut files);
    }
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let in_code = file.extension().is_some_and(|it| it == "rs");
        for quoted in quoted_commands(&text, in_code) {
            if let Err(why) = parse(&quoted, true) {
                let file = file.strip_prefix(root).unwrap().display();
                wrong.push(format!("{file}: {}: {why}", quoted.join(" ")));
            }
            seen.insert(quoted.get(1).cloned().unwrap_or_default());
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for command in ["run", "doctor", "provision", "status", "import", "events"] {
        assert!(
            seen.contains(command),
            "{command} is quoted nowhere: {seen:?}"
        );
    }
}

#[test]
fn command_lines_are_found_in_prose_in_blocks_and_in_code() {
    let of = |text: &str, in_code| -> Vec<String> {
        let found = quoted_commands(text, in_code);
        found.iter().map(|words| words.join(" ")).collect()
    };
    let prose = "Run `doorward events\nlist --json`; the doorward daemon, or doorward run.";
    assert_eq!(
        of(prose, false),
        ["doorward events list --json", "doorward run"]
    );
    let block = "$ doorward provision --local URL \\\n    --device ID | tee x\n# doorward doctor\n";
    let lines = [
        "doorward provision --local URL --device ID",
        "doorward doctor",
    ];
    assert_eq!(of(block, false), lines);
    let code = "let why = \"Next: doorward events \\\n            trim, or doorward status.\";";
    assert_eq!(of(code, true), ["doorward events trim", "doorward status"]);
    assert!(parse(&shell_words("doorward status --stat"), true).is_err());
    assert!(parse(&shell_words("doorward import"), true).is_ok());
    assert!(parse(&shell_words("doorward import"), false).is_err());
}

fn find(directory: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find(&path, extension, found);
        } else if path.extension().is_some_and(|it| it == extension) {
            found.push(path);
        }
    }
}

/// The command lines of `doorward` in a text. In backticks and at the beginning of a line they are
/// complete; elsewhere the command is followed by options and capitals only.
fn quoted_commands(text: &str, in_code: bool) -> Vec<Vec<String>> {
    let text = join_lines(text);
    let known: Vec<String> = doorward()
        .get_subcommands()
        .map(|it| it.get_name().to_owned())
        .chain(["--help".to_owned(), "--version".to_owned()])
        .collect();
    let mut found = Vec::new();
    for (at, name) in text.match_indices("doorward ") {
        let before = text[..at].chars().next_back();
        if before.is_some_and(|it| it.is_alphanumeric() || ['-', '.', '_', ':'].contains(&it)) {
            continue;
        }
        let rest = &text[at + name.len()..];
        let first = rest.split_whitespace().next().unwrap_or_default();
        let first = first.trim_end_matches(|it: char| !it.is_alphanumeric());
        if !known.iter().any(|it| it == first) {
            continue;
        }
        let line_start = text[..at].rfind('\n').map_or(0, |it| it + 1);
        let leading = text[line_start..at].trim();
        let words = if before == Some('`') {
            let span = rest.split('`').next().unwrap_or_default();
            shell_words(&format!("doorward {}", span.replace('\n', " ")))
        } else if !in_code && ["", "$", "#"].contains(&leading) {
            let line = rest.lines().next().unwrap_or_default();
            shell_words(&format!("doorward {line}"))
        } else {
            words_in_prose(rest.lines().next().unwrap_or_default())
        };
        found.push(words);
    }
    found
}

/// Joins lines that a backslash or a comment in Rust has cut.
fn join_lines(text: &str) -> String {
    let mut joined = String::new();
    for line in text.lines() {
        let trimmed = line.trim_start();
        let comment = ["///", "//!", "//"]
            .iter()
            .find_map(|mark| trimmed.strip_prefix(mark));
        match comment {
            Some(rest) => joined.push_str(rest),
            None => joined.push_str(line),
        }
        if joined.ends_with('\\') {
            joined.pop();
            joined.push(' ');
        } else {
            joined.push('\n');
        }
    }
    joined
}

/// The words of a command in prose: subcommands, options with their values, and capitals.
fn words_in_prose(text: &str) -> Vec<String> {
    let mut command = doorward();
    let mut words = vec!["doorward".to_owned()];
    let mut takes_value = false;
    for token in text.split_whitespace() {
        let word = token.trim_end_matches(|it: char| ".,;:)]'\"!?`\\".contains(it));
        let below = command.find_subcommand(word).cloned();
        let placeholder = !word.is_empty()
            && (word.starts_with('{') || word.chars().all(|it| it.is_ascii_uppercase()));
        if let Some(below) = below {
            command = below;
        } else if let Some(long) = word.strip_prefix("--") {
            let arg = option(&command, long);
            takes_value = arg.is_some_and(|arg| arg.get_action().takes_values());
            words.push(word.to_owned());
            if word != token {
                break;
            }
            continue;
        } else if !takes_value && !placeholder {
            break;
        }
        takes_value = false;
        words.push(word.to_owned());
        if word != token {
            break;
        }
    }
    if takes_value {
        words.push("x".to_owned());
    }
    words
}

/// The words of a shell command up to its end, without brackets around optional parts.
fn shell_words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for it in line.chars() {
        match (quote, it) {
            (Some(open), it) if open == it => quote = None,
            (Some(_), it) => word.get_or_insert_default().push(it),
            (None, '\'' | '"') => {
                quote = Some(it);
                word.get_or_insert_default();
            }
            (None, '|' | '&' | ';' | '>' | '<') => break,
            (None, '#') if word.is_none() => break,
            (None, '[' | ']') => {}
            (None, it) if it.is_whitespace() => words.extend(word.take()),
            (None, it) => word.get_or_insert_default().push(it),
        }
    }
    words.extend(word);
    words.retain(|word| word != "...");
    words
}

/// Parses a command line, with plausible values for placeholders. The mention of a command need not
/// be complete.
fn parse(words: &[String], may_be_mention: bool) -> Result<(), String> {
    let values = words.iter().map(|word| match word.as_str() {
        "URL" => "mqtt://127.0.0.1:1883".to_owned(),
        "ADDRESS" => "127.0.0.1:8883".to_owned(),
        "SEQ" | "SECONDS" => "7".to_owned(),
        "SIZE:HASH" => format!("7:{}", "0".repeat(64)),
        "FORMAT" => "csv".to_owned(),
        word if word.contains(['{', '$']) => "x".to_owned(),
        word => word.to_owned(),
    });
    let error = match doorward::cli::Cli::command().try_get_matches_from(values) {
        Ok(_) => return Ok(()),
        Err(error) => error,
    };
    let is_mention = may_be_mention && !words.iter().any(|word| word.starts_with('-'));
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Ok(()),
        ErrorKind::MissingRequiredArgument
        | ErrorKind::MissingSubcommand
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            if is_mention =>
        {
            Ok(())
        }
        _ => Err(error.to_string()),
    }
}
