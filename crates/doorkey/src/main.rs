//! The program `doorkey`.

use std::process::ExitCode;

use clap::Parser;
use doorkey::cli::{Cli, run};

fn main() -> ExitCode {
    doorward_terminal::exit_with(run(Cli::parse()))
}
