//! doorward, the device's program.

use std::process::ExitCode;

use clap::Parser;
use doorward::cli;

fn main() -> ExitCode {
    cli::conclude(cli::doorward::run(cli::doorward::Cli::parse()))
}
