//! Names of all tests, for the tables in `docs/`.

use std::collections::BTreeSet;
use std::path::Path;

/// Directories with tests, and with code that has tests beside it.
const DIRECTORIES: [&str; 3] = ["tests", "crates", "src"];

/// Returns the names of all tests.
pub fn of_all_tests() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut names = BTreeSet::new();
    for directory in DIRECTORIES {
        find(&root.join(directory), &mut names);
    }
    names
}

fn find(directory: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find(&path, names);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            // The `#[test]` attribute, possibly further attributes, then the name.
            for after in text.split("test]\n").skip(1) {
                let mut lines = after.lines().skip_while(|line| !line.contains("fn "));
                let name = lines.next().and_then(|line| line.split("fn ").nth(1));
                names.extend(name.and_then(|n| n.split('(').next()).map(str::to_owned));
            }
            // The stories of the sharing service, each of them a test on two databases.
            let stories = text.split("\nstories! {\n").nth(1).unwrap_or_default();
            let stories = stories
                .lines()
                .map_while(|line| line.trim().strip_suffix(','));
            let stories = stories.filter_map(|story| story.split_once("::"));
            names.extend(stories.map(|(_, name)| name.to_owned()));
        }
    }
}
