//! Lists of given and received shares, and the access review for audits.

use crate::IssuerError;
use crate::domain::Actor;
use crate::domain::account::Account;
use crate::domain::share::Status;
use crate::ledger;
use crate::service::platform::{Platform, ShareListing};
use doorward_protocol::wire::{Bytes, Id, Timestamp};

/// Time without use after which a share is reported as unused, in seconds.
pub const UNUSED_AFTER: u64 = 60 * 86400;
/// Maximum number of rows of one answer.
pub const PAGE: u64 = 500;

/// One entry of an access review: the share of one recipient of one device or site.
#[derive(Debug, Clone)]
pub struct Access {
    /// The share and its status.
    pub listing: ShareListing,
    /// The owner of the device; for a site, the owner of its first device.
    pub owner: Id,
    /// Whether it was not used for 60 days.
    pub unused: bool,
}

impl Platform {
    /// Lists the shares that an account has given, newest first: at most [`PAGE`], from the offset
    /// `from`.
    ///
    /// # Errors
    /// If the database cannot be used.
    pub async fn shared_by(
        &self,
        account: &Account,
        from: u64,
        now: Timestamp,
    ) -> Result<Vec<ShareListing>, IssuerError> {
        let mut connection = self.ledger.read().await?;
        let shares = ledger::shared_by(&mut connection, &account.id, (PAGE, from)).await?;
        self.listings(&mut connection, shares, now).await
    }

    /// Lists the shares that an account has received, without those that have ended: at most
    /// [`PAGE`], from the offset `from`.
    ///
    /// # Errors
    /// If the database cannot be used.
    pub async fn shared_with(
        &self,
        account: &Account,
        from: u64,
        now: Timestamp,
    ) -> Result<Vec<ShareListing>, IssuerError> {
        let mut connection = self.ledger.read().await?;
        let shares = ledger::shared_with(&mut connection, &account.id, (PAGE, from)).await?;
        let live = shares
            .into_iter()
            .filter(|share| share.is_live(now))
            .collect();
        self.listings(&mut connection, live, now).await
    }

    /// Returns a share with its status, without a check of who asks: for the issuer only.
    ///
    /// # Errors
    /// If the database cannot be used.
    pub async fn find_share(
        &self,
        id: &Bytes<16>,
        now: Timestamp,
    ) -> Result<Option<ShareListing>, IssuerError> {
        let mut connection = self.ledger.read().await?;
        match ledger::share(&mut connection, id).await? {
            Some(share) => Ok(Some(self.listing(&mut connection, share, now).await?)),
            None => Ok(None),
        }
    }

    async fn listings(
        &self,
        connection: &mut ledger::Connection,
        shares: Vec<crate::domain::share::ShareRecord>,
        now: Timestamp,
    ) -> Result<Vec<ShareListing>, IssuerError> {
        let mut listings = Vec::new();
        for share in shares {
            listings.push(self.listing(connection, share, now).await?);
        }
        Ok(listings)
    }

    /// Reviews access: all shares for the issuer, and those of its own devices and sites for an
    /// account.
    ///
    /// # Errors
    /// If the database cannot be used.
    pub async fn review(
        &self,
        actor: Actor<'_>,
        now: Timestamp,
    ) -> Result<Vec<Access>, IssuerError> {
        let mut connection = self.ledger.read().await?;
        let devices = match actor {
            Actor::Issuer => ledger::all_devices(&mut connection).await?,
            Actor::Account(account) => {
                ledger::devices_owned_by(&mut connection, &account.id).await?
            }
        };
        let mut audiences: Vec<_> = devices
            .iter()
            .flat_map(|device| {
                device
                    .audiences()
                    .into_iter()
                    .map(|a| (a, device.owner.clone()))
            })
            .collect();
        audiences.sort();
        audiences.dedup_by(|a, b| a.0 == b.0);
        let mut review = Vec::new();
        for (audience, owner) in audiences {
            for share in ledger::shares_of(&mut connection, &audience, now).await? {
                let listing = self.listing(&mut connection, share, now).await?;
                let share = &listing.share;
                let last_use = share.used.unwrap_or(share.start);
                let ended = matches!(
                    listing.status,
                    Status::CancelApplied | Status::Relinquished | Status::Denied | Status::Lapsed
                );
                if !ended {
                    review.push(Access {
                        unused: now.since(last_use) >= UNUSED_AFTER,
                        owner: owner.clone(),
                        listing,
                    });
                }
            }
        }
        Ok(review)
    }

    /// Lists the devices that an account owns.
    ///
    /// # Errors
    /// If the database cannot be used.
    pub async fn devices_of(
        &self,
        account: &Account,
    ) -> Result<Vec<crate::domain::device::Device>, IssuerError> {
        ledger::devices_owned_by(&mut *self.ledger.read().await?, &account.id).await
    }
}
