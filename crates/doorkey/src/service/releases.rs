//! Releases: which firmware may be installed on which model.

use crate::IssuerError;
use crate::ledger;
use crate::ledger::Topic;
use crate::service::platform::Platform;
use doorward_protocol::wire::{
    Audience, Envelope, Hash, Id, Kind, Release, ReleaseBody, Role, Text, Timestamp,
};

/// A firmware that may be installed from now on.
#[derive(Debug, Clone)]
pub struct NewRelease {
    /// Who made it.
    pub vendor: Id,
    /// The model of device that it is for, as in the registration.
    pub model: Text,
    /// Its number; a higher one is newer.
    pub version: u32,
    /// The lowest version that it can be installed over.
    pub minimum: u32,
    /// Length of the image in bytes.
    pub size: u64,
    /// SHA-256 of the image.
    pub sha256: Hash,
}

impl Platform {
    /// Signs a release, keeps it, and has it go out to some devices or sites. They are told of
    /// the newest only: a device that is offline for long needs no other.
    ///
    /// # Errors
    /// If it makes no sense, is another image under a number that was given, or the ledger
    /// cannot be used.
    pub async fn release(
        &self,
        new: NewRelease,
        audiences: &[Audience],
        now: Timestamp,
    ) -> Result<(Release, Vec<u8>), IssuerError> {
        for bytes in ledger::releases(&mut *self.ledger.read().await?, &new.model).await? {
            let given: Release = Envelope::parse(&bytes)?.claims()?;
            if given.body.version == new.version && given.body.sha256 != new.sha256 {
                return Err(IssuerError::Rule(format!(
                    "Version {} of {} is another image already. Give this one a number of its own.",
                    new.version, new.model
                )));
            }
        }
        let release = Release {
            iss: self.name().clone(),
            iat: now,
            body: ReleaseBody {
                format: 1,
                vendor: new.vendor,
                model: new.model,
                version: new.version,
                size: new.size,
                sha256: new.sha256,
                minimum: new.minimum,
            },
        };
        let bytes = self.keys.sign(Role::Firmware, &release)?;
        let (model, version) = (&release.body.model, release.body.version);
        let mut change = self.ledger.begin().await?;
        ledger::put_release(&mut change, (model, version), &bytes).await?;
        for audience in audiences {
            let topic = Topic {
                audience: audience.clone(),
                kind: Kind::Release,
                name: String::new(),
            };
            ledger::put_statement(&mut change, &topic, &bytes).await?;
        }
        change.commit().await?;
        Ok((release, bytes))
    }
}
