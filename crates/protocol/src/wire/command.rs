//! `command`: a request of a holder to one device to run an operation once.

use minicbor::{Decode, Encode};

use crate::wire::{
    Audience, Bytes, Kind, Map, Object, Operation, Text, Timestamp, Value, WireError,
};

/// Maximum lifetime of a command, in seconds.
pub const MAX_TTL: u64 = 300;

/// Maximum number of arguments of a command.
const MAX_ARGS: usize = 16;

/// The claims of `command`. The signer's key identifies the sender.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Command {
    /// Exactly one device.
    #[n(3)]
    pub aud: Audience,
    /// The first second at which it has expired; at most 300 s after `iat`.
    #[n(4)]
    pub exp: Timestamp,
    /// Time of issue.
    #[n(6)]
    pub iat: Timestamp,
    /// Random id.
    #[n(7)]
    pub cti: Bytes<16>,
    /// The private claim.
    #[n(-65537)]
    pub body: CommandBody,
}

/// The private claim of `command`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CommandBody {
    /// Format version: 1.
    #[n(0)]
    pub format: u64,
    /// Increases with every command of this client instance; never 0.
    #[n(1)]
    pub counter: u64,
    /// The client instance that the counter belongs to.
    #[n(2)]
    pub instance: Bytes<4>,
    /// The device's epoch, from its `state`.
    #[n(3)]
    pub epoch: Bytes<16>,
    /// The operation.
    #[n(4)]
    pub operation: Operation,
    /// The arguments of the operation.
    #[n(5)]
    pub args: Map<Text, Value>,
    /// Expiry as an uptime of one boot, for devices without a clock.
    #[n(6)]
    pub until: Option<BootTime>,
    /// A dry run: returns whether the command would be allowed, without running or recording it.
    #[n(7)]
    pub dry: Option<bool>,
}

/// A time within one boot of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct BootTime {
    /// Seconds since that boot.
    #[n(0)]
    pub uptime: u64,
    /// Boot id.
    #[n(1)]
    pub boot: Bytes<16>,
}

impl Object for Command {
    const KIND: Kind = Kind::Command;

    fn format(&self) -> u64 {
        self.body.format
    }

    fn check(&self) -> Result<(), WireError> {
        if self.exp <= self.iat {
            return Err(WireError::Malformed(
                "the command does not expire after its time of issue",
            ));
        }
        if self.body.counter == 0 {
            return Err(WireError::Malformed("the counter is 0"));
        }
        if self.body.dry == Some(false) {
            return Err(WireError::Malformed("the dry-run flag is true or absent"));
        }
        if self.body.args.len() > MAX_ARGS {
            return Err(WireError::Malformed("more than 16 arguments"));
        }
        Ok(())
    }
}
