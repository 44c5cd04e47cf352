//! `doorward validate`: whether a configuration can be used, and which operations cannot.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::doorward::ConfigFile;
use super::{Failure, status};
use crate::config::Config;

#[derive(Debug, Args)]
pub(super) struct Validate {
    #[command(flatten)]
    file: ConfigFile,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Validate) -> Result<ExitCode, Failure> {
    let config =
        Config::load(&args.file.config).map_err(|error| Failure::new(status::CONFIG, error))?;
    let broken = config.broken();
    let path = args.file.config.display();
    if args.json {
        let rows = broken
            .iter()
            .map(|(name, why)| (name.to_string(), json!(why)));
        let rows = serde_json::Map::from_iter(rows);
        println!(
            "{}",
            json!({"operations": config.operations.len(), "broken": rows})
        );
    } else {
        for (name, why) in &broken {
            println!("{path}: [operations.\"{name}\"]: {why}");
        }
        if broken.is_empty() {
            println!("{path}: {} operations, all sound", config.operations.len());
        }
    }
    if broken.is_empty() {
        Ok(ExitCode::SUCCESS)
    } else {
        let why = format!("{} of them would only fail", broken.len());
        Err(Failure::new(status::CONFIG, why))
    }
}
