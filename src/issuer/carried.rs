//! All that a device should know, to be carried to it by hand.

use super::Platform;
use super::platform::LIMIT;
use super::terms::IssuerError;
use crate::files;
use crate::wire::{Audience, Id, Timestamp};

impl Platform {
    /// The statements for a device in the order in which it takes them best: issuers,
    /// registration, revocation lists, live shares, its own and its site's, and the newest release
    /// for its model.
    ///
    /// # Errors
    /// If a file cannot be used.
    pub fn statements(&self, device: &Id, now: Timestamp) -> Result<Vec<Vec<u8>>, IssuerError> {
        let mut statements = self.news(device)?;
        for audience in &self.audiences(device)? {
            for share in self.live_shares(audience, now)? {
                let name = format!("shares/{}.cwt", share.cti.hex());
                statements.push(files::read(&self.path(audience).join(name), LIMIT)?);
            }
        }
        if let Some(device) = self.device(device)? {
            let releases = self.releases(&device.registration.body.model)?;
            statements.extend(releases.into_iter().next_back().map(|(_, bytes)| bytes));
        }
        Ok(statements)
    }

    /// Issuers, registration and revocation lists: what ends shares and keeps them fresh.
    ///
    /// # Errors
    /// If a file cannot be used.
    pub fn news(&self, device: &Id) -> Result<Vec<Vec<u8>>, IssuerError> {
        let mut news = vec![files::read(&self.issuers_file(), LIMIT)?];
        news.extend(self.device(device)?.map(|device| device.bytes));
        for audience in &self.audiences(device)? {
            let list = self.path(audience).join("revocations.cwt");
            if list.exists() {
                news.push(files::read(&list, LIMIT)?);
            }
        }
        Ok(news)
    }

    /// The device, and its site if it has one.
    fn audiences(&self, device: &Id) -> Result<Vec<Audience>, IssuerError> {
        let registered = self.device(device)?;
        let site = registered.and_then(|device| device.registration.body.site);
        let device = Audience::Device(device.clone());
        Ok([device]
            .into_iter()
            .chain(site.map(Audience::Site))
            .collect())
    }
}
