//! `doorward validate`: whether a configuration can be used, and which operations cannot.

use doorward_terminal::outln;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use crate::cli::ConfigFile;
use crate::config::Config;
use doorward_terminal::{CliError, exit_status};

#[derive(Debug, Args)]
pub(super) struct Validate {
    #[command(flatten)]
    file: ConfigFile,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Validate) -> Result<ExitCode, CliError> {
    let config = Config::load(&args.file.config)
        .map_err(|error| CliError::new(exit_status::CONFIG, error))?;
    let broken = config.unusable_operations();
    let path = args.file.config.display();
    if args.json {
        let rows = broken
            .iter()
            .map(|(name, why)| (name.to_string(), json!(why)));
        let rows = serde_json::Map::from_iter(rows);
        outln!(
            "{}",
            json!({"operations": config.operations.len(), "broken": rows})
        );
    } else {
        for (name, why) in &broken {
            outln!("{path}: [operations.\"{name}\"]: {why}");
        }
        if broken.is_empty() {
            outln!("{path}: {} operations, all sound", config.operations.len());
        }
    }
    if broken.is_empty() {
        Ok(ExitCode::SUCCESS)
    } else {
        let why = format!("{} of them would only fail", broken.len());
        Err(CliError::new(exit_status::CONFIG, why))
    }
}
