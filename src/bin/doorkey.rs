//! doorkey, what owners, installers and clouds carry.

use std::process::ExitCode;

use clap::Parser;
use doorward::cli;

fn main() -> ExitCode {
    cli::conclude(cli::doorkey::run(cli::doorkey::Cli::parse()))
}
