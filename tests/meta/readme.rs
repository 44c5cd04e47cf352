//! The commands in README.md work, and print the output that it shows.

use doorward_testkit::site;

use std::path::Path;
use std::process::Command;

use site::{DOORKEY, Mosquitto};

/// Commands of the code block under a heading, each with the output that the page shows.
fn block(heading: &str) -> Vec<(String, Vec<String>)> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let page = std::fs::read_to_string(page).unwrap();
    let section = page.split(heading).nth(1).unwrap();
    let block = section.split("```").nth(1).unwrap();
    let mut commands: Vec<(String, Vec<String>)> = Vec::new();
    let mut in_document = false;
    for line in block.lines().skip(1) {
        match line.strip_prefix("$ ") {
            Some(command) => {
                in_document = command.contains("<<'END'");
                commands.push((command.to_owned(), Vec::new()));
            }
            None if in_document => {
                let command = &mut commands.last_mut().unwrap().0;
                command.push('\n');
                command.push_str(line);
                in_document = line != "END";
            }
            None => commands.last_mut().unwrap().1.push(line.to_owned()),
        }
    }
    commands
}

#[test]
fn the_commands_of_the_readme_do_what_it_shows() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start(directory.path(), "broker");
    let mut script = String::from("set -u\ntrap 'kill $(jobs -p)' EXIT\n");
    let commands = block("## By hand");
    assert!(commands.len() > 10);
    for (number, (command, _)) in commands.iter().enumerate() {
        // The test has started the broker on a free port.
        let command = match command.starts_with("mosquitto ") {
            true => "true",
            false => command,
        };
        script.push_str(&format!("echo '#### {number}'\n{command}\n"));
    }
    let script = script.replace(":1883", &format!(":{}", broker.port));
    let bin = Path::new(DOORKEY).parent().unwrap().display().to_string();
    let path = format!("{bin}:{}", std::env::var("PATH").unwrap());
    let out = Command::new("bash")
        .args(["-c", &script])
        .current_dir(directory.path())
        .env("HOME", directory.path())
        .env("PATH", path)
        .output()
        .unwrap();
    let stdout = String::from_utf8(out.stdout).unwrap();
    let stderr = String::from_utf8(out.stderr).unwrap();
    let mut rest = stdout.as_str();
    for (_, expected) in &commands {
        for line in expected {
            let at = rest.find(line.as_str());
            let at = at.unwrap_or_else(|| panic!("not printed: {line}\n{stdout}\n{stderr}"));
            rest = &rest[at + line.len()..];
        }
    }
    assert!(stdout.contains("unbroken"), "{stdout}\n{stderr}");
    assert!(!stderr.contains("error:"), "{stderr}");
}

/// Compares the rows of the demo, without their times.
#[test]
fn the_demo_in_the_readme_is_the_demo() {
    let out = Command::new(site::DOORWARD).arg("demo").output().unwrap();
    let real = String::from_utf8(out.stdout).unwrap();
    let words = |line: &str| -> Vec<String> {
        let line = line.split_once(" records").map_or(line, |(_, after)| after);
        let line = line.trim_end_matches(" ms");
        let timed = line
            .rsplit_once(' ')
            .filter(|(_, n)| n.parse::<f64>().is_ok());
        let line = timed.map_or(line, |(before, _)| before);
        line.split_whitespace().map(str::to_owned).collect()
    };
    let (_, shown) = block("## See it").remove(0);
    let real: Vec<_> = real.lines().map(words).collect();
    for line in shown.iter().filter(|line| !line.is_empty()) {
        assert!(
            real.contains(&words(line)),
            "the demo does not print: {line}"
        );
    }
}
