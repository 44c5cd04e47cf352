//! The D-Bus system bus, by which services of the machine are called.

use zbus::{Connection, DBusError};

use crate::core::OperationResult;
use doorward_protocol::gate::Code;

/// Timeout of a method call.
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(20);

/// Opens a new connection, so that no operation waits for another.
pub(super) async fn connect() -> zbus::Result<Connection> {
    let address = zbus::Address::system()?;
    let connection = zbus::connection::Builder::address(address);
    connection.method_timeout(TIMEOUT).build().await
}

/// Returns the result for an error of a service, with the remedy where there is one.
pub(super) fn failed(service: &str, error: &zbus::Error) -> OperationResult {
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
            "; allow it to doorward's user in polkit, see systemd/"
        }
        "ServiceUnknown" | "NameHasNoOwner" => "; the service does not run on this machine",
        "NoSuchUnit" => "; the unit does not exist",
        _ => "",
    };
    let why = why.unwrap_or_else(|| error.to_string());
    OperationResult::failed(Code::Failed, &format!("{service}: {why}{remedy}"))
}
