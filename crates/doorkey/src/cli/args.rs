//! The arguments of the longer commands.

use std::path::PathBuf;

use crate::cli::broker_args::BrokerArgs;
use crate::cli::value_parsers::{Argument, DeviceArg, PublicHex, TimeArg};
use doorward_protocol::wire::{Id, Operation, Text};

#[derive(Debug, clap::Args)]
pub(crate) struct Register {
    /// The device's id, or the claim that `doorward provision` printed: its key is in it.
    pub(crate) device: DeviceArg,
    /// The device's key, as `doorward provision` printed it.
    #[arg(long, value_name = "HEX")]
    pub(crate) device_key: Option<PublicHex>,
    /// The owner's account.
    #[arg(long, value_name = "ACCOUNT")]
    pub(crate) owner: Id,
    /// The owner's public key: a *.pub file or its 64 hexadecimal digits.
    #[arg(long, value_name = "KEY")]
    pub(crate) owner_key: PublicHex,
    /// The model, for people.
    #[arg(long, default_value = "unknown")]
    pub(crate) model: Text,
    /// The region of the platform.
    #[arg(long, default_value = "eu")]
    pub(crate) region: Id,
    /// The site that the device belongs to.
    #[arg(long)]
    pub(crate) site: Option<Id>,
    /// basic, standard or advanced.
    #[arg(long, default_value = "advanced")]
    pub(crate) plan: Id,
    /// When the plan ends, like 30d or 2027-01-31T00:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub(crate) plan_end: Option<TimeArg>,
    /// A device for demonstration: it cannot be shared.
    #[arg(long)]
    pub(crate) demo: bool,
    #[command(flatten)]
    pub(crate) broker: BrokerArgs,
}

#[derive(Debug, clap::Args)]
#[command(mut_arg("broker", |broker| broker.required(true)))]
pub(crate) struct Send {
    /// The device's id.
    pub(crate) device: Id,
    /// The operation, like device.reboot.
    pub(crate) operation: Operation,
    /// Arguments, as NAME=VALUE; numbers, true and false are taken, @FILE as its bytes.
    pub(crate) args: Vec<Argument>,
    #[command(flatten)]
    pub(crate) broker: BrokerArgs,
    /// Your key.
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// The pass that came with your share: it also holds the device's key.
    #[arg(long, value_name = "FILE")]
    pub(crate) pass: Option<PathBuf>,
    /// The device's key, if you have neither a pass nor the issuer's directory.
    #[arg(long, value_name = "HEX")]
    pub(crate) device_key: Option<PublicHex>,
    /// Statements to bring to the device along with the command.
    #[arg(long, value_name = "FILE")]
    pub(crate) carry: Vec<PathBuf>,
    /// Where to write a result that is larger than a receipt, like that of diag.bundle.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Only ask: would this be allowed, and why not? Nothing is done and nothing remembered.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// How long to wait for the receipt, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(crate) wait: u64,
    /// How long the command is valid, in seconds, at most 300.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    pub(crate) ttl: u64,
}
