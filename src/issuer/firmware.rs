//! Releases: which firmware may be installed on which model.

use super::Platform;
use super::platform::LIMIT;
use super::terms::IssuerError;
use crate::files;
use crate::wire::{Envelope, Hash, Id, Release, ReleaseBody, Role, Text, Timestamp};

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
    /// Signs a release and keeps it.
    ///
    /// # Errors
    /// If it makes no sense, is another image under a number that was given, or a file cannot be
    /// used.
    pub fn release(
        &self,
        new: NewRelease,
        now: Timestamp,
    ) -> Result<(Release, Vec<u8>), IssuerError> {
        let given = self.releases(&new.model)?.into_iter().find(|(release, _)| {
            let body = &release.body;
            body.version == new.version && body.sha256 != new.sha256
        });
        if given.is_some() {
            return Err(IssuerError::Rule(format!(
                "Version {} of {} is another image already. Give this one a number of its own.",
                new.version, new.model
            )));
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
        let bytes = self.signed(Role::Firmware, &release)?;
        let folder = self.directory().join("releases");
        files::create_private_directory(&folder)?;
        let name = crate::wire::hash(&bytes).hex();
        files::replace(&folder.join(format!("{name}.cwt")), &bytes, 0o644)?;
        Ok((release, bytes))
    }

    /// The releases for a model, oldest version first.
    ///
    /// # Errors
    /// If a file cannot be used.
    pub fn releases(&self, model: &Text) -> Result<Vec<(Release, Vec<u8>)>, IssuerError> {
        let folder = self.directory().join("releases");
        let mut releases = Vec::new();
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "cwt") {
                let bytes = files::read(&path, LIMIT)?;
                let release: Release = Envelope::parse(&bytes)?.claims()?;
                if release.body.model == *model {
                    releases.push((release, bytes));
                }
            }
        }
        releases.sort_by_key(|(release, _)| release.body.version);
        Ok(releases)
    }
}
