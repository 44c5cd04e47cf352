//! All that a device should know, to be carried to it by hand.

use super::Platform;
use super::platform::LIMIT;
use super::terms::IssuerError;
use crate::files;
use crate::wire::{Audience, Id, Timestamp};

impl Platform {
    /// The statements for a device in the order in which it takes them best: issuers,
    /// registration, revocation lists and live shares, its own and its site's.
    ///
    /// # Errors
    /// If a file cannot be used.
    pub fn statements(&self, device: &Id, now: Timestamp) -> Result<Vec<Vec<u8>>, IssuerError> {
        let mut statements = vec![files::read(&self.issuers_file(), LIMIT)?];
        let mut audiences = vec![Audience::Device(device.clone())];
        if let Some(device) = self.device(device)? {
            audiences.extend(device.registration.body.site.map(Audience::Site));
            statements.push(device.bytes);
        }
        for audience in &audiences {
            let list = self.path(audience).join("revocations.cwt");
            if list.exists() {
                statements.push(files::read(&list, LIMIT)?);
            }
        }
        for audience in &audiences {
            for share in self.live_shares(audience, now)? {
                let name = format!("shares/{}.cwt", share.cti.hex());
                statements.push(files::read(&self.path(audience).join(name), LIMIT)?);
            }
        }
        Ok(statements)
    }
}
