//! An issuer whose state is a directory of keys and of the newest statements that it signed.

use std::fs;
use std::path::{Path, PathBuf};

use super::terms::{Device, IssuerError, NewRegistration, NewShare};
use super::{default_leases, default_plans, random};
use crate::files::{self, Doing};
use crate::wire::{
    Audience, Bytes, Confirmation, Envelope, Id, Issuers, KeyBytes, Map, Object, Permission,
    PublicKey, Registration, RegistrationBody, Revocations, RevocationsBody, Role, RoleKeys,
    SecretKey, Share, ShareBody, Timestamp, sign,
};

pub(super) const LIMIT: u64 = 1 << 20;
const ISSUERS: &str = "issuers.cwt";

/// An issuer.
#[derive(Debug)]
pub struct Platform {
    directory: PathBuf,
    issuers: Issuers,
}

impl Platform {
    /// Makes a new issuer with one key for each role.
    ///
    /// # Errors
    /// If the directory holds an issuer already, or cannot be written.
    pub fn init(directory: &Path, name: Id, now: Timestamp) -> Result<Self, IssuerError> {
        let path = directory.join(ISSUERS);
        if path.exists() {
            return Err(IssuerError::Rule(format!(
                "{} holds an issuer already; its keys are what devices trust, so it is never \
                 replaced. Choose another directory.",
                directory.display()
            )));
        }
        files::create_private_directory(&directory.join("keys"))?;
        let mut roles = Vec::new();
        let mut root = None;
        for role in Role::ALL {
            let key = SecretKey::from_seed(&random().doing("make a key for", directory)?);
            let file = key_file(directory, role);
            files::replace(&file, key.to_text().as_bytes(), 0o600)?;
            let keys = vec![key.public()];
            roles.push((role, RoleKeys { threshold: 1, keys }));
            if role == Role::Root {
                root = Some(key);
            }
        }
        let issuers = Issuers::new(name, now, 1, Map::new(roles));
        issuers.check()?;
        if let Some(root) = root {
            files::replace(&path, &sign(&issuers, &root), 0o644)?;
        }
        Ok(Self {
            directory: directory.to_owned(),
            issuers,
        })
    }

    /// Opens an issuer.
    ///
    /// # Errors
    /// If there is none, or it is broken.
    pub fn open(directory: &Path) -> Result<Self, IssuerError> {
        let path = directory.join(ISSUERS);
        if !path.exists() {
            return Err(IssuerError::Rule(format!(
                "{} holds no issuer. Make one with `doorkey issuer init NAME`.",
                directory.display()
            )));
        }
        let bytes = files::read(&path, LIMIT)?;
        let issuers = Envelope::parse(&bytes)?.claims()?;
        Ok(Self {
            directory: directory.to_owned(),
            issuers,
        })
    }

    /// The file that devices pin when they are provisioned.
    #[must_use]
    pub fn issuers_file(&self) -> PathBuf {
        self.directory.join(ISSUERS)
    }

    /// The name of the platform.
    #[must_use]
    pub fn name(&self) -> &Id {
        &self.issuers.iss
    }

    /// Registers a device, or registers it anew with a higher sequence number.
    ///
    /// # Errors
    /// If a rule forbids it or a file cannot be used.
    pub fn register(&self, new: NewRegistration, now: Timestamp) -> Result<Device, IssuerError> {
        let before = self.device(&new.device)?.map(|device| device.registration);
        let seq = before.as_ref().map_or(0, |before| before.body.seq) + 1;
        // Another owner begins anew: whatever was shared before has ended.
        let since = match before {
            Some(before) if before.sub == new.owner && before.cnf.0 == new.owner_key => {
                before.body.since
            }
            _ => now,
        };
        let registration = Registration {
            iss: self.issuers.iss.clone(),
            sub: new.owner,
            aud: Audience::Device(new.device.clone()),
            iat: now,
            cnf: Confirmation(new.owner_key),
            body: RegistrationBody {
                format: 1,
                seq,
                device: new.device_key,
                region: new.region,
                model: new.model,
                site: new.site,
                plan: new.plan,
                table: default_plans(),
                demo: new.demo,
                slots: 5,
                leases: default_leases(),
                since,
                ages: None,
            },
        };
        let bytes = self.signed(Role::Registry, &registration)?;
        let path = self.folder(&registration.aud)?.join("registration.cwt");
        files::replace(&path, &bytes, 0o644)?;
        Ok(Device {
            registration,
            bytes,
        })
    }

    /// The registration of a device, if it has one.
    ///
    /// # Errors
    /// If the file cannot be used.
    pub fn device(&self, device: &Id) -> Result<Option<Device>, IssuerError> {
        let path = self.path(&Audience::Device(device.clone()));
        registered(&path.join("registration.cwt"))
    }

    /// Every device that is registered, for an audience that is one of them or their site.
    ///
    /// # Errors
    /// If a file cannot be used.
    pub fn devices(&self, audience: &Audience) -> Result<Vec<Device>, IssuerError> {
        let site = match audience {
            Audience::Device(device) => return Ok(self.device(device)?.into_iter().collect()),
            Audience::Site(site) => site,
        };
        let folder = self.directory.join("devices");
        let mut devices = Vec::new();
        for entry in fs::read_dir(&folder).doing("list", &folder)? {
            let path = entry.doing("list", &folder)?.path();
            devices.extend(registered(&path.join("registration.cwt"))?);
        }
        devices.retain(|device| device.registration.body.site.as_ref() == Some(site));
        Ok(devices)
    }

    /// Makes a share.
    ///
    /// # Errors
    /// If a rule forbids it or a file cannot be used.
    pub fn share(&self, new: NewShare, now: Timestamp) -> Result<(Share, Vec<u8>), IssuerError> {
        let (by, region) = self.may_be_shared(&new, now)?;
        let share = Share {
            iss: self.issuers.iss.clone(),
            sub: new.to,
            aud: new.audience,
            exp: new.end,
            nbf: now,
            iat: now,
            cti: Bytes(random().doing("make an id in", &self.directory)?),
            cnf: Confirmation(new.key),
            body: ShareBody {
                format: 1,
                version: 1,
                permissions: Map::new(
                    new.operations
                        .into_iter()
                        .map(|name| (name, Permission::default())),
                ),
                by,
                description: new.description,
                lease: None,
                region,
                group: None,
                limits: new.limits,
            },
        };
        let bytes = self.signed(Role::Shares, &share)?;
        let folder = self.folder(&share.aud)?.join("shares");
        files::create_private_directory(&folder)?;
        let path = folder.join(share.cti.hex()).with_extension("cwt");
        files::replace(&path, &bytes, 0o644)?;
        Ok((share, bytes))
    }

    /// The rules of sharing that the issuer checks before it signs. Returns who shares, and
    /// the region.
    fn may_be_shared(&self, new: &NewShare, now: Timestamp) -> Result<(Id, Id), IssuerError> {
        let Audience::Device(id) = &new.audience else {
            return Ok((self.issuers.iss.clone(), new.region.clone()));
        };
        let rule = |sentence: String| Err(IssuerError::Rule(sentence));
        let Some(Device { registration, .. }) = self.device(id)? else {
            return rule(format!(
                "{id} is not registered. Register it first with `doorkey register {id}`."
            ));
        };
        let body = &registration.body;
        if body.demo {
            return rule(format!(
                "{id} is a demonstration device; those cannot be shared."
            ));
        }
        let plan = match body.plan.end {
            Some(end) if end <= now => body.table.lowest(),
            _ => Some(&body.plan.name),
        };
        if !plan.is_some_and(|plan| body.table.includes_sharing(plan)) {
            return rule(format!(
                "The plan of {id} does not include sharing. Upgrade it first."
            ));
        }
        let mut people: Vec<KeyBytes> = Vec::new();
        for share in self.live_shares(&new.audience, now)? {
            if !people.contains(&share.cnf.0) {
                people.push(share.cnf.0);
            }
        }
        if !people.contains(&new.key) && people.len() >= body.slots as usize {
            return rule(format!(
                "{id} is shared with {} people, and no more are allowed. Cancel a share first \
                 (slots_full).",
                people.len()
            ));
        }
        Ok((registration.sub, registration.body.region))
    }

    /// Cancels shares: signs the whole list of what no longer counts, one number higher.
    /// With no shares it is a proof of freshness.
    ///
    /// # Errors
    /// If a file cannot be used.
    pub fn cancel(
        &self,
        audience: &Audience,
        shares: &[Share],
        now: Timestamp,
    ) -> Result<(Revocations, Vec<u8>), IssuerError> {
        let before = self.revocations(audience)?;
        let kept = before.iter().flat_map(|list| list.body.shares.iter());
        // An entry whose share has ended by itself is no longer needed.
        let entries = kept
            .map(|(id, end)| (*id, *end))
            .chain(shares.iter().map(|share| (share.cti, share.exp)))
            .filter(|(_, end)| *end > now);
        let list = Revocations {
            iss: self.issuers.iss.clone(),
            aud: audience.clone(),
            iat: now,
            body: RevocationsBody {
                format: 1,
                seq: before.as_ref().map_or(0, |list| list.body.seq) + 1,
                next: now.plus(86400),
                shares: Map::new(entries),
                holders: before
                    .as_ref()
                    .map_or_else(Map::default, |b| b.body.holders.clone()),
                subjects: before
                    .as_ref()
                    .map_or_else(Map::default, |b| b.body.subjects.clone()),
                before: before.map_or(Timestamp(0), |b| b.body.before),
            },
        };
        let bytes = self.signed(Role::Revocations, &list)?;
        let path = self.folder(audience)?.join("revocations.cwt");
        files::replace(&path, &bytes, 0o644)?;
        Ok((list, bytes))
    }

    /// The newest revocation list of an audience.
    ///
    /// # Errors
    /// If the file cannot be used.
    pub fn revocations(&self, audience: &Audience) -> Result<Option<Revocations>, IssuerError> {
        let path = self.path(audience).join("revocations.cwt");
        if !path.exists() {
            return Ok(None);
        }
        let bytes = files::read(&path, LIMIT)?;
        Ok(Some(Envelope::parse(&bytes)?.claims()?))
    }

    /// The shares of an audience that count now.
    ///
    /// # Errors
    /// If a file cannot be used.
    pub fn live_shares(
        &self,
        audience: &Audience,
        now: Timestamp,
    ) -> Result<Vec<Share>, IssuerError> {
        let list = self.revocations(audience)?;
        let mut shares = self.shares(audience)?;
        shares
            .retain(|share| share.exp > now && !list.as_ref().is_some_and(|list| list.ends(share)));
        Ok(shares)
    }

    /// Every share that was ever made for an audience, oldest first.
    ///
    /// # Errors
    /// If a file cannot be used.
    pub fn shares(&self, audience: &Audience) -> Result<Vec<Share>, IssuerError> {
        let folder = self.path(audience).join("shares");
        let mut shares: Vec<Share> = Vec::new();
        if folder.exists() {
            for entry in fs::read_dir(&folder).doing("list", &folder)? {
                let path = entry.doing("list", &folder)?.path();
                if path.extension().is_some_and(|e| e == "cwt") {
                    shares.push(Envelope::parse(&files::read(&path, LIMIT)?)?.claims()?);
                }
            }
        }
        shares.sort_by_key(|share| (share.iat, share.cti));
        Ok(shares)
    }

    /// Signs, after checking what every device will check.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn signed<T: Object>(&self, role: Role, claims: &T) -> Result<Vec<u8>, IssuerError> {
        let file = key_file(&self.directory, role);
        let key = SecretKey::from_text(&files::read(&file, LIMIT)?)
            .ok_or_else(|| files::invalid("it does not hold a key"))
            .doing("use", &file)?;
        claims.check()?;
        let bytes = sign(claims, &key);
        let envelope = Envelope::parse(&bytes)?;
        envelope.claims::<T>()?;
        envelope.verify(&PublicKey::new(&key.public())?)?;
        Ok(bytes)
    }

    pub(super) fn path(&self, audience: &Audience) -> PathBuf {
        // Ids hold no slash, but they may be dots.
        let name = audience.to_string().replace('.', "%2e");
        self.directory.join("devices").join(name)
    }

    fn folder(&self, audience: &Audience) -> Result<PathBuf, IssuerError> {
        let path = self.path(audience);
        files::create_private_directory(&path)?;
        Ok(path)
    }
}

/// The registration in a file, if there is one.
fn registered(path: &Path) -> Result<Option<Device>, IssuerError> {
    if !path.exists() {
        return Ok(None);
    }
    let bytes = files::read(path, LIMIT)?;
    let registration = Envelope::parse(&bytes)?.claims()?;
    Ok(Some(Device {
        registration,
        bytes,
    }))
}

fn key_file(directory: &Path, role: Role) -> PathBuf {
    directory
        .join("keys")
        .join(role.name())
        .with_extension("key")
}
