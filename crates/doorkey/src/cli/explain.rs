//! `doorkey explain`: the result codes, what they mean and what to do.

use std::process::ExitCode;

use serde_json::json;

use crate::cli::args::OutputArgs;
use doorward_protocol::gate::Code;
use doorward_terminal::{CliError, exit_status, outln, print_json};

#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:\n  doorkey explain not_granted\n  doorkey explain --json")]
pub(crate) struct Explain {
    /// The code, as a receipt shows it; all codes without it
    code: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) fn run(args: &Explain) -> Result<ExitCode, CliError> {
    let codes = match args.code.as_deref() {
        None => Code::ALL.to_vec(),
        Some(name) => vec![Code::from_name(name).ok_or_else(|| {
            CliError::new(exit_status::DATA, format!("there is no code `{name}`"))
                .with_remedy("`doorkey explain` lists them all.")
        })?],
    };
    if args.output.json {
        let rows = codes.iter().map(|code| {
            json!({
                "code": code.name(), "sentence": code.sentence(), "remedy": code.remedy(),
                "sender_known": code.sender_known(), "may_have_run": code.may_have_run(),
                "retry": code.retry().name(),
            })
        });
        print_json(&rows.collect());
        return Ok(ExitCode::SUCCESS);
    }
    for code in codes {
        outln!("{code}");
        outln!("  {}", code.sentence());
        if !code.remedy().is_empty() {
            outln!("  {}", code.remedy());
        }
        outln!("  Send again? {}.", code.retry().name());
    }
    Ok(ExitCode::SUCCESS)
}
