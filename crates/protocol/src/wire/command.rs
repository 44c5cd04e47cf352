//! `command`: what a holder asks one device to do, once, now.

use minicbor::{Decode, Encode};

use crate::wire::{
    Audience, Bytes, Kind, Map, Object, Operation, Text, Timestamp, Value, WireError,
};

/// The longest a command may live, in seconds.
pub const MAX_TTL: u64 = 300;

/// Most arguments of a command.
const MAX_ARGS: usize = 16;

/// The claims of `command`. Who sends it follows from the key that signed it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Command {
    /// Exactly one device.
    #[n(3)]
    pub aud: Audience,
    /// The first second at which it is too late; at most 300 s after `iat`.
    #[n(4)]
    pub exp: Timestamp,
    /// When it was made.
    #[n(6)]
    pub iat: Timestamp,
    /// Random.
    #[n(7)]
    pub cti: Bytes<16>,
    /// The rest.
    #[n(-65537)]
    pub body: CommandBody,
}

/// The private claim of `command`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CommandBody {
    /// 1.
    #[n(0)]
    pub format: u64,
    /// Rises with every command of this client instance; never 0.
    #[n(1)]
    pub counter: u64,
    /// Which of the holder's clients counts.
    #[n(2)]
    pub instance: Bytes<4>,
    /// The device's epoch, from its `state`.
    #[n(3)]
    pub epoch: Bytes<16>,
    /// What is asked.
    #[n(4)]
    pub operation: Operation,
    /// With what.
    #[n(5)]
    pub args: Map<Text, Value>,
    /// Not after this uptime, in seconds, of this boot: for devices without a clock.
    #[n(6)]
    pub until: Option<BootTime>,
    /// Only ask: would this be allowed, and why not? Nothing is done and nothing remembered.
    #[n(7)]
    pub dry: Option<bool>,
}

/// A moment in the life of one boot of a device.
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
            return Err(WireError::Malformed("a command that ends before it begins"));
        }
        if self.body.counter == 0 {
            return Err(WireError::Malformed("a counter of 0"));
        }
        if self.body.dry == Some(false) {
            return Err(WireError::Malformed("a dry run is asked for or left out"));
        }
        if self.body.args.len() > MAX_ARGS {
            return Err(WireError::Malformed("more than 16 arguments"));
        }
        Ok(())
    }
}
