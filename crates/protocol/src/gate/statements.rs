//! The statements in force, in memory: issuers, the registration, shares, rosters, revocation lists
//! and releases. `install.rs` has the rules by which they replace one another.

use alloc::vec::Vec;

use alloc::collections::{BTreeMap, BTreeSet};

use crate::gate::DurableState;
use crate::gate::cached_share::{CachedShare, HolderEntry};
use crate::gate::install_share::MAX_SHARES;
use crate::wire::{
    Audience, Bytes, Id, Issuers, KeyBytes, PublicKey, Registration, Release, Revocations, Roster,
    Share, Text, Timestamp,
};

/// A key on one or more rosters, decompressed once, and the groups that list it.
pub(super) struct Member {
    pub(super) key: PublicKey,
    pub(super) groups: Vec<KeyBytes>,
}

/// The way in which a key can use a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GrantPath<'a> {
    /// The share names the key.
    Direct,
    /// The share names a group, and its roster lists the key.
    Member(&'a Roster),
    /// The share names a group, and this is the group's own key; it does not identify a person.
    GroupKey,
}

/// One share that one key can use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grant<'a> {
    pub(super) share: &'a Share,
    pub(super) person: &'a Id,
    pub(super) key: KeyBytes,
    pub(super) via: GrantPath<'a>,
}

/// All statements that the device has accepted.
pub struct StatementStore {
    pub(super) device: Id,
    pub(super) device_key: KeyBytes,
    pub(super) issuers: Issuers,
    pub(super) owner: Option<(Registration, PublicKey)>,
    pub(super) shares: BTreeMap<Bytes<16>, CachedShare>,
    pub(super) holders: BTreeMap<KeyBytes, HolderEntry>,
    /// Shares by time of issue, for the slots and to find expired ones.
    pub(super) by_age: BTreeSet<(Timestamp, Bytes<16>)>,
    pub(super) revocations: BTreeMap<Audience, Revocations>,
    pub(super) rosters: BTreeMap<KeyBytes, Roster>,
    pub(super) members: BTreeMap<KeyBytes, Member>,
    pub(super) releases: BTreeMap<(Text, u32), Release>,
    /// Incremented by every change that may affect the slots.
    pub(super) generation: u64,
    /// Maximum number of shares.
    pub(super) capacity: usize,
}

impl StatementStore {
    /// A store with only what was pinned at provisioning.
    #[must_use]
    pub fn new(device: Id, device_key: KeyBytes, issuers: Issuers) -> Self {
        Self {
            device,
            device_key,
            issuers,
            owner: None,
            shares: BTreeMap::new(),
            holders: BTreeMap::new(),
            by_age: BTreeSet::new(),
            revocations: BTreeMap::new(),
            rosters: BTreeMap::new(),
            members: BTreeMap::new(),
            releases: BTreeMap::new(),
            // 0 is the generation of an empty cache of slots.
            generation: 1,
            capacity: MAX_SHARES,
        }
    }

    /// Sets the maximum number of shares in place of [`MAX_SHARES`], for benchmarks of the decision
    /// beyond that. Uses are still counted for at most `MAX_SHARES` shares.
    #[doc(hidden)]
    #[must_use]
    pub fn with_capacity(mut self, shares: usize) -> Self {
        self.capacity = shares;
        self
    }

    /// The device's id.
    #[must_use]
    pub fn device(&self) -> &Id {
        &self.device
    }

    /// Returns whether `audience` is exactly this device.
    pub(super) fn is_device(&self, audience: &Audience) -> bool {
        matches!(audience, Audience::Device(id) if *id == self.device)
    }

    /// The issuer keys that are trusted now.
    #[must_use]
    pub fn issuers(&self) -> &Issuers {
        &self.issuers
    }

    /// The site of this device, if its registration names one.
    #[must_use]
    pub fn site(&self) -> Option<&Id> {
        self.registration()?.body.site.as_ref()
    }

    /// Returns whether a statement for `audience` is for this device.
    #[must_use]
    pub fn is_mine(&self, audience: &Audience) -> bool {
        match audience {
            Audience::Device(id) => *id == self.device,
            Audience::Site(id) => self.site() == Some(id),
        }
    }

    /// Audiences of this device whose revocation list is recorded in the event log, but missing
    /// from the cache.
    pub fn lost_lists<'a>(&'a self, state: &'a DurableState) -> impl Iterator<Item = &'a Audience> {
        let recorded = state.revocations.keys();
        recorded.filter(|audience| self.is_mine(audience) && self.revocations(audience).is_none())
    }

    /// The registration in force.
    #[must_use]
    pub fn registration(&self) -> Option<&Registration> {
        self.owner.as_ref().map(|(registration, _)| registration)
    }

    /// The checked key of the owner, of a holder of shares, or of a member of a group that
    /// holds one. Commands signed by any other key are refused.
    #[must_use]
    pub fn authority(&self, key: &KeyBytes) -> Option<&PublicKey> {
        match &self.owner {
            Some((_, owner)) if owner.bytes() == *key => Some(owner),
            _ => match self.holder_key(key) {
                Some(holder) => Some(holder),
                None => self.members.get(key).map(|member| &member.key),
            },
        }
    }

    /// Returns whether this is the owner's key.
    #[must_use]
    pub fn is_owner(&self, key: &KeyBytes) -> bool {
        self.owner.as_ref().is_some_and(|(_, o)| o.bytes() == *key)
    }

    /// The account that a key belongs to, if the key may send commands to this device at all.
    #[must_use]
    pub fn person(&self, key: &KeyBytes) -> Option<&Id> {
        if self.is_owner(key) {
            return self.registration().map(|registration| &registration.sub);
        }
        self.grants_of(key).next().map(|grant| grant.person)
    }

    /// The shares that a key can use on this device under the current registration.
    pub(super) fn grants_of(&self, key: &KeyBytes) -> impl Iterator<Item = Grant<'_>> {
        let direct = self.shares_naming(key).map(|share| Grant {
            share,
            person: &share.sub,
            key: share.cnf.0,
            via: match share.body.group {
                Some(_) => GrantPath::GroupKey,
                None => GrantPath::Direct,
            },
        });
        let member = self.members.get(key);
        let groups = member.into_iter().flat_map(|member| &member.groups);
        let key = *key;
        let by_group = groups.flat_map(move |group| {
            let roster = self.rosters.get(group);
            let listed = roster.and_then(|roster| Some((roster, roster.body.members.find(&key)?)));
            listed.into_iter().flat_map(move |(roster, person)| {
                let shares = self.shares_naming(group);
                let of_group =
                    shares.filter(|share| share.body.group.as_ref() == Some(&roster.sub));
                of_group.map(move |share| Grant {
                    share,
                    person,
                    key,
                    via: GrantPath::Member(roster),
                })
            })
        });
        direct.chain(by_group)
    }

    fn shares_naming(&self, key: &KeyBytes) -> impl Iterator<Item = &Share> {
        self.holders
            .get(key)
            .into_iter()
            .flat_map(|holder| &holder.shares)
            .filter_map(|id| self.share(id))
            .filter(|share| self.is_mine(&share.aud))
    }

    /// The shares that a key can use.
    pub fn shares_of(&self, key: &KeyBytes) -> impl Iterator<Item = &Share> {
        self.grants_of(key).map(|grant| grant.share)
    }

    /// A share by its id.
    #[must_use]
    pub fn share(&self, id: &Bytes<16>) -> Option<&Share> {
        let verified = self.shares.get(id)?.get(&self.issuers)?;
        Some(&verified.share)
    }

    /// Number of stored shares, verified or not.
    #[must_use]
    pub fn share_count(&self) -> usize {
        self.shares.len()
    }

    /// All shares for this device, oldest first.
    pub fn shares_by_age(&self) -> impl Iterator<Item = &Share> {
        self.by_age
            .iter()
            .filter_map(|(_, id)| self.share(id))
            .filter(|share| self.is_mine(&share.aud))
    }

    /// The revocation list of an audience, if the device holds it.
    #[must_use]
    pub fn revocations(&self, audience: &Audience) -> Option<&Revocations> {
        self.revocations.get(audience)
    }

    /// Returns whether any revocation list of this device ends `share`.
    #[must_use]
    pub fn is_revoked(&self, share: &Share) -> bool {
        self.revocations
            .iter()
            .any(|(audience, list)| self.is_mine(audience) && list.ends(share))
    }

    /// Returns whether a list ends the access of a group's member, by the member's key or account.
    /// A roster that was issued later restores it.
    pub(super) fn is_member_revoked(&self, key: &KeyBytes, person: &Id, roster: &Roster) -> bool {
        let lists = self.revocations.iter();
        let mut mine = lists.filter(|(audience, _)| self.is_mine(audience));
        mine.any(|(_, list)| {
            let times = [list.body.holders.find(key), list.body.subjects.get(person)];
            times.into_iter().flatten().any(|time| roster.iat < *time)
        })
    }

    /// The first time after `after` at which a share, a roster, the plan, or the lease of a class
    /// of operations ends.
    #[must_use]
    pub fn next_end(&self, after: Timestamp) -> Option<Timestamp> {
        let lists = self.revocations.values().map(|list| list.iat);
        let plan = self.registration().and_then(|r| r.body.plan.end);
        let headers = self.shares.values().map(|cached| &cached.header);
        let ends = headers.flat_map(|it| self.lease_ends(it.issued_at).chain([it.expires_at]));
        ends.chain(lists.flat_map(|proof| self.lease_ends(proof)))
            .chain(self.rosters.values().map(|roster| roster.exp))
            .chain(plan)
            .filter(|end| *end > after)
            .min()
    }

    /// The times at which a share ends, and at which its leases do without a newer list.
    pub fn ends_of<'a>(&'a self, share: &'a Share) -> impl Iterator<Item = Timestamp> + 'a {
        self.lease_ends(share.iat).chain([share.exp])
    }

    fn lease_ends(&self, proof: Timestamp) -> impl Iterator<Item = Timestamp> + '_ {
        let leases = self.registration().map(|r| &r.body.leases);
        let leases = leases.into_iter().flat_map(|leases| leases.iter());
        leases.map(move |(_, seconds)| proof.plus(*seconds))
    }

    /// A release for a model.
    #[must_use]
    pub fn release(&self, model: &Text, version: u32) -> Option<&Release> {
        let key = (model.clone(), version);
        self.releases.get(&key)
    }
}
