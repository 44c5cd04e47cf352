//! Who has what: shared by me, shared with me, and the review of access for audits.

use crate::IssuerError;
use crate::domain::Actor;
use crate::domain::account::Account;
use crate::domain::share::Status;
use crate::ledger;
use crate::service::platform::{Platform, ShareListing};
use doorward_protocol::wire::{Bytes, Id, Timestamp};

/// After so many seconds without use a permission is called into question.
pub const UNUSED_AFTER: u64 = 60 * 86400;
/// Most rows of one answer.
pub const PAGE: u64 = 500;

/// One line of a review: what one recipient may do with one device or site, and until when.
#[derive(Debug, Clone)]
pub struct Access {
    /// The share and where it is.
    pub listed: ShareListing,
    /// The owner of what is shared.
    pub owner: Id,
    /// Whether it was not used for 60 days.
    pub unused: bool,
}

impl Platform {
    /// What somebody has shared, newest first, a page of at most [`PAGE`] from a position on.
    ///
    /// # Errors
    /// If the ledger cannot be used.
    pub async fn shared_by(
        &self,
        account: &Account,
        from: u64,
        now: Timestamp,
    ) -> Result<Vec<ShareListing>, IssuerError> {
        let mut connection = self.ledger.read().await?;
        let shares = ledger::shared_by(&mut connection, &account.id, (PAGE, from)).await?;
        self.all_listed(&mut connection, shares, now).await
    }

    /// What is shared with somebody: what has ended is no longer there.
    ///
    /// # Errors
    /// If the ledger cannot be used.
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
        self.all_listed(&mut connection, live, now).await
    }

    /// A share with where it is, for whoever holds the issuer's keys.
    ///
    /// # Errors
    /// If the ledger cannot be used.
    pub async fn find(
        &self,
        id: &Bytes<16>,
        now: Timestamp,
    ) -> Result<Option<ShareListing>, IssuerError> {
        let mut connection = self.ledger.read().await?;
        match ledger::share(&mut connection, id).await? {
            Some(share) => Ok(Some(self.listed(&mut connection, share, now).await?)),
            None => Ok(None),
        }
    }

    async fn all_listed(
        &self,
        connection: &mut ledger::Connection,
        shares: Vec<crate::domain::share::ShareRecord>,
        now: Timestamp,
    ) -> Result<Vec<ShareListing>, IssuerError> {
        let mut listed = Vec::new();
        for share in shares {
            listed.push(self.listed(connection, share, now).await?);
        }
        Ok(listed)
    }

    /// Who can do what, until when, and whether it is used: of everything for whoever holds the
    /// issuer's keys, of the own devices and sites for others.
    ///
    /// # Errors
    /// If the ledger cannot be used.
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
                let listed = self.listed(&mut connection, share, now).await?;
                let share = &listed.share;
                let since = share.used.unwrap_or(share.start);
                let over = matches!(
                    listed.status,
                    Status::CancelApplied | Status::Relinquished | Status::Denied | Status::Lapsed
                );
                if !over {
                    review.push(Access {
                        unused: now.since(since) >= UNUSED_AFTER,
                        owner: owner.clone(),
                        listed,
                    });
                }
            }
        }
        Ok(review)
    }

    /// The devices that an account owns.
    ///
    /// # Errors
    /// If the ledger cannot be used.
    pub async fn devices_of(
        &self,
        account: &Account,
    ) -> Result<Vec<crate::domain::device::Device>, IssuerError> {
        ledger::devices_owned_by(&mut *self.ledger.read().await?, &account.id).await
    }
}
