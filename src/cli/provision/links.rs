//! The configuration of a new device: the shipped file, and a drop-in file with the links.

use std::path::{Path, PathBuf};

use crate::cli::DEFAULT_STATE;
use crate::cli::provision::options::{Answers, Provision};
use crate::config;
use crate::config::Config;
use doorward_terminal::{CliError, exit_status};
use doorward_transport::files;

/// The shipped configuration; its state directory is [`DEFAULT_STATE`].
const SHIPPED: &str = include_str!("../../../config/doorward.toml");
/// The drop-in file that only `doorward provision` writes.
const DROP_IN: &str = "provisioned.toml";

/// The files that provisioning writes.
pub(super) struct ConfigTarget {
    pub(super) state: PathBuf,
    /// The configuration file; `None` if no configuration is written.
    config: Option<PathBuf>,
    /// Whether that file exists.
    exists: bool,
    /// Whether the configuration has no link yet.
    lacks_a_link: bool,
}

/// A configuration file with its new text.
pub(super) struct LinkChange {
    pub(super) path: PathBuf,
    text: String,
}

impl ConfigTarget {
    pub(super) fn of(args: &Provision) -> Result<Self, CliError> {
        let files = &args.files;
        let path = match (&files.config, &files.state) {
            (None, Some(state)) => {
                return Ok(Self {
                    state: state.clone(),
                    config: None,
                    exists: false,
                    lacks_a_link: false,
                });
            }
            _ => files.config_path().to_owned(),
        };
        let exists = path.exists();
        let mut target = Self {
            state: files.state.clone().unwrap_or_else(|| DEFAULT_STATE.into()),
            config: Some(path.clone()),
            exists,
            lacks_a_link: true,
        };
        if exists {
            // A configuration without links is invalid: try it with one.
            let with_link = (
                drop_in(&path),
                "[links.local]\nurl = \"mqtt://127.0.0.1\"\n".to_owned(),
            );
            let config = Config::load(&path);
            target.lacks_a_link = config.is_err();
            let config = config.or_else(|_| Config::load_with(&path, &[with_link]));
            let state = config
                .map_err(|error| CliError::new(exit_status::CONFIG, error))?
                .state;
            if files.state.as_ref().is_some_and(|given| *given != state) {
                let why = format!(
                    "{} names another state directory: {}",
                    path.display(),
                    state.display()
                );
                return Err(CliError::new(exit_status::USAGE, why).with_remedy("Omit --state."));
            }
            target.state = state;
        }
        Ok(target)
    }

    pub(super) fn config(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    pub(super) fn lacks_a_link(&self) -> bool {
        self.lacks_a_link
    }

    /// The files whose text has to change, checked together.
    pub(super) fn changes(&self, answers: &Answers) -> Result<Vec<LinkChange>, CliError> {
        let Some(path) = &self.config else {
            return match answers.names_a_link() {
                true => Err(CliError::new(
                    exit_status::USAGE,
                    "--state without --config writes no links",
                )
                .with_remedy("Add --config FILE.")),
                false => Ok(Vec::new()),
            };
        };
        let mut changes = Vec::new();
        if !self.exists {
            let line = |state: &str| format!("state = {}\n", quoted(state));
            let here = line(&self.state.display().to_string());
            let text = SHIPPED.replacen(&line(DEFAULT_STATE), &here, 1);
            changes.push((path.clone(), text));
        }
        if answers.names_a_link() {
            let before = std::fs::read_to_string(drop_in(path)).unwrap_or_default();
            changes.push((drop_in(path), links(answers, &before)));
        }
        changes.retain(|(path, text)| std::fs::read(path).ok().as_deref() != Some(text.as_bytes()));
        Config::load_with(path, &changes)
            .map_err(|error| CliError::new(exit_status::CONFIG, error))?;
        let changes = changes.into_iter();
        Ok(changes
            .map(|(path, text)| LinkChange { path, text })
            .collect())
    }
}

impl LinkChange {
    /// The new text, if it is short enough to show.
    pub(super) fn shown(&self) -> Option<&str> {
        (self.text.len() < 4096).then_some(&self.text)
    }

    /// Writes the file, with the owner and group of its directory.
    pub(super) fn write(&self) -> Result<(), CliError> {
        let directory = self.path.parent().filter(|it| !it.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new("."));
        let above = directory.parent().unwrap_or(Path::new("/"));
        if !directory.exists() {
            files::create_directory(directory, 0o750)?;
            if above.exists() {
                files::give_to_owner_of(above, directory)?;
            }
        }
        files::replace(&self.path, self.text.as_bytes(), 0o640)?;
        files::give_to_owner_of(directory, &self.path)?;
        Ok(())
    }
}

fn drop_in(path: &Path) -> PathBuf {
    config::directory_of(path).join(DROP_IN)
}

/// Removes the drop-in file with the links.
pub(super) fn forget(config: &Path) -> Result<(), CliError> {
    Ok(files::remove(&drop_in(config))?)
}

/// The text of the drop-in file. Links that are not given are kept as in `before`.
fn links(answers: &Answers, before: &str) -> String {
    let mut text =
        "# Written by `doorward provision` each time it is called with links. Links not given on\n\
                    # the command line are kept. Put your own settings in another file in this\n\
                    # directory.\n"
            .to_owned();
    let path = |path: &PathBuf| path.display().to_string();
    let mut table = |name: &str, fields: &[(&str, Option<String>)]| {
        text.push_str(&format!("\n[{name}]\n"));
        for (field, value) in fields {
            if let Some(value) = value {
                text.push_str(&format!("{field} = {}\n", quoted(value)));
            }
        }
    };
    if let Some(url) = &answers.cloud {
        table(
            "links.cloud",
            &[
                ("url", Some(url.to_string())),
                ("user", answers.user.clone()),
                ("password_file", answers.password_file.as_ref().map(path)),
                ("tls.ca", answers.ca.as_ref().map(path)),
                ("tls.certificate", answers.certificate.as_ref().map(path)),
                ("tls.key", answers.certificate_key.as_ref().map(path)),
            ],
        );
    }
    if let Some(url) = &answers.local {
        table("links.local", &[("url", Some(url.to_string()))]);
    }
    if let Some(address) = &answers.listen {
        table(
            "links.listener",
            &[
                ("address", Some(address.to_string())),
                ("certificate", answers.listen_certificate.as_ref().map(path)),
                ("key", answers.listen_key.as_ref().map(path)),
            ],
        );
    }
    let named = [
        ("[links.cloud]", answers.cloud.is_some()),
        ("[links.local]", answers.local.is_some()),
        ("[links.listener]", answers.listen.is_some()),
    ];
    for (header, _) in named.iter().filter(|(_, named)| !named) {
        if let Some(section) = section(before, header) {
            text.push_str(&format!("\n{}\n", section.trim_end()));
        }
    }
    text
}

/// The lines of a TOML table, from its header to the next header.
fn section<'a>(text: &'a str, header: &str) -> Option<&'a str> {
    let start = text.find(header)?;
    let from = text.get(start..)?;
    let end = from.find("\n[").map_or(from.len(), |end| end + 1);
    from.get(..end)
}

/// A TOML basic string; its escapes are those of JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_written_as_they_are_read() {
        let answers = Answers {
            cloud: Some("mqtts://broker.example".parse().unwrap()),
            user: Some("a \"b\" \\ \n ü".into()),
            password_file: Some("/etc/doorward/x".into()),
            local: Some("mqtt://127.0.0.1:1884".parse().unwrap()),
            ca: Some("/etc/doorward/ca.pem".into()),
            ..Answers::default()
        };
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("doorward.toml");
        let files = [
            (path.clone(), SHIPPED.to_owned()),
            (drop_in(&path), links(&answers, "")),
        ];
        let config = Config::load_with(&path, &files).unwrap();
        let cloud = config.links.cloud.unwrap();
        assert_eq!(cloud.user, answers.user);
        assert_eq!(cloud.tls.ca, answers.ca);
        assert_eq!(Some(config.links.local.unwrap().url), answers.local);
    }

    #[test]
    fn a_link_that_is_not_named_stays_as_it_was() {
        let cloud = Answers {
            cloud: Some("mqtts://broker.example".parse().unwrap()),
            ca: Some("/etc/doorward/ca.pem".into()),
            ..Answers::default()
        };
        let local = |url: &str| Answers {
            local: Some(url.parse().unwrap()),
            ..Answers::default()
        };
        let both = links(&local("mqtt://127.0.0.1"), &links(&cloud, ""));
        assert!(
            both.contains("[links.cloud]\nurl = \"mqtts://broker.example"),
            "{both}"
        );
        assert!(both.contains("tls.ca = "), "{both}");
        let again = links(&local("mqtt://127.0.0.1:1884"), &both);
        assert_eq!(again.matches("[links.local]").count(), 1, "{again}");
        assert_eq!(again.matches("[links.cloud]").count(), 1, "{again}");
        assert!(again.contains(":1884"), "{again}");
    }
}
