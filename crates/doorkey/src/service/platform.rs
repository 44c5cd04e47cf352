//! The platform: an issuer with its keys and its database.

use std::path::{Path, PathBuf};

use crate::IssuerError;
use crate::domain::Actor;
use crate::domain::RuleCode;
use crate::domain::device::Device;
use crate::domain::share::{DeviceReport, ShareRecord, Status};
use crate::keys::Keys;
use crate::ledger;
use crate::ledger::{Ledger, StatementId};
use doorward_protocol::wire::{Audience, Bytes, Id, Kind, Role, Timestamp};

/// A platform: the issuer's keys and its database.
#[derive(Debug)]
pub struct Platform {
    pub(crate) keys: Keys,
    pub(crate) ledger: Ledger,
}

/// A share with its status.
#[derive(Debug, Clone)]
pub struct ShareListing {
    /// The share.
    pub share: ShareRecord,
    /// The status.
    pub status: Status,
    /// The reports of each device of its audience.
    pub reports: Vec<(Id, DeviceReport)>,
}

impl Platform {
    /// Creates an issuer with one key for each role, and its database: at `url`, or a file in the
    /// directory.
    ///
    /// # Errors
    /// If the directory already contains an issuer, or cannot be written.
    pub async fn init(
        directory: &Path,
        url: Option<&str>,
        name: Id,
        now: Timestamp,
    ) -> Result<Self, IssuerError> {
        Keys::create(directory, name, now)?;
        Self::open(directory, url).await
    }

    /// Opens an issuer.
    ///
    /// # Errors
    /// If the directory contains none, or its files are damaged.
    pub async fn open(directory: &Path, url: Option<&str>) -> Result<Self, IssuerError> {
        let keys = Keys::open(directory)?;
        let ledger = match url {
            Some(url) => Ledger::open(url).await?,
            None => Ledger::open_file(&keys.ledger_file()).await?,
        };
        let root = keys.public(Role::Root).unwrap_or(Bytes([0; 32]));
        ledger.bind_to_issuer(keys.name(), &root).await?;
        Ok(Self { keys, ledger })
    }

    /// The issuer file, which devices pin when they are provisioned.
    #[must_use]
    pub fn issuers_file(&self) -> PathBuf {
        self.keys.issuers_file()
    }

    /// The keys.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The database.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The name of the platform.
    #[must_use]
    pub fn name(&self) -> &Id {
        self.keys.name()
    }

    /// Returns a device; `None` if it is not registered.
    ///
    /// # Errors
    /// If the database cannot be used.
    pub async fn device(&self, id: &Id) -> Result<Option<Device>, IssuerError> {
        ledger::device(&mut *self.ledger.read().await?, id).await
    }

    /// Lists all devices of the platform.
    ///
    /// # Errors
    /// If the database cannot be used.
    pub async fn all_devices(&self) -> Result<Vec<Device>, IssuerError> {
        ledger::all_devices(&mut *self.ledger.read().await?).await
    }

    /// Lists the registered devices of an audience: one device, or those of a site.
    ///
    /// # Errors
    /// If the database cannot be used.
    pub async fn devices(&self, audience: &Audience) -> Result<Vec<Device>, IssuerError> {
        ledger::devices_of(&mut *self.ledger.read().await?, audience).await
    }

    /// Lists the shares of an audience whose end date is after `now`, oldest first. Shares that
    /// were cancelled are included.
    ///
    /// # Errors
    /// If the database cannot be used.
    pub async fn shares(
        &self,
        audience: &Audience,
        now: Timestamp,
    ) -> Result<Vec<ShareRecord>, IssuerError> {
        ledger::shares_of(&mut *self.ledger.read().await?, audience, now).await
    }

    /// Returns the newest signed form of a statement.
    ///
    /// # Errors
    /// If the database cannot be used.
    pub async fn statement(
        &self,
        audience: &Audience,
        kind: Kind,
        name: &str,
    ) -> Result<Option<Vec<u8>>, IssuerError> {
        let id = StatementId {
            audience: audience.clone(),
            kind,
            name: name.to_owned(),
        };
        ledger::statement(&mut *self.ledger.read().await?, &id).await
    }

    /// Returns all statements for a device and its site, in the order in which the device should
    /// install them: issuers, registration, revocation lists, member lists, shares, and the newest
    /// release for its model.
    ///
    /// # Errors
    /// If the database cannot be used.
    pub async fn statements(&self, id: &Id) -> Result<Vec<Vec<u8>>, IssuerError> {
        let mut statements = self.validity_statements(id).await?;
        let Some(device) = self.device(id).await? else {
            return Ok(statements);
        };
        let mut connection = self.ledger.read().await?;
        for kind in [Kind::Roster, Kind::Share] {
            for audience in device.audiences() {
                statements.extend(ledger::statements(&mut connection, &audience, kind).await?);
            }
        }
        let releases = ledger::releases(&mut connection, &device.model).await?;
        statements.extend(releases.into_iter().next_back());
        Ok(statements)
    }

    /// Returns issuers, registration and revocation lists for a device: the statements that end
    /// shares and renew their offline validity.
    ///
    /// # Errors
    /// If the database cannot be used.
    pub async fn validity_statements(&self, id: &Id) -> Result<Vec<Vec<u8>>, IssuerError> {
        let mut statements = self.keys.chain(usize::MAX)?;
        if statements.is_empty() {
            statements.push(self.keys.issuers()?);
        }
        let Some(device) = self.device(id).await? else {
            return Ok(statements);
        };
        let mut connection = self.ledger.read().await?;
        for kind in [Kind::Registration, Kind::Revocations] {
            for audience in device.audiences() {
                statements.extend(ledger::statements(&mut connection, &audience, kind).await?);
            }
        }
        Ok(statements)
    }

    /// Combines a share with its status.
    pub(crate) async fn listing(
        &self,
        connection: &mut ledger::Connection,
        share: ShareRecord,
        now: Timestamp,
    ) -> Result<ShareListing, IssuerError> {
        let reports = ledger::device_reports_on(connection, (&share.id, &share.audience)).await?;
        let registered = ledger::devices_of(connection, &share.audience).await?;
        let find = |id: &Id| registered.iter().find(|device| device.id == *id);
        let devices: Vec<(&Device, DeviceReport)> = reports
            .iter()
            .filter_map(|(id, report)| Some((find(id)?, report.clone())))
            .collect();
        Ok(ShareListing {
            status: share.status(&devices, now),
            share,
            reports,
        })
    }

    /// Checks that an actor may share an audience and end its shares. Returns the account in whose
    /// name it does so, and the devices of the audience.
    pub(crate) async fn check_may_manage(
        &self,
        connection: &mut ledger::Connection,
        actor: Actor<'_>,
        audience: &Audience,
    ) -> Result<(Id, Vec<Device>), IssuerError> {
        let devices = ledger::devices_of(connection, audience).await?;
        let account = match (actor, devices.first()) {
            (Actor::Issuer, Some(device)) => return Ok((device.owner.clone(), devices)),
            (Actor::Issuer, None) => match audience {
                Audience::Site(_) => return Ok((self.name().clone(), devices)),
                Audience::Device(id) => {
                    let why = format!("{id} is not registered");
                    return Err(RuleCode::Unknown.because(why).into());
                }
            },
            (Actor::Account(account), _) => account,
        };
        let sites = ledger::sites_of(connection, &account.id).await?;
        let manages = |device: &Device| {
            device.owner == account.id
                || device
                    .site
                    .as_ref()
                    .is_some_and(|site| sites.contains(site))
        };
        if !devices.is_empty() && devices.iter().all(manages) {
            return Ok((account.id.clone(), devices));
        }
        // Recipients of a share know that the audience exists; nothing is revealed to others.
        let is_known =
            ledger::was_shared_with(connection, &account.id, std::slice::from_ref(audience))
                .await?
                || devices.iter().any(|device| device.owner == account.id);
        match is_known {
            true => {
                let why = format!("{audience} is shared with you, but you do not own it");
                Err(RuleCode::NotResharable.because(why).into())
            }
            false => Err(RuleCode::Unknown
                .because(format!("You have no device or site {audience}"))
                .into()),
        }
    }
}
