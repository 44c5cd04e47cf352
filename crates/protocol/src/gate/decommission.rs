//! Deletion of a device by its owner. The device has no owner until it is registered again.

use alloc::string::String;
use alloc::string::ToString;
use alloc::vec::Vec;

use crate::gate::install::{cache_name, release_name};
use crate::gate::{DurableState, StatementStore};
use crate::wire::{Hash, Kind};

impl StatementStore {
    /// Deletes the owner and all shares. Returns the names of the cache entries to delete.
    pub fn delete(&mut self) -> Vec<String> {
        let shares = self.shares.keys();
        let mut names: Vec<String> = shares
            .map(|id| cache_name(Kind::Share, &id.hex()))
            .collect();
        let rosters = self.rosters.keys();
        names.extend(rosters.map(|group| cache_name(Kind::Roster, &group.hex())));
        let lists = self.revocations.keys();
        names.extend(lists.map(|audience| cache_name(Kind::Revocations, &audience.to_string())));
        names.extend(self.releases.keys().map(release_name));
        *self = Self::new(self.device.clone(), self.device_key, self.issuers.clone());
        names
    }
}

impl DurableState {
    /// Records that the owner has deleted the device.
    pub fn delete(&mut self) {
        self.deleted = self.registration.map(|mark| mark.hash);
        self.revocations.clear();
        self.rosters.clear();
        self.subscribers.clear();
        self.frozen = None;
    }

    /// Returns whether the device was deleted under this registration, which is never accepted
    /// again.
    pub(super) fn is_deleted(&self, registration: &Hash) -> bool {
        self.deleted == Some(*registration)
    }
}
