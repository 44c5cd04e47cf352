//! What the device has been told: issuers, its registration, shares and revocation lists,
//! and the rules by which a newer statement takes the place of an older one.

use std::collections::{BTreeSet, HashMap};

use super::{Code, Mark, Memory};
use crate::wire::{
    Audience, Bytes, Envelope, Hash, Id, Issuers, KeyBytes, Kind, PublicKey, Registration,
    Revocations, Role, Share, Timestamp,
};

/// Most shares that are kept.
pub const MAX_SHARES: usize = 10_000;

/// A statement that was accepted, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Its kind.
    pub kind: Kind,
    /// Whom it is for.
    pub audience: Audience,
    /// Its sequence number; for a share its version.
    pub seq: u64,
    /// SHA-256 of its envelope.
    pub hash: Hash,
    /// Its time, if statements of this kind raise the time floor.
    pub signed_time: Option<Timestamp>,
    /// The name under which the cache keeps it.
    pub name: String,
    /// Names that the cache can drop: expired shares that made room.
    pub dropped: Vec<String>,
}

struct Holder {
    key: PublicKey,
    shares: Vec<Bytes<16>>,
}

/// Everything the device knows from statements, in memory.
pub struct Known {
    device: Id,
    device_key: KeyBytes,
    issuers: Issuers,
    owner: Option<(Registration, PublicKey)>,
    shares: HashMap<Bytes<16>, (Share, Hash)>,
    holders: HashMap<KeyBytes, Holder>,
    /// Shares by age, for who holds the slots and for what has ended.
    by_age: BTreeSet<(Timestamp, Bytes<16>)>,
    revocations: HashMap<Audience, Revocations>,
}

impl Known {
    /// Begins with what was pinned at provisioning.
    #[must_use]
    pub fn new(device: Id, device_key: KeyBytes, issuers: Issuers) -> Self {
        Self {
            device,
            device_key,
            issuers,
            owner: None,
            shares: HashMap::new(),
            holders: HashMap::new(),
            by_age: BTreeSet::new(),
            revocations: HashMap::new(),
        }
    }

    /// Accepts a statement, if it is sound, meant for this device, signed by whom it must
    /// be, and newer than what is known. `None`: it was known, or is out of date.
    ///
    /// # Errors
    /// The code that says why it was refused.
    pub fn install(
        &mut self,
        envelope: &Envelope<'_>,
        memory: &Memory,
        now: Timestamp,
    ) -> Result<Option<Installed>, Code> {
        match envelope.kind {
            Kind::Registration => self.install_registration(envelope, memory),
            Kind::Share => self.install_share(envelope, now),
            Kind::Revocations => self.install_revocations(envelope, memory),
            Kind::Issuers if envelope.payload() == crate::wire::to_bytes(&self.issuers) => Ok(None),
            // Another version than the pinned one: rotation is not known to this build.
            Kind::Issuers => Err(Code::UnknownIssuer),
            Kind::Command | Kind::Receipt | Kind::State => Err(Code::WrongType),
        }
    }

    fn install_registration(
        &mut self,
        envelope: &Envelope<'_>,
        memory: &Memory,
    ) -> Result<Option<Installed>, Code> {
        let new: Registration = envelope.claims()?;
        self.addressed(&new.aud, &new.iss)?;
        if new.body.device != self.device_key {
            return Err(Code::WrongDevice);
        }
        let known = self.owner.is_some();
        if outdated(memory.registration, new.body.seq, envelope.hash(), known) {
            return Ok(None);
        }
        self.signed_by(Role::Registry, envelope)?;
        let installed = Installed {
            signed_time: Some(new.iat),
            ..installed(envelope, &new.aud, new.body.seq, "")
        };
        let key = PublicKey::new(&new.cnf.0)?;
        self.owner = Some((new, key));
        Ok(Some(installed))
    }

    fn install_share(
        &mut self,
        envelope: &Envelope<'_>,
        now: Timestamp,
    ) -> Result<Option<Installed>, Code> {
        let new: Share = envelope.claims()?;
        self.addressed(&new.aud, &new.iss)?;
        let hash = envelope.hash();
        let old = self.shares.get(&new.cti);
        if new.exp <= now || old.is_some_and(|(_, old)| *old == hash) {
            return Ok(None);
        }
        self.signed_by(Role::Shares, envelope)?;
        match old {
            // An older version of an extended share: stale news, not a contradiction.
            Some((old, _)) if new.is_extended_by(old) => return Ok(None),
            Some((old, _)) if !old.is_extended_by(&new) => return Err(Code::BadGrant),
            Some(_) | None => {}
        }
        let dropped = self.make_room(now)?;
        let installed = Installed {
            dropped,
            ..installed(
                envelope,
                &new.aud,
                u64::from(new.body.version),
                &new.cti.hex(),
            )
        };
        let key = PublicKey::new(&new.cnf.0)?;
        self.forget_share(&new.cti);
        self.by_age.insert((new.iat, new.cti));
        self.holders
            .entry(new.cnf.0)
            .or_insert_with(|| Holder {
                key,
                shares: Vec::new(),
            })
            .shares
            .push(new.cti);
        self.shares.insert(new.cti, (new, hash));
        Ok(Some(installed))
    }

    fn install_revocations(
        &mut self,
        envelope: &Envelope<'_>,
        memory: &Memory,
    ) -> Result<Option<Installed>, Code> {
        let new: Revocations = envelope.claims()?;
        self.addressed(&new.aud, &new.iss)?;
        let known = self.revocations.contains_key(&new.aud);
        let mark = memory.revocations.get(&new.aud).copied();
        if outdated(mark, new.body.seq, envelope.hash(), known) {
            return Ok(None);
        }
        self.signed_by(Role::Revocations, envelope)?;
        let installed = Installed {
            signed_time: Some(new.iat),
            ..installed(envelope, &new.aud, new.body.seq, &new.aud.to_string())
        };
        self.revocations.insert(new.aud.clone(), new);
        Ok(Some(installed))
    }

    fn addressed(&self, audience: &Audience, iss: &Id) -> Result<(), Code> {
        if !self.is_mine(audience) {
            return Err(Code::WrongDevice);
        }
        if *iss != self.issuers.iss {
            return Err(Code::UnknownIssuer);
        }
        Ok(())
    }

    fn signed_by(&self, role: Role, envelope: &Envelope<'_>) -> Result<(), Code> {
        let trusted = self
            .issuers
            .role(role)
            .is_some_and(|r| r.keys.contains(&envelope.signer));
        if !trusted {
            return Err(Code::UnknownIssuer);
        }
        Ok(self.issuers.verify(role, std::slice::from_ref(envelope))?)
    }

    /// Drops expired shares when the table is full.
    fn make_room(&mut self, now: Timestamp) -> Result<Vec<String>, Code> {
        if self.shares.len() < MAX_SHARES {
            return Ok(Vec::new());
        }
        let ended: Vec<_> = self
            .shares
            .values()
            .filter(|(share, _)| share.exp <= now)
            .map(|(share, _)| share.cti)
            .collect();
        if ended.is_empty() {
            return Err(Code::SlotsFull);
        }
        Ok(ended
            .iter()
            .map(|id| {
                self.forget_share(id);
                cache_name(Kind::Share, &id.hex())
            })
            .collect())
    }

    fn forget_share(&mut self, id: &Bytes<16>) {
        let Some((share, _)) = self.shares.remove(id) else {
            return;
        };
        self.by_age.remove(&(share.iat, share.cti));
        if let Some(holder) = self.holders.get_mut(&share.cnf.0) {
            holder.shares.retain(|other| other != id);
            if holder.shares.is_empty() {
                self.holders.remove(&share.cnf.0);
            }
        }
    }

    /// The device's id.
    #[must_use]
    pub fn device(&self) -> &Id {
        &self.device
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

    /// The registration in force.
    #[must_use]
    pub fn registration(&self) -> Option<&Registration> {
        self.owner.as_ref().map(|(registration, _)| registration)
    }

    /// The checked key of the owner or of a holder of shares; nobody else may command.
    #[must_use]
    pub fn authority(&self, key: &KeyBytes) -> Option<&PublicKey> {
        match &self.owner {
            Some((_, owner)) if owner.bytes() == *key => Some(owner),
            _ => self.holders.get(key).map(|holder| &holder.key),
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
        self.shares_of(key).next().map(|share| &share.sub)
    }

    /// The shares of a key that are for this device as it is registered now.
    pub fn shares_of(&self, key: &KeyBytes) -> impl Iterator<Item = &Share> {
        self.holders
            .get(key)
            .into_iter()
            .flat_map(|holder| &holder.shares)
            .filter_map(|id| self.shares.get(id))
            .map(|(share, _)| share)
            .filter(|share| self.is_mine(&share.aud))
    }

    /// All shares, oldest first.
    pub fn shares_by_age(&self) -> impl Iterator<Item = &Share> {
        self.by_age
            .iter()
            .filter_map(|(_, id)| self.shares.get(id))
            .map(|(share, _)| share)
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
}

/// Whether a numbered statement brings nothing new. The log remembers the number even when
/// the statement itself is gone from the cache; then the very same one, or a later one, is
/// welcome back.
fn outdated(mark: Option<Mark>, seq: u64, hash: Hash, held: bool) -> bool {
    match mark {
        None => false,
        Some(mark) if seq == mark.seq => held || hash != mark.hash,
        Some(mark) => seq < mark.seq,
    }
}

fn installed(envelope: &Envelope<'_>, audience: &Audience, seq: u64, part: &str) -> Installed {
    Installed {
        kind: envelope.kind,
        audience: audience.clone(),
        seq,
        hash: envelope.hash(),
        signed_time: None,
        name: cache_name(envelope.kind, part),
        dropped: Vec::new(),
    }
}

fn cache_name(kind: Kind, part: &str) -> String {
    format!("{}/{part}", kind.name())
}
