//! The commands in README.md work, and print the output that it shows.

use doorward_testkit::site;

use std::path::Path;
use std::process::Command;

use site::{DOORKEY, free_port};

/// The code block under a heading.
fn block(heading: &str) -> String {
    let page = doorward_testkit::root().join("README.md");
    let page = std::fs::read_to_string(page).unwrap();
    let section = page.split(heading).nth(1).unwrap();
    let block = section.split("```").nth(1).unwrap();
    let (_, block) = block.split_once('\n').unwrap();
    block.to_owned()
}

#[test]
fn the_block_of_the_readme_can_be_pasted_whole_and_prints_what_it_shows() {
    let directory = tempfile::tempdir().unwrap();
    let block = block("## By hand");
    // The port of the page may be in use where tests run in parallel.
    let port = free_port().to_string();
    let block = block.replace("18830", &port);
    let shown = block.lines().filter_map(|line| line.strip_prefix("# "));
    let bin = Path::new(DOORKEY).parent().unwrap();
    let script = directory.path().join("pasted");
    std::fs::write(&script, &block).unwrap();
    // As at a prompt: commands from standard input, with job control.
    let out = Command::new("bash")
        .args(["-m", "-s"])
        .stdin(std::fs::File::open(&script).unwrap())
        .current_dir(directory.path())
        .env("HOME", directory.path())
        .env("BIN", bin)
        .output()
        .unwrap();
    let stdout = String::from_utf8(out.stdout).unwrap();
    let stderr = String::from_utf8(out.stderr).unwrap();
    let mut rest = stdout.as_str();
    for line in shown {
        let at = rest.find(line.trim_end());
        let at = at.unwrap_or_else(|| panic!("not printed: {line}\n{stdout}\n{stderr}"));
        rest = &rest[at + line.trim_end().len()..];
    }
    assert!(rest.contains("unbroken"), "{stdout}\n{stderr}");
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
    let shown = block("## See it");
    let shown = shown.lines().filter(|line| !line.starts_with("$ "));
    let real: Vec<_> = real.lines().map(words).collect();
    for line in shown.filter(|line| !line.is_empty()) {
        assert!(
            real.contains(&words(line)),
            "the demo does not print: {line}"
        );
    }
}
