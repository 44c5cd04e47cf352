//! `doorkey licence`: what a maker lets one machine do.

use doorward_terminal::outln;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use crate::cli::value_parsers::TimeArg;
use doorward_client::HolderKey;
use doorward_protocol::wire::{Id, Kind, Licence, LicenceBody, Object, Text};
use doorward_terminal::{CliError, exit_status, print_json};
use doorward_transport::clock;
use doorward_transport::files;

#[derive(Debug, clap::Args)]
pub(crate) struct NewLicence {
    /// The serial number of the machine, as its configuration has it.
    serial: Id,
    /// The maker's key; its public half is in the machine's configuration.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Its number: a machine goes up only.
    #[arg(long)]
    number: u32,
    /// What it allows, in the maker's words; as often as there are features.
    #[arg(long = "feature", value_name = "NAME")]
    features: Vec<Text>,
    /// When it ends, like 365d or 2027-01-31T00:00:00Z; without it, never.
    #[arg(long, value_name = "TIME")]
    end: Option<TimeArg>,
    /// Who makes the machine.
    #[arg(long, default_value = "vendor")]
    vendor: Id,
    /// The file to write: doorkey send DEVICE licence.apply licence=@FILE
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(crate) fn run(args: NewLicence, json: bool) -> Result<ExitCode, CliError> {
    let (maker, now) = (HolderKey::open(&args.key)?, clock::system());
    let licence = Licence {
        iss: args.vendor,
        sub: args.serial,
        exp: args.end.map(|end| end.from(now)),
        iat: now,
        body: LicenceBody {
            format: 1,
            number: args.number,
            features: args.features,
        },
    };
    let unsound = |error| CliError::new(exit_status::DATA, format!("the licence: {error}"));
    licence.check().map_err(unsound)?;
    let bytes = maker.sign(&licence);
    if bytes.len() > Kind::Licence.max_size() {
        let why = format!(
            "the licence is larger than {} bytes",
            Kind::Licence.max_size()
        );
        return Err(CliError::new(exit_status::DATA, why).with_remedy("Name fewer features."));
    }
    files::replace(&args.out, &bytes, 0o644)?;
    if json {
        print_json(&json!({
            "serial": licence.sub.as_str(), "number": licence.body.number,
            "file": args.out.display().to_string(),
        }));
    } else {
        let (number, serial) = (licence.body.number, &licence.sub);
        outln!("licence {number} for {serial} is in {}", args.out.display());
    }
    Ok(ExitCode::SUCCESS)
}
