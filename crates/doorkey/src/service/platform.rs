//! An issuer: keys to sign with, and a ledger of whom it signs for.

use std::path::{Path, PathBuf};

use crate::IssuerError;
use crate::domain::Actor;
use crate::domain::RuleCode;
use crate::domain::device::Device;
use crate::domain::share::{DeviceReport, ShareRecord, Status};
use crate::keys::Keys;
use crate::ledger;
use crate::ledger::{Ledger, Topic};
use doorward_protocol::wire::{Audience, Bytes, Id, Kind, Role, Timestamp};

/// An issuer.
#[derive(Debug)]
pub struct Platform {
    pub(crate) keys: Keys,
    pub(crate) ledger: Ledger,
}

/// A share with where it is.
#[derive(Debug, Clone)]
pub struct ShareListing {
    /// The share.
    pub share: ShareRecord,
    /// Where it is.
    pub status: Status,
    /// What each device of its audience has said.
    pub words: Vec<(Id, DeviceReport)>,
}

impl Platform {
    /// Makes a new issuer with one key for each role, and its ledger: in the directory, or where
    /// `url` says.
    ///
    /// # Errors
    /// If the directory holds an issuer already, or cannot be written.
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
    /// If there is none, or it is broken.
    pub async fn open(directory: &Path, url: Option<&str>) -> Result<Self, IssuerError> {
        let keys = Keys::open(directory)?;
        let ledger = match url {
            Some(url) => Ledger::open(url).await?,
            None => Ledger::open_file(&keys.ledger_file()).await?,
        };
        let root = keys.public(Role::Root).unwrap_or(Bytes([0; 32]));
        ledger.belongs_to(keys.name(), &root).await?;
        Ok(Self { keys, ledger })
    }

    /// The file that devices pin when they are provisioned.
    #[must_use]
    pub fn issuers_file(&self) -> PathBuf {
        self.keys.issuers_file()
    }

    /// The keys.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The ledger.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The name of the platform.
    #[must_use]
    pub fn name(&self) -> &Id {
        self.keys.name()
    }

    /// A device, if it is registered.
    ///
    /// # Errors
    /// If the ledger cannot be used.
    pub async fn device(&self, id: &Id) -> Result<Option<Device>, IssuerError> {
        ledger::device(&mut *self.ledger.read().await?, id).await
    }

    /// Every device of the platform.
    ///
    /// # Errors
    /// If the ledger cannot be used.
    pub async fn all_devices(&self) -> Result<Vec<Device>, IssuerError> {
        ledger::all_devices(&mut *self.ledger.read().await?).await
    }

    /// Every device that is registered, for an audience that is one of them or their site.
    ///
    /// # Errors
    /// If the ledger cannot be used.
    pub async fn devices(&self, audience: &Audience) -> Result<Vec<Device>, IssuerError> {
        ledger::devices_of(&mut *self.ledger.read().await?, audience).await
    }

    /// Every share of an audience that has not ended by itself, oldest first.
    ///
    /// # Errors
    /// If the ledger cannot be used.
    pub async fn shares(
        &self,
        audience: &Audience,
        now: Timestamp,
    ) -> Result<Vec<ShareRecord>, IssuerError> {
        ledger::shares_of(&mut *self.ledger.read().await?, audience, now).await
    }

    /// The newest statement of its kind.
    ///
    /// # Errors
    /// If the ledger cannot be used.
    pub async fn statement(
        &self,
        audience: &Audience,
        kind: Kind,
        name: &str,
    ) -> Result<Option<Vec<u8>>, IssuerError> {
        let topic = Topic {
            audience: audience.clone(),
            kind,
            name: name.to_owned(),
        };
        ledger::statement(&mut *self.ledger.read().await?, &topic).await
    }

    /// The statements for a device in the order in which it takes them best: issuers,
    /// registration, revocation lists, rosters, live shares, its own and its site's, and the
    /// newest release for its model.
    ///
    /// # Errors
    /// If the ledger cannot be used.
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

    /// Issuers, registration and revocation lists: what ends shares and keeps them fresh.
    ///
    /// # Errors
    /// If the ledger cannot be used.
    pub async fn validity_statements(&self, id: &Id) -> Result<Vec<Vec<u8>>, IssuerError> {
        let mut news = self.keys.chain(usize::MAX)?;
        if news.is_empty() {
            news.push(self.keys.issuers()?);
        }
        let Some(device) = self.device(id).await? else {
            return Ok(news);
        };
        let mut connection = self.ledger.read().await?;
        for kind in [Kind::Registration, Kind::Revocations] {
            for audience in device.audiences() {
                news.extend(ledger::statements(&mut connection, &audience, kind).await?);
            }
        }
        Ok(news)
    }

    /// A share with where it is.
    pub(crate) async fn listed(
        &self,
        connection: &mut ledger::Connection,
        share: ShareRecord,
        now: Timestamp,
    ) -> Result<ShareListing, IssuerError> {
        let words = ledger::reports_on(connection, (&share.id, &share.audience)).await?;
        let known = ledger::devices_of(connection, &share.audience).await?;
        let of = |id: &Id| known.iter().find(|device| device.id == *id);
        let devices = words
            .iter()
            .filter_map(|(id, word)| Some((of(id)?, word.clone())));
        let devices: Vec<(&Device, DeviceReport)> = devices.collect();
        Ok(ShareListing {
            status: share.status(&devices, now),
            share,
            words,
        })
    }

    /// Whether somebody may share an audience and end its shares, and as whom.
    pub(crate) async fn may_manage(
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
        // Those with whom it is shared know of it; to all others it does not exist.
        let knows = ledger::knows_of(connection, &account.id, std::slice::from_ref(audience))
            .await?
            || devices.iter().any(|device| device.owner == account.id);
        match knows {
            true => {
                let why =
                    format!("{audience} belongs to somebody else, who has shared it with you");
                Err(RuleCode::NotResharable.because(why).into())
            }
            false => Err(RuleCode::Unknown
                .because(format!("There is no {audience} of yours"))
                .into()),
        }
    }
}
