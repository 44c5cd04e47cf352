//! The configuration file of doorkey: profiles with the options that every command would repeat.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use doorward_terminal::{CliError, exit_status};
use doorward_transport::BrokerUrl;
use serde::{Deserialize, Deserializer};

/// Largest configuration file, in bytes.
const MAX_SIZE: u64 = 1 << 16;
/// Name of the profile that is used if none is chosen.
const DEFAULT: &str = "default";

/// Options that a profile can set. Relative paths start at the directory of the file.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Profile {
    /// `--broker`.
    #[serde(deserialize_with = "broker_url")]
    pub(crate) broker: Option<BrokerUrl>,
    /// `--ca`.
    pub(crate) ca: Option<PathBuf>,
    /// `--certificate`.
    pub(crate) certificate: Option<PathBuf>,
    /// `--certificate-key`.
    pub(crate) certificate_key: Option<PathBuf>,
    /// `--server-name`.
    pub(crate) server_name: Option<String>,
    /// `--user`.
    pub(crate) user: Option<String>,
    /// `--password-file`.
    pub(crate) password_file: Option<PathBuf>,
    /// `--issuer`.
    pub(crate) issuer: Option<PathBuf>,
    /// `--database`.
    pub(crate) database: Option<String>,
    /// `--key` of the commands that act for an account.
    pub(crate) key: Option<PathBuf>,
    /// `--service`.
    pub(crate) service: Option<String>,
}

fn broker_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<BrokerUrl>, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

/// The file: a `[default]` table and one `[profile.NAME]` table for each named profile.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Profiles {
    default: Option<Profile>,
    profile: BTreeMap<String, Profile>,
}

/// `--profile`.
#[derive(Debug, clap::Args)]
pub(crate) struct ProfileArgs {
    /// Profile of the configuration file ~/.config/doorkey/config.toml that sets missing options
    /// [default: its table `default`]
    #[arg(long, value_name = "NAME", env = "DOORKEY_PROFILE")]
    profile: Option<String>,
}

impl ProfileArgs {
    /// Reads the chosen profile; an empty one if none was chosen and there is no file.
    pub(crate) fn load(&self) -> Result<Profile, CliError> {
        let path = config_file();
        read_profile(path.as_deref(), self.profile.as_deref())
    }
}

/// Path of the configuration file, by the XDG base directory specification.
fn config_file() -> Option<PathBuf> {
    let base = match std::env::var_os("XDG_CONFIG_HOME").filter(|path| !path.is_empty()) {
        Some(base) => PathBuf::from(base),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".config"),
    };
    Some(base.join("doorkey/config.toml"))
}

fn read_profile(path: Option<&Path>, name: Option<&str>) -> Result<Profile, CliError> {
    let missing = |name: &str, place: String| {
        CliError::new(
            exit_status::CONFIG,
            format!("no profile `{name}` in {place}"),
        )
        .with_remedy(format!(
            "Add a table [profile.{name}] to the file, or choose another."
        ))
    };
    let text = match path {
        Some(path) => read_config(path)?.map(|text| (path, text)),
        None => None,
    };
    let Some((path, text)) = text else {
        return match name {
            Some(name) if name != DEFAULT => {
                let place = path.unwrap_or(Path::new("~/.config/doorkey/config.toml"));
                Err(missing(name, format!("{} (no such file)", place.display())))
            }
            _ => Ok(Profile::default()),
        };
    };
    let mut profiles: Profiles = toml::from_str(&text).map_err(|error| {
        let message = format!("{}: {}", path.display(), error.to_string().trim_end());
        CliError::new(exit_status::CONFIG, message).with_remedy("Correct the line, or remove it.")
    })?;
    let mut profile = match name {
        None | Some(DEFAULT) => profiles.default.unwrap_or_default(),
        Some(name) => profiles
            .profile
            .remove(name)
            .ok_or_else(|| missing(name, path.display().to_string()))?,
    };
    let directory = path.parent().unwrap_or(Path::new("."));
    for file in [
        &mut profile.ca,
        &mut profile.certificate,
        &mut profile.certificate_key,
        &mut profile.password_file,
        &mut profile.issuer,
        &mut profile.key,
    ]
    .into_iter()
    .flatten()
    {
        *file = absolute(directory, file);
    }
    Ok(profile)
}

/// Resolves `~/` and paths relative to `directory`.
fn absolute(directory: &Path, path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), std::env::var_os("HOME")) {
        (Ok(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => directory.join(path),
    }
}

/// The text of the configuration file; `None` if there is none. A file that other users can write
/// is refused: it chooses the keys and brokers of every command.
fn read_config(path: &Path) -> Result<Option<String>, CliError> {
    let error = |error: std::io::Error| {
        CliError::new(
            exit_status::CONFIG,
            format!("cannot read {}: {error}", path.display()),
        )
    };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(error(why)),
    };
    let mode = file.metadata().map_err(error)?.permissions().mode();
    if mode & 0o022 != 0 {
        let why = format!("{} can be changed by other users", path.display());
        return Err(CliError::new(exit_status::CONFIG, why)
            .with_remedy(format!("Run `chmod go-w {}`.", path.display())));
    }
    let mut text = String::new();
    file.take(MAX_SIZE)
        .read_to_string(&mut text)
        .map_err(error)?;
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        (directory, path)
    }

    const TWO: &str = "[default]\nissuer = \"acme\"\n\
                       [profile.lab]\nbroker = \"mqtt://lab\"\nkey = \"/keys/ole.key\"\n";

    #[test]
    fn profiles_are_chosen_by_name_and_paths_start_at_the_file() {
        let (directory, path) = written(TWO, 0o600);
        let default = read_profile(Some(&path), None).unwrap();
        assert_eq!(default.issuer, Some(directory.path().join("acme")));
        assert_eq!(default.broker, None);
        let lab = read_profile(Some(&path), Some("lab")).unwrap();
        assert_eq!(lab.broker, Some("mqtt://lab".parse().unwrap()));
        assert_eq!(lab.key, Some(PathBuf::from("/keys/ole.key")));
        assert_eq!(lab.issuer, None);
        let none = read_profile(Some(&path), Some("office")).unwrap_err();
        assert!(
            none.message.contains("no profile `office`"),
            "{}",
            none.message
        );
    }

    #[test]
    fn a_wrong_key_is_reported_with_its_line() {
        for text in [
            "[default]\nissuer = \"acme\"\nbrokr = \"mqtt://lab\"\n",
            "[default]\nissuer = \"acme\"\nbroker = \"http://lab\"\n",
        ] {
            let (_directory, path) = written(text, 0o600);
            let error = read_profile(Some(&path), None).unwrap_err();
            assert!(error.message.contains("line 3"), "{}", error.message);
            assert_eq!(error.exit, exit_status::CONFIG);
        }
    }

    #[test]
    fn a_file_that_others_can_write_is_refused_and_no_file_is_an_empty_profile() {
        let (directory, path) = written(TWO, 0o620);
        assert!(read_profile(Some(&path), None).is_err());
        let missing = directory.path().join("missing.toml");
        assert!(read_profile(Some(&missing), None).unwrap().issuer.is_none());
        assert!(read_profile(Some(&missing), Some("lab")).is_err());
    }
}
