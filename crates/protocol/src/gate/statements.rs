//! What the device has been told: issuers, its registration, shares, rosters, revocation lists
//! and releases, all in memory. How statements replace one another is in `install.rs`.

use alloc::vec::Vec;

use alloc::collections::{BTreeMap, BTreeSet};
use core::cell::RefCell;

use crate::gate::DurableState;
use crate::gate::cached_share::{CachedShare, HolderEntry};
use crate::gate::install_share::MAX_SHARES;
use crate::gate::slots::Slots;
use crate::wire::{
    Audience, Bytes, Id, Issuers, KeyBytes, PublicKey, Registration, Release, Revocations, Roster,
    Share, Text, Timestamp,
};

/// A key that rosters name, decompressed once, and the groups that list it.
pub(super) struct Member {
    pub(super) key: PublicKey,
    pub(super) groups: Vec<KeyBytes>,
}

/// How a key comes to a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GrantPath<'a> {
    /// The share names the key.
    Direct,
    /// The share names a group, and its roster lists the key.
    Member(&'a Roster),
    /// The share names a group, and this is the group's own key, which is nobody.
    GroupKey,
}

/// One share in the hands of one key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grant<'a> {
    pub(super) share: &'a Share,
    pub(super) person: &'a Id,
    pub(super) key: KeyBytes,
    pub(super) via: GrantPath<'a>,
}

/// Everything the device knows from statements.
pub struct StatementStore {
    pub(super) device: Id,
    pub(super) device_key: KeyBytes,
    pub(super) issuers: Issuers,
    pub(super) owner: Option<(Registration, PublicKey)>,
    pub(super) shares: BTreeMap<Bytes<16>, CachedShare>,
    pub(super) holders: BTreeMap<KeyBytes, HolderEntry>,
    /// Shares by age, for who holds the slots and for what has ended.
    pub(super) by_age: BTreeSet<(Timestamp, Bytes<16>)>,
    pub(super) revocations: BTreeMap<Audience, Revocations>,
    pub(super) rosters: BTreeMap<KeyBytes, Roster>,
    pub(super) members: BTreeMap<KeyBytes, Member>,
    pub(super) releases: BTreeMap<(Text, u32), Release>,
    /// Rises with whatever may change who has a slot, and who had one when that was last asked.
    pub(super) told: u64,
    pub(super) slots: RefCell<Option<Slots>>,
    /// Most shares that are kept.
    pub(super) room: usize,
}

impl StatementStore {
    /// Begins with what was pinned at provisioning.
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
            told: 0,
            slots: RefCell::new(None),
            room: MAX_SHARES,
        }
    }

    /// Keeps so many shares instead of [`MAX_SHARES`], to see how a decision grows beyond what a
    /// device takes; uses are counted for no more than before.
    #[doc(hidden)]
    #[must_use]
    pub fn with_room_for(mut self, shares: usize) -> Self {
        self.room = shares;
        self
    }

    /// The device's id.
    #[must_use]
    pub fn device(&self) -> &Id {
        &self.device
    }

    /// Whether `audience` is this very device.
    pub(super) fn is_device(&self, audience: &Audience) -> bool {
        matches!(audience, Audience::Device(id) if *id == self.device)
    }

    /// The keys that are trusted now.
    #[must_use]
    pub fn issuers(&self) -> &Issuers {
        &self.issuers
    }

    /// The site of this device, if its registration names one.
    #[must_use]
    pub fn site(&self) -> Option<&Id> {
        self.registration()?.body.site.as_ref()
    }

    /// Whether a statement for `audience` is for this device.
    #[must_use]
    pub fn is_mine(&self, audience: &Audience) -> bool {
        match audience {
            Audience::Device(id) => *id == self.device,
            Audience::Site(id) => self.site() == Some(id),
        }
    }

    /// Audiences of this device whose revocation list the log knows to exist, and which the
    /// device does not hold.
    pub fn lost_lists<'a>(
        &'a self,
        memory: &'a DurableState,
    ) -> impl Iterator<Item = &'a Audience> {
        let lists = memory.revocations.keys();
        lists.filter(|audience| self.is_mine(audience) && self.revocations(audience).is_none())
    }

    /// The registration in force.
    #[must_use]
    pub fn registration(&self) -> Option<&Registration> {
        self.owner.as_ref().map(|(registration, _)| registration)
    }

    /// The checked key of the owner, of a holder of shares or of a member of a group that
    /// holds one; nobody else may command.
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

    /// Whether this is the owner's key.
    #[must_use]
    pub fn is_owner(&self, key: &KeyBytes) -> bool {
        self.owner.as_ref().is_some_and(|(_, o)| o.bytes() == *key)
    }

    /// The account behind a key, if the key may command this device at all.
    #[must_use]
    pub fn person(&self, key: &KeyBytes) -> Option<&Id> {
        if self.is_owner(key) {
            return self.registration().map(|registration| &registration.sub);
        }
        self.grants_of(key).next().map(|grant| grant.person)
    }

    /// The shares that a key can use on this device as it is registered now.
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
        let checked = self.shares.get(id)?.get(&self.issuers)?;
        Some(&checked.share)
    }

    /// How many shares it holds, checked or not.
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

    /// Whether any list that this device holds ends `share`.
    #[must_use]
    pub fn is_revoked(&self, share: &Share) -> bool {
        self.revocations
            .iter()
            .any(|(audience, list)| self.is_mine(audience) && list.ends(share))
    }

    /// Whether a list ends what a member may do through a group, by the member's key or
    /// account; a roster made since then lets the member in again.
    pub(super) fn is_member_revoked(&self, key: &KeyBytes, person: &Id, roster: &Roster) -> bool {
        let lists = self.revocations.iter();
        let mut mine = lists.filter(|(audience, _)| self.is_mine(audience));
        mine.any(|(_, list)| {
            let times = [list.body.holders.find(key), list.body.subjects.get(person)];
            times.into_iter().flatten().any(|time| roster.iat < *time)
        })
    }

    /// The next time after `after` at which something that holds will hold no longer: a share,
    /// a roster, the plan, or the lease of a class of operations.
    #[must_use]
    pub fn next_end(&self, after: Timestamp) -> Option<Timestamp> {
        let lists = self.revocations.values().map(|list| list.iat);
        let plan = self.registration().and_then(|r| r.body.plan.end);
        let outlines = self.shares.values().map(|held| &held.outline);
        let ends = outlines.flat_map(|it| self.lapses(it.made).chain([it.end]));
        ends.chain(lists.flat_map(|proof| self.lapses(proof)))
            .chain(self.rosters.values().map(|roster| roster.exp))
            .chain(plan)
            .filter(|end| *end > after)
            .min()
    }

    /// When a share ends, and when its leases do if no list comes.
    pub fn ends_of<'a>(&'a self, share: &'a Share) -> impl Iterator<Item = Timestamp> + 'a {
        self.lapses(share.iat).chain([share.exp])
    }

    fn lapses(&self, proof: Timestamp) -> impl Iterator<Item = Timestamp> + '_ {
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
