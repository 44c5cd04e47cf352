//! doorward, the device daemon and its command-line tool.

use std::process::ExitCode;

use clap::Parser;
use doorward::cli::{Cli, run};

fn main() -> ExitCode {
    doorward_terminal::exit_with(run(Cli::parse()))
}
