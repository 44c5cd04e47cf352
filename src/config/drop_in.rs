//! The text of a configuration: the file and the drop-in files in the directory beside it, such as
//! `doorward.d/*.toml` for `doorward.toml`. Drop-in files are read in the order of their names, as
//! if they were appended to the file. Duplicate tables and keys are refused.

use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Maximum size of a file, in bytes.
const MAX_SIZE: u64 = 1 << 20;
/// Maximum number of drop-in files.
const MAX_FILES: usize = 64;

/// The complete text, with the file that each byte comes from.
pub(super) struct ConfigText {
    pub(super) text: String,
    files: Vec<(PathBuf, Range<usize>)>,
}

/// An error: the file, and what is wrong with it.
type LocatedError = (PathBuf, String);

impl ConfigText {
    /// Reads the file and its drop-in files. The texts in `written` count as if they had been
    /// written to these paths already.
    pub(super) fn read(path: &Path, written: &[(PathBuf, String)]) -> Result<Self, LocatedError> {
        let mut config = Self {
            text: String::new(),
            files: Vec::new(),
        };
        let read = |path: &Path| match written.iter().find(|(written, _)| written == path) {
            Some((_, text)) => Ok(text.clone()),
            None => read_private(path).map_err(|why| (path.to_owned(), why)),
        };
        config.add(path.to_owned(), &read(path)?);
        let directory = directory_of(path);
        let mut names = list(&directory).map_err(|why| (directory.clone(), why))?;
        let new = written.iter().map(|(path, _)| path);
        names.extend(
            new.filter(|path| path.parent() == Some(&directory))
                .cloned(),
        );
        names.sort();
        names.dedup();
        for name in names {
            let text = read(&name)?;
            if let Err(why) = only_tables(&text) {
                return Err((name, why));
            }
            config.add(name, &text);
        }
        Ok(config)
    }

    fn add(&mut self, path: PathBuf, text: &str) {
        let start = self.text.len();
        self.text.push_str(text);
        self.text.push('\n');
        self.files.push((path, start..self.text.len()));
    }

    /// Returns the file that `error` is in, and the error with the line number in that file.
    pub(super) fn locate_error(&self, error: &toml::de::Error) -> LocatedError {
        let main = || self.files.first().map(|(path, _)| path.clone());
        let at = error.span().map_or(0, |span| span.start);
        let file = self.files.iter().find(|(_, range)| range.contains(&at));
        match file {
            // The library's own line number counts from the beginning of the complete text.
            Some((path, range)) if range.start > 0 => {
                let before = self.text.get(range.start..at).unwrap_or_default();
                let line = before.matches('\n').count() + 1;
                (path.clone(), format!("line {line}: {}", error.message()))
            }
            _ => (main().unwrap_or_default(), error.to_string()),
        }
    }
}

/// The directory of the drop-in files of a configuration.
#[must_use]
pub fn directory_of(path: &Path) -> PathBuf {
    path.with_extension("d")
}

/// Refuses keys outside of a table: they would belong to the last table of the file before.
fn only_tables(text: &str) -> Result<(), String> {
    let table: toml::Table = toml::from_str(text).map_err(|error| error.to_string())?;
    match table.iter().find(|(_, value)| !value.is_table()) {
        None => Ok(()),
        Some((key, _)) => Err(format!(
            "`{key}` is in no [table]; only the main file may have such keys"
        )),
    }
}

fn list(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.to_string()),
    };
    check_private(directory)?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| error.to_string())?.path();
        if path.extension().is_some_and(|it| it == "toml") {
            names.push(path);
        }
        if names.len() > MAX_FILES {
            return Err(format!("more than {MAX_FILES} drop-in files"));
        }
    }
    Ok(names)
}

/// Reads a file that must not be writable by all users, since it decides who may do what.
fn read_private(path: &Path) -> Result<String, String> {
    if check_private(path)? > MAX_SIZE {
        return Err("the file is larger than 1 MiB".into());
    }
    std::fs::read_to_string(path).map_err(|e| e.to_string())
}

/// Returns the size of a file or directory, and refuses one that all users may write to.
fn check_private(path: &Path) -> Result<u64, String> {
    let metadata = std::fs::metadata(path).map_err(|e| e.to_string())?;
    if metadata.mode() & 0o002 != 0 {
        return Err("all users may write to it; run chmod o-w".into());
    }
    Ok(metadata.len())
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    const MAIN: &str = "state = \"/var/lib/doorward\"\n[links.local]\nurl = \"mqtt://127.0.0.1\"\n";

    fn load(parts: &[(&str, &str)]) -> Result<Config, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("doorward.toml");
        std::fs::write(&path, MAIN).unwrap();
        let beside = directory_of(&path);
        std::fs::create_dir(&beside).unwrap();
        for (name, text) in parts {
            std::fs::write(beside.join(name), text).unwrap();
        }
        Config::load(&path).map_err(|e| e.to_string())
    }

    #[test]
    fn parts_count_as_if_they_stood_in_the_file() {
        let reads = "[operations.\"status.read\"]\nclass = \"read\"\nhandler = \"builtin\"\n";
        let cloud = "[links.cloud]\nurl = \"mqtts://broker.example\"\n";
        let config = load(&[("b.toml", reads), ("a.toml", cloud), ("c.txt", "no = toml")]).unwrap();
        assert_eq!(config.operations.len(), 1);
        assert!(config.links.cloud.is_some() && config.links.local.is_some());
    }

    #[test]
    fn a_fault_in_a_part_is_named_with_its_file_and_line() {
        let error = load(&[
            ("a.toml", "[log]\nlimit_mib = 8\n"),
            ("b.toml", "\n[log]\n"),
        ]);
        let error = error.unwrap_err();
        assert!(error.contains("doorward.d/b.toml: line 2: "), "{error}");
        let error = load(&[("a.toml", "\n\n[reboots]\nmost = \"x\"\n")]).unwrap_err();
        assert!(error.contains("doorward.d/a.toml: line 4: "), "{error}");
    }

    #[test]
    fn what_is_in_no_table_is_refused_in_a_part() {
        let error = load(&[("a.toml", "user = \"x\"\n")]).unwrap_err();
        assert!(error.contains("`user` is in no [table]"), "{error}");
    }

    #[test]
    fn a_directory_that_everybody_can_write_to_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("doorward.toml");
        std::fs::write(&path, MAIN).unwrap();
        let beside = directory_of(&path);
        std::fs::create_dir(&beside).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(&beside, mode).unwrap();
        let error = Config::load(&path).unwrap_err().to_string();
        assert!(error.contains("chmod o-w"), "{error}");
    }

    #[test]
    fn a_part_can_be_tried_before_it_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("doorward.toml");
        std::fs::write(&path, MAIN).unwrap();
        let part = directory_of(&path).join("provisioned.toml");
        let tried = |text: &str| Config::load_with(&path, &[(part.clone(), text.to_owned())]);
        assert!(tried("[links.cloud]\nurl = \"mqtts://broker.example\"\n").is_ok());
        let error = tried("[links.cloud]\nurl = \"http://x\"\n").unwrap_err();
        assert!(
            error.to_string().contains("provisioned.toml: line 2"),
            "{error}"
        );
    }
}
