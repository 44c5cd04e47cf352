//! The system's D-Bus, on which the parts of the machine are asked.

use zbus::{Connection, DBusError};

use crate::core::OperationResult;
use doorward_protocol::gate::Code;

/// Longest answer of one call.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

/// A connection of its own, so that no operation waits for another.
pub(super) async fn connect() -> zbus::Result<Connection> {
    let address = zbus::Address::system()?;
    let connection = zbus::connection::Builder::address(address);
    connection.method_timeout(PATIENCE).build().await
}

/// Why a service of the machine could not be used, with the remedy where there is one.
pub(super) fn failed(who: &str, error: &zbus::Error) -> OperationResult {
    let (name, why) = match error {
        zbus::Error::MethodError(name, why, _) => (name.to_string(), why.clone()),
        zbus::Error::FDO(error) => (
            error.name().to_string(),
            error.description().map(str::to_owned),
        ),
        _ => (String::new(), None),
    };
    let remedy = match name.rsplit('.').next().unwrap_or_default() {
        "AccessDenied" | "InteractiveAuthorizationRequired" => {
            "; allow doorward's user this in polkit, as systemd/ shows"
        }
        "ServiceUnknown" | "NameHasNoOwner" => "; it does not run on this machine",
        "NoSuchUnit" => "; there is no such unit",
        _ => "",
    };
    let why = why.unwrap_or_else(|| error.to_string());
    OperationResult::failed(Code::Failed, &format!("{who}: {why}{remedy}"))
}
