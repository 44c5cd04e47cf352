//! The rules by which a newer statement takes the place of an older one.

use super::known::Known;
use super::{Code, Mark, Memory};
use crate::wire::{
    Audience, Bytes, Envelope, Hash, Id, Issuers, KeyBytes, Kind, PublicKey, Registration, Release,
    Revocations, Role, Timestamp,
};

/// Most releases that are kept.
pub const MAX_RELEASES: usize = 64;

/// A statement that was accepted, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Its kind.
    pub kind: Kind,
    /// Whom it is about: an audience, a group, a platform or a model.
    pub about: Id,
    /// Its audience, if it has one.
    pub audience: Option<Audience>,
    /// The group's key of a roster.
    pub group: Option<KeyBytes>,
    /// Its sequence number or version.
    pub seq: u64,
    /// SHA-256 of its envelope.
    pub hash: Hash,
    /// Its time, if statements of this kind raise the time floor.
    pub signed_time: Option<Timestamp>,
    /// Roles whose keys it changed.
    pub roles: Vec<Role>,
    /// The name under which the cache keeps it.
    pub name: String,
    /// Names that the cache can drop.
    pub dropped: Vec<String>,
}

pub(super) type Result = std::result::Result<Option<Installed>, Code>;

impl Known {
    /// Accepts a statement, if it is sound, meant for this device, signed by all who must
    /// sign it, and newer than what is known. `envelopes` are one or more with the same
    /// payload. `None`: it was known, or is out of date.
    ///
    /// # Errors
    /// The code that says why it was refused.
    pub fn install(
        &mut self,
        envelopes: &[Envelope<'_>],
        memory: &Memory,
        now: Timestamp,
    ) -> Result {
        let Some(first) = envelopes.first() else {
            return Ok(None);
        };
        match first.kind {
            Kind::Issuers => self.install_issuers(envelopes),
            Kind::Registration => self.install_registration(envelopes, memory),
            Kind::Share => self.install_share(envelopes, now),
            Kind::Revocations => self.install_revocations(envelopes, memory),
            Kind::Roster => self.install_roster(first, memory, now),
            Kind::Release => self.install_release(envelopes),
            Kind::Command | Kind::Receipt | Kind::State | Kind::Approval | Kind::Checkpoint => {
                Err(Code::WrongType)
            }
        }
    }

    /// Exactly the next version, signed by a threshold of the root keys of this version and
    /// of the next one. What a role signed with keys that it has lost ends with them, except
    /// revocations, which only ever take away.
    fn install_issuers(&mut self, envelopes: &[Envelope<'_>]) -> Result {
        let new: Issuers = first(envelopes)?.claims()?;
        if new.iss != self.issuers.iss {
            return Err(Code::UnknownIssuer);
        }
        if new.body.version <= self.issuers.body.version {
            return Ok(None);
        }
        if new.body.version != self.issuers.body.version + 1 || new.iat < self.issuers.iat {
            return Err(Code::UnknownIssuer);
        }
        self.issuers.verify(Role::Root, envelopes)?;
        new.verify(Role::Root, envelopes)?;
        let roles = Role::ALL.into_iter();
        let roles: Vec<Role> = roles
            .filter(|role| new.role(*role) != self.issuers.role(*role))
            .collect();
        let about = new.iss.clone();
        let (seq, iat) = (u64::from(new.body.version), new.iat);
        self.issuers = new;
        let mut dropped = Vec::new();
        if roles.contains(&Role::Shares) {
            let lost: Vec<Bytes<16>> = self
                .shares
                .values()
                .filter(|held| !self.is_trusted(Role::Shares, &held.signer))
                .map(|held| held.share.cti)
                .collect();
            for id in lost {
                self.forget_share(&id);
                dropped.push(cache_name(Kind::Share, &id.hex()));
            }
        }
        if roles.contains(&Role::Firmware) {
            let names = self.releases.keys().map(release_name);
            dropped.extend(names);
            self.releases.clear();
        }
        Ok(Some(Installed {
            signed_time: Some(iat),
            roles,
            dropped,
            ..installed(first(envelopes)?, about, seq, "")
        }))
    }

    fn install_registration(&mut self, envelopes: &[Envelope<'_>], memory: &Memory) -> Result {
        let envelope = first(envelopes)?;
        let new: Registration = envelope.claims()?;
        self.addressed(&new.aud, &new.iss)?;
        if new.body.device != self.device_key {
            return Err(Code::WrongDevice);
        }
        let held = self.owner.is_some();
        if outdated(memory.registration, new.body.seq, envelope.hash(), held) {
            return Ok(None);
        }
        self.signed_or_known(Role::Registry, envelopes, memory.registration)?;
        if let Some((old, _)) = &self.owner {
            // Another owner comes by a handover, which ends all that was shared before it.
            let same = old.cnf == new.cnf && old.sub == new.sub;
            if new.body.since < old.body.since || (!same && new.body.since <= old.iat) {
                return Err(Code::BadGrant);
            }
        }
        let installed = Installed {
            signed_time: Some(new.iat),
            audience: Some(new.aud.clone()),
            ..installed(envelope, self.device.clone(), new.body.seq, "")
        };
        let key = PublicKey::new(&new.cnf.0)?;
        self.owner = Some((new, key));
        Ok(Some(installed))
    }

    fn install_revocations(&mut self, envelopes: &[Envelope<'_>], memory: &Memory) -> Result {
        let envelope = first(envelopes)?;
        let new: Revocations = envelope.claims()?;
        self.addressed(&new.aud, &new.iss)?;
        let held = self.revocations.contains_key(&new.aud);
        let mark = memory.revocations.get(&new.aud).copied();
        if outdated(mark, new.body.seq, envelope.hash(), held) {
            return Ok(None);
        }
        self.signed_or_known(Role::Revocations, envelopes, mark)?;
        let part = new.aud.to_string();
        let installed = Installed {
            signed_time: Some(new.iat),
            audience: Some(new.aud.clone()),
            ..installed(envelope, self.device.clone(), new.body.seq, &part)
        };
        self.revocations.insert(new.aud.clone(), new);
        Ok(Some(installed))
    }

    fn install_release(&mut self, envelopes: &[Envelope<'_>]) -> Result {
        let envelope = first(envelopes)?;
        let new: Release = envelope.claims()?;
        if new.iss != self.issuers.iss {
            return Err(Code::UnknownIssuer);
        }
        let key = (new.body.model.clone(), new.body.version);
        match self.releases.get(&key) {
            Some((old, _)) if *old == new => return Ok(None),
            // One number, one image.
            Some(_) => return Err(Code::BadImage),
            None => {}
        }
        self.signed_by(Role::Firmware, envelopes)?;
        if self.releases.len() >= MAX_RELEASES {
            return Err(Code::SlotsFull);
        }
        let name = release_name(&key);
        let installed = Installed {
            name,
            ..installed(envelope, new.body.vendor.clone(), u64::from(key.1), "")
        };
        self.releases.insert(key, (new, envelope.hash()));
        Ok(Some(installed))
    }

    pub(super) fn addressed(&self, audience: &Audience, iss: &Id) -> std::result::Result<(), Code> {
        if !self.is_mine(audience) {
            return Err(Code::WrongDevice);
        }
        if *iss != self.issuers.iss {
            return Err(Code::UnknownIssuer);
        }
        Ok(())
    }

    fn is_trusted(&self, role: Role, signer: &KeyBytes) -> bool {
        self.issuers
            .role(role)
            .is_some_and(|r| r.keys.contains(signer))
    }

    pub(super) fn signed_by(
        &self,
        role: Role,
        envelopes: &[Envelope<'_>],
    ) -> std::result::Result<(), Code> {
        // A look-up before any signature work.
        if !envelopes.iter().any(|e| self.is_trusted(role, &e.signer)) {
            return Err(Code::UnknownIssuer);
        }
        Ok(self.issuers.verify(role, envelopes)?)
    }

    /// The very statement that the log remembers was verified when it was accepted, even if
    /// its key has left its role since.
    fn signed_or_known(
        &self,
        role: Role,
        envelopes: &[Envelope<'_>],
        mark: Option<Mark>,
    ) -> std::result::Result<(), Code> {
        let hash = first(envelopes)?.hash();
        match mark {
            Some(mark) if mark.hash == hash => Ok(()),
            _ => self.signed_by(role, envelopes),
        }
    }
}

pub(super) fn first<'a, 'b>(
    envelopes: &'a [Envelope<'b>],
) -> std::result::Result<&'a Envelope<'b>, Code> {
    envelopes.first().ok_or(Code::Malformed)
}

/// Whether a numbered statement brings nothing new. The log remembers the number even when
/// the statement itself is gone from the cache; then the very same one, or a later one, is
/// welcome back.
pub(super) fn outdated(mark: Option<Mark>, seq: u64, hash: Hash, held: bool) -> bool {
    match mark {
        None => false,
        Some(mark) if mark.hash == hash => held,
        Some(mark) => seq <= mark.seq,
    }
}

pub(super) fn installed(envelope: &Envelope<'_>, about: Id, seq: u64, part: &str) -> Installed {
    Installed {
        kind: envelope.kind,
        about,
        audience: None,
        group: None,
        seq,
        hash: envelope.hash(),
        signed_time: None,
        roles: Vec::new(),
        name: cache_name(envelope.kind, part),
        dropped: Vec::new(),
    }
}

pub(super) fn cache_name(kind: Kind, part: &str) -> String {
    format!("{}/{part}", kind.name())
}

fn release_name((model, version): &(crate::wire::Text, u32)) -> String {
    cache_name(Kind::Release, &format!("{model}/{version}"))
}
