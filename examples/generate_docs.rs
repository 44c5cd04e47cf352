//! Generates man pages and shell completions from the command-line definitions.
//!
//! ```console
//! $ cargo run --example generate_docs -- DIRECTORY
//! ```
#![allow(missing_docs, reason = "this is a program")]

use std::error::Error;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};
use clap_complete::Shell;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args_os().nth(1).map(PathBuf::from);
    let directory = directory.ok_or("usage: generate_docs DIRECTORY")?;
    let daemon = doorward::cli::Cli::command();
    let key = doorkey::cli::Cli::command();
    for (command, section) in [(daemon, "8"), (key, "1")] {
        // Packages contain no demo.
        let command = command.mut_subcommands(|it| match it.get_name() {
            "demo" => it.hide(true),
            _ => it,
        });
        let man = directory.join("man");
        std::fs::create_dir_all(&man)?;
        let mut built = command.clone();
        built.build();
        pages(&built, section, &man)?;
        completions(command, &directory)?;
    }
    Ok(())
}

/// Writes a man page for a command and for each of its subcommands.
fn pages(command: &Command, section: &str, directory: &Path) -> Result<(), Box<dyn Error>> {
    let name = command.get_display_name().unwrap_or(command.get_name());
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone())
        .title(name.to_uppercase())
        .section(section)
        .manual("doorward")
        .render(&mut page)?;
    // clap_mangen assumes section 1 in references to subcommands.
    let page = String::from_utf8(page)?.replace("(1)", &format!("({section})"));
    std::fs::write(directory.join(format!("{name}.{section}")), page)?;
    for below in command.get_subcommands().filter(|it| !it.is_hide_set()) {
        if below.get_name() != "help" {
            pages(below, section, directory)?;
        }
    }
    Ok(())
}

fn completions(mut command: Command, directory: &Path) -> Result<(), Box<dyn Error>> {
    let directory = directory.join("completions");
    std::fs::create_dir_all(&directory)?;
    let name = command.get_name().to_owned();
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command, &name, &directory)?;
    }
    Ok(())
}
