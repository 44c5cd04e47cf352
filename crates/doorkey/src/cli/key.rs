//! `doorkey key`: creates a person's key, and shows its public half.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use crate::cli::args::OutputArgs;
use doorward_client::HolderKey;
use doorward_terminal::{CliError, outln, print_json};

pub(crate) const EXAMPLES: &str = "\
Examples:
  doorkey key new anna.key
  doorkey key show anna.key";

#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Create a key: the secret key in FILE, the public key beside it as *.pub
    #[command(after_long_help = "Examples:\n  doorkey key new anna.key")]
    New {
        /// File for the secret key, like anna.key; it must not exist
        file: PathBuf,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Show the public key that belongs to a secret key
    #[command(after_long_help = "Examples:\n  doorkey key show anna.key")]
    Show {
        /// File with the secret key
        file: PathBuf,
        #[command(flatten)]
        output: OutputArgs,
    },
}

pub(crate) fn run(command: Key) -> Result<ExitCode, CliError> {
    let (holder, output) = match command {
        Key::New { file, output } => (HolderKey::create_pair(&file)?, output),
        Key::Show { file, output } => (HolderKey::open(&file)?, output),
    };
    if output.json {
        print_json(&json!({ "key": holder.public().hex() }));
    } else {
        outln!("{}", holder.public());
    }
    Ok(ExitCode::SUCCESS)
}
