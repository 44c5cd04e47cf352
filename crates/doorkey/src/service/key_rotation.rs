//! Key rotation: new keys for roles, and new signatures for statements signed with old keys.

use crate::IssuerError;
use crate::keys::Draft;
use crate::ledger;
use crate::ledger::StatementId;
use crate::service::platform::Platform;
use doorward_protocol::wire::{Audience, Kind, MAX_ITEMS, Role, Timestamp};

impl Platform {
    /// Replaces the keys of roles and signs again the statements that devices would no longer
    /// accept. Returns the number of devices and sites with new statements.
    ///
    /// # Errors
    /// If the root key or the database cannot be used.
    pub async fn rotate(
        &mut self,
        roles: &[Role],
        passphrase: Option<&[u8]>,
        now: Timestamp,
    ) -> Result<usize, IssuerError> {
        self.keys.rotate(roles, passphrase, now)?;
        self.republish(roles, now).await
    }

    /// Adopts a draft of keys that enough custodians have signed. Returns the number of devices and
    /// sites with new statements.
    ///
    /// # Errors
    /// If signatures are missing, or the database cannot be used.
    pub async fn adopt(&mut self, draft: &Draft, now: Timestamp) -> Result<usize, IssuerError> {
        let changed = self.keys.adopt(draft)?;
        self.republish(&changed, now).await
    }

    /// Queues the new list of keys for every device, and signs again the statements of `roles`.
    async fn republish(&self, roles: &[Role], now: Timestamp) -> Result<usize, IssuerError> {
        let chain = self.keys.chain(MAX_ITEMS)?.concat();
        let devices = ledger::all_devices(&mut *self.ledger.read().await?).await?;
        let mut audiences: Vec<Audience> = devices.iter().flat_map(|d| d.audiences()).collect();
        audiences.sort();
        audiences.dedup();
        for device in &devices {
            let audience = device.audience();
            let mut tx = self
                .ledger
                .begin_locked(std::slice::from_ref(&audience))
                .await?;
            let id = StatementId {
                audience,
                kind: Kind::Issuers,
                name: String::new(),
            };
            ledger::put_statement(&mut tx, &id, &chain).await?;
            if roles.contains(&Role::Registry)
                && let Some(device) = ledger::device(&mut tx, &device.id).await?
            {
                let before = Some(device.clone());
                self.put_registration(&mut tx, before, device, now).await?;
            }
            tx.commit().await?;
        }
        for audience in &audiences {
            let mut tx = self
                .ledger
                .begin_locked(std::slice::from_ref(audience))
                .await?;
            if roles.contains(&Role::Shares) {
                for share in ledger::shares_of(&mut tx, audience, now).await? {
                    if share.is_live(now) {
                        self.save_and_publish(&mut tx, &share).await?;
                    }
                }
            }
            tx.commit().await?;
            if roles.contains(&Role::Revocations) {
                self.refresh_revocation_list(audience, now).await?;
            }
        }
        Ok(audiences.len())
    }
}
