//! The service's connection to the broker: statements out, signed reports of devices in.

pub mod publish;
pub mod subscribe;
