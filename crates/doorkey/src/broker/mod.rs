//! The service's connection to the broker: publishes statements and receives device reports.

pub mod publish;
pub mod subscribe;
