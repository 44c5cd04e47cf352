//! Firmware releases: the signed permission to install an image on a model.

use crate::IssuerError;
use crate::ledger;
use crate::ledger::StatementId;
use crate::service::platform::Platform;
use doorward_protocol::wire::{
    Audience, Envelope, Hash, Id, Kind, Release, ReleaseBody, Role, Text, Timestamp,
};

/// A new firmware release.
#[derive(Debug, Clone)]
pub struct NewRelease {
    /// The manufacturer.
    pub vendor: Id,
    /// The device model, as in the registration.
    pub model: Text,
    /// The version number; a higher one is newer.
    pub version: u32,
    /// The lowest installed version that can be updated with it.
    pub minimum: u32,
    /// Length of the image in bytes.
    pub size: u64,
    /// SHA-256 of the image.
    pub sha256: Hash,
}

impl Platform {
    /// Signs and stores a release and queues it for devices or sites. An audience keeps only the
    /// newest release, which is all that a device needs after a long time offline.
    ///
    /// # Errors
    /// If the release is invalid, its version exists with another image, or the database cannot be
    /// used.
    pub async fn release(
        &self,
        new: NewRelease,
        audiences: &[Audience],
        now: Timestamp,
    ) -> Result<(Release, Vec<u8>), IssuerError> {
        for bytes in ledger::releases(&mut *self.ledger.read().await?, &new.model).await? {
            let existing: Release = Envelope::parse(&bytes)?.claims()?;
            if existing.body.version == new.version && existing.body.sha256 != new.sha256 {
                return Err(IssuerError::Rule(format!(
                    "Version {} of {} already exists with another image. Use a new version number.",
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
        let mut tx = self.ledger.begin().await?;
        ledger::put_release(&mut tx, (model, version), &bytes).await?;
        for audience in audiences {
            let id = StatementId {
                audience: audience.clone(),
                kind: Kind::Release,
                name: String::new(),
            };
            ledger::put_statement(&mut tx, &id, &bytes).await?;
        }
        tx.commit().await?;
        Ok((release, bytes))
    }
}
