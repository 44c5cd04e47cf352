//! `doorward validate`: checks a configuration and reports operations that can never work.

use doorward_terminal::outln;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use crate::cli::DeviceFiles;
use crate::operation::unusable_operations;
use doorward_terminal::{CliError, exit_status};

#[derive(Debug, Args)]
pub(super) struct Validate {
    #[command(flatten)]
    files: DeviceFiles,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Validate) -> Result<ExitCode, CliError> {
    let config = args.files.load()?;
    let unusable = unusable_operations(&config);
    let path = args.files.config_path().display();
    if args.json {
        let rows = unusable
            .iter()
            .map(|(name, why)| (name.to_string(), json!(why)));
        let rows = serde_json::Map::from_iter(rows);
        outln!(
            "{}",
            json!({"operations": config.operations.len(), "broken": rows})
        );
    } else {
        for (name, why) in &unusable {
            outln!("{path}: [operations.\"{name}\"]: {why}");
        }
        if unusable.is_empty() {
            let count = config.operations.len();
            let noun = if count == 1 {
                "operation"
            } else {
                "operations"
            };
            outln!("{path}: {count} {noun}, no problems");
        }
    }
    let why = match unusable.len() {
        0 => return Ok(ExitCode::SUCCESS),
        1 => "1 operation can never work".to_owned(),
        count => format!("{count} operations can never work"),
    };
    Err(CliError::new(exit_status::CONFIG, why))
}
