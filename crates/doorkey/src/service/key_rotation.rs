//! New keys for roles, and everything that the old ones had signed once more.

use crate::IssuerError;
use crate::keys::Draft;
use crate::ledger;
use crate::ledger::Topic;
use crate::service::platform::Platform;
use doorward_protocol::wire::{Audience, Kind, MAX_ITEMS, Role, Timestamp};

impl Platform {
    /// Gives roles new keys, and signs anew what devices would no longer believe. How many
    /// devices and sites have something to take.
    ///
    /// # Errors
    /// If the root key cannot be used, or the ledger cannot.
    pub async fn rotate(
        &mut self,
        roles: &[Role],
        passphrase: Option<&[u8]>,
        now: Timestamp,
    ) -> Result<usize, IssuerError> {
        self.keys.rotate(roles, passphrase, now)?;
        self.spread(roles, now).await
    }

    /// Makes a draft that custodians have signed the issuer's keys. How many devices and sites
    /// have something to take.
    ///
    /// # Errors
    /// If signatures are missing, or the ledger cannot be used.
    pub async fn adopt(&mut self, draft: &Draft, now: Timestamp) -> Result<usize, IssuerError> {
        let changed = self.keys.adopt(draft)?;
        self.spread(&changed, now).await
    }

    /// Has new keys go out to every device, and what the old ones had signed once more.
    async fn spread(&self, roles: &[Role], now: Timestamp) -> Result<usize, IssuerError> {
        let chain = self.keys.chain(MAX_ITEMS)?.concat();
        let devices = ledger::all_devices(&mut *self.ledger.read().await?).await?;
        let mut audiences: Vec<Audience> = devices.iter().flat_map(|d| d.audiences()).collect();
        audiences.sort();
        audiences.dedup();
        for device in &devices {
            let audience = device.audience();
            let mut change = self.ledger.change(std::slice::from_ref(&audience)).await?;
            let topic = Topic {
                audience,
                kind: Kind::Issuers,
                name: String::new(),
            };
            ledger::put_statement(&mut change, &topic, &chain).await?;
            if roles.contains(&Role::Registry)
                && let Some(device) = ledger::device(&mut change, &device.id).await?
            {
                let before = Some(device.clone());
                self.put_registration(&mut change, before, device, now)
                    .await?;
            }
            change.commit().await?;
        }
        for audience in &audiences {
            let mut change = self.ledger.change(std::slice::from_ref(audience)).await?;
            if roles.contains(&Role::Shares) {
                for share in ledger::shares_of(&mut change, audience, now).await? {
                    if share.is_live(now) {
                        self.save_and_publish(&mut change, &share).await?;
                    }
                }
            }
            change.commit().await?;
            if roles.contains(&Role::Revocations) {
                self.refresh(audience, now).await?;
            }
        }
        Ok(audiences.len())
    }
}
