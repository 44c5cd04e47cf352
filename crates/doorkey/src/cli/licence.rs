//! `doorkey licence`: issues a vendor's licence for one device.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use crate::cli::args::OutputArgs;
use crate::cli::value_parsers::{DurationArg, TimeArg};
use doorward_client::HolderKey;
use doorward_protocol::wire::{Id, Kind, Licence, LicenceBody, Object, Text};
use doorward_terminal::{CliError, exit_status, outln, print_json};
use doorward_transport::clock;
use doorward_transport::files;

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  doorkey licence SN-1042 --key vendor.key --number 3 --feature ev.charging --out licence.cwt
  doorkey licence SN-1042 --key vendor.key --number 4 --feature trial --for 30d --out licence.cwt

Apply it with:
  doorkey send ups-7 licence.apply licence=@licence.cwt")]
pub(crate) struct NewLicence {
    /// Serial number of the device, as in its configuration
    serial: Id,
    /// File with the vendor's secret key; the device's configuration contains its public key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Number of the licence; a device accepts only higher numbers than the last
    #[arg(long, value_name = "NUMBER")]
    number: u32,
    /// Feature that it enables, in the vendor's terms; may be repeated
    #[arg(long = "feature", value_name = "NAME")]
    features: Vec<Text>,
    /// End: a date or time like 2027-01-31 or 2027-01-31T18:00:00Z [default: none]
    #[arg(long, alias = "end", value_name = "TIME", conflicts_with = "duration")]
    until: Option<TimeArg>,
    /// Duration from now, like 365d [default: unlimited]
    #[arg(long = "for", value_name = "DURATION")]
    duration: Option<DurationArg>,
    /// Name of the vendor
    #[arg(long, value_name = "NAME", default_value = "vendor")]
    vendor: Id,
    /// File to write the licence to
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) fn run(args: NewLicence) -> Result<ExitCode, CliError> {
    let (vendor_key, now) = (HolderKey::open(&args.key)?, clock::system());
    let until = args.until.map(|until| until.0);
    let licence = Licence {
        iss: args.vendor,
        sub: args.serial,
        exp: until.or_else(|| args.duration.map(|duration| now.plus(duration.0))),
        iat: now,
        body: LicenceBody {
            format: 1,
            number: args.number,
            features: args.features,
        },
    };
    let invalid = |error| CliError::new(exit_status::DATA, format!("the licence: {error}"));
    licence.check().map_err(invalid)?;
    let bytes = vendor_key.sign(&licence);
    if bytes.len() > Kind::Licence.max_size() {
        let why = format!(
            "the licence is larger than {} bytes",
            Kind::Licence.max_size()
        );
        return Err(CliError::new(exit_status::DATA, why).with_remedy("Name fewer features."));
    }
    files::replace(&args.out, &bytes, 0o644)?;
    if args.output.json {
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
