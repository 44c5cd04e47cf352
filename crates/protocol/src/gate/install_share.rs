//! Installation of shares and of the rosters of groups that hold shares.

use alloc::string::String;
use alloc::vec::Vec;

use crate::gate::cached_share::{CachedShare, HolderEntry, VerifiedShare};
use crate::gate::install::{
    InstallResult, Installed, cache_name, is_outdated, new_installed, payload_hash, primary,
};
use crate::gate::statements::{Member, StatementStore};
use crate::gate::{Code, DurableState};
use crate::wire::{
    Bytes, Envelope, KeyBytes, Kind, PublicKey, Role, Roster, Share, Timestamp, hash,
};

/// Maximum number of stored shares.
pub const MAX_SHARES: usize = 10_000;
/// Maximum number of stored rosters.
pub const MAX_ROSTERS: usize = 64;

impl StatementStore {
    pub(super) fn install_share(
        &mut self,
        envelopes: &[Envelope<'_>],
        now: Timestamp,
    ) -> InstallResult {
        let new: Share = primary(envelopes)?.claims()?;
        self.check_addressed(&new.aud, &new.iss)?;
        let hash = payload_hash(envelopes)?;
        let old = self.shares.get(&new.cti);
        let old = old.and_then(|old| old.get(&self.issuers));
        if new.exp <= now || old.is_some_and(|old| old.hash == hash) {
            return Ok(None);
        }
        let verified = self.signed_by(Role::Shares, envelopes)?;
        match old.map(|old| &old.share) {
            // An older version of an extended share is out of date, not a contradiction.
            Some(old) if new.is_extended_by(old) => return Ok(None),
            // An expired share cannot be extended; it takes a new share.
            Some(old) if !old.is_extended_by(&new) || old.exp <= now => {
                return Err(Code::BadGrant);
            }
            Some(_) | None => {}
        }
        let dropped = match old {
            Some(_) => Vec::new(),
            None => self.delete_expired(now)?,
        };
        let about = new.sub.clone();
        let group = new.body.group.as_ref().map(|_| new.cnf.0);
        let installed = Installed {
            dropped,
            share: Some(new.cti),
            awaits_roster: group.is_some_and(|group| !self.rosters.contains_key(&group)),
            group,
            audience: Some(new.aud.clone()),
            ..new_installed(
                &verified,
                about,
                u64::from(new.body.version),
                new.iat,
                &new.cti.hex(),
            )
        };
        self.remove_share(&new.cti);
        let signers = verified.iter().map(|envelope| envelope.signer).collect();
        self.insert_share(CachedShare::new(VerifiedShare {
            share: new,
            hash,
            signers,
        }));
        Ok(Some(installed))
    }

    /// Accepts a roster only for a group that holds a share for this device.
    pub(super) fn install_roster(
        &mut self,
        envelope: &Envelope<'_>,
        state: &DurableState,
        now: Timestamp,
    ) -> InstallResult {
        let new: Roster = envelope.claims()?;
        let group = envelope.signer;
        let named = |holder: &HolderEntry| {
            holder.shares.iter().any(|id| {
                let share = self.share(id);
                share.is_some_and(|share| share.body.group.as_ref() == Some(&new.sub))
            })
        };
        let is_named = self.holders.get(&group).is_some_and(named);
        let Some(key) = self.holder_key(&group).filter(|_| is_named) else {
            return Err(Code::UnknownIssuer);
        };
        let held = self.rosters.contains_key(&group);
        let mark = state.rosters.get(&group).copied();
        let hash = hash(envelope.payload());
        if new.exp <= now || is_outdated(mark, new.body.seq, new.iat, hash, held) {
            return Ok(None);
        }
        envelope.verify(key)?;
        let full = !held && self.rosters.len() >= MAX_ROSTERS;
        let idle = if full {
            self.idle_groups(now)
        } else {
            Vec::new()
        };
        if full && idle.is_empty() {
            return Err(Code::SlotsFull);
        }
        let keys: Result<Vec<_>, _> = new
            .body
            .members
            .iter()
            .map(|(bytes, _)| PublicKey::checked_before(bytes))
            .collect();
        let keys = keys?;
        let installed = Installed {
            group: Some(group),
            dropped: idle
                .iter()
                .map(|group| cache_name(Kind::Roster, &group.hex()))
                .collect(),
            ..new_installed(
                &[*envelope],
                new.sub.clone(),
                new.body.seq,
                new.iat,
                &group.hex(),
            )
        };
        for group in idle.iter().chain([&group]) {
            self.rosters.remove(group);
        }
        let rosters = &self.rosters;
        self.members.retain(|_, member| {
            member.groups.retain(|group| rosters.contains_key(group));
            !member.groups.is_empty()
        });
        for key in keys {
            let groups = Vec::new();
            let member = self.members.entry(key.bytes());
            member.or_insert(Member { key, groups }).groups.push(group);
        }
        self.rosters.insert(group, new);
        Ok(Some(installed))
    }

    /// Groups with a roster whose shares have all expired.
    fn idle_groups(&self, now: Timestamp) -> Vec<KeyBytes> {
        let is_valid = |id: &Bytes<16>| self.share(id).is_some_and(|share| share.exp > now);
        let is_used = |group: &KeyBytes| {
            let holder = self.holders.get(group);
            holder.is_some_and(|holder| holder.shares.iter().any(is_valid))
        };
        let groups = self.rosters.keys().filter(|group| !is_used(group));
        groups.copied().collect()
    }

    /// Deletes expired shares if the store is full. Returns their names in the cache.
    fn delete_expired(&mut self, now: Timestamp) -> Result<Vec<String>, Code> {
        if self.shares.len() < self.capacity {
            return Ok(Vec::new());
        }
        let ended: Vec<_> = self
            .shares
            .values()
            .filter(|cached| cached.header.expires_at <= now)
            .map(|cached| cached.header.id)
            .collect();
        if ended.is_empty() {
            return Err(Code::SlotsFull);
        }
        Ok(ended
            .iter()
            .map(|id| {
                self.remove_share(id);
                cache_name(Kind::Share, &id.hex())
            })
            .collect())
    }
}
