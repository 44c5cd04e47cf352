//! The options `--config` and `--state`, which name the device's files.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;

use crate::config::Config;
use doorward_terminal::{CliError, exit_status};
use doorward_transport::files;

/// Path of the configuration file without `--config`.
pub(super) const DEFAULT_CONFIG: &str = "/etc/doorward/doorward.toml";
/// State directory without `--state`, if there is no configuration.
pub(super) const DEFAULT_STATE: &str = "/var/lib/doorward";
/// The largest configuration file that is read, in bytes.
const MAX_CONFIG: u64 = 1 << 20;

// The configuration file and the state directory that a command uses.
// (A doc comment would become the help text of the commands.)
#[derive(Debug, Clone, Args)]
pub(super) struct DeviceFiles {
    /// Configuration file. Default: /etc/doorward/doorward.toml
    #[arg(long, value_name = "FILE", env = "DOORWARD_CONFIG")]
    pub(super) config: Option<PathBuf>,
    /// State directory, instead of the one that the configuration names.
    #[arg(long, value_name = "DIR")]
    pub(super) state: Option<PathBuf>,
}

impl DeviceFiles {
    /// The configuration file that is used.
    pub(super) fn config_path(&self) -> &Path {
        self.config.as_deref().unwrap_or(Path::new(DEFAULT_CONFIG))
    }

    /// Reads the configuration; `--state` replaces its state directory.
    pub(super) fn load(&self) -> Result<Config, CliError> {
        let mut config = Config::load(self.config_path())
            .map_err(|error| CliError::new(exit_status::CONFIG, error))?;
        if let Some(state) = &self.state {
            config.state.clone_from(state);
        }
        Ok(config)
    }

    /// The state directory, for commands that need nothing else of the configuration: faults in
    /// other parts of it do not matter.
    pub(super) fn state_dir(&self) -> Result<PathBuf, CliError> {
        #[derive(Deserialize)]
        struct StateOnly {
            state: PathBuf,
        }
        if let Some(state) = &self.state {
            return Ok(state.clone());
        }
        let path = self.config_path();
        if self.config.is_none() && !path.exists() {
            return Ok(DEFAULT_STATE.into());
        }
        let invalid = |why: String| CliError::new(exit_status::CONFIG, why);
        let bytes = files::read(path, MAX_CONFIG).map_err(|error| invalid(error.to_string()))?;
        toml::from_str::<StateOnly>(&String::from_utf8_lossy(&bytes))
            .map(|config| config.state)
            .map_err(|error| invalid(format!("{}: {error}", path.display())))
    }
}
