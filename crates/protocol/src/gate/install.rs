//! The rules by which a newer statement takes the place of an older one.

use alloc::format;
use alloc::string::String;
use alloc::string::ToString;
use alloc::vec::Vec;

use crate::gate::statements::StatementStore;
use crate::gate::{Code, DurableState, SeqMark};
use crate::wire::{
    Audience, Bytes, Envelope, Hash, Id, Issuers, KeyBytes, Kind, PublicKey, Registration, Release,
    Revocations, Role, Timestamp, hash,
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
    /// The group's key of a roster, or of a share with a group.
    pub group: Option<KeyBytes>,
    /// The id of a share.
    pub share: Option<Bytes<16>>,
    /// Whether it is a share with a group whose roster the device lacks.
    pub awaits_roster: bool,
    /// Its sequence number or version.
    pub seq: u64,
    /// SHA-256 of its claims: the same for every set of signatures.
    pub hash: Hash,
    /// The envelopes that were verified, and nothing else that came along.
    pub bytes: Vec<u8>,
    /// When it was made.
    pub made: Timestamp,
    /// Roles whose keys it changed.
    pub roles: Vec<Role>,
    /// Those of them of which no key is left.
    pub replaced: Vec<Role>,
    /// The name under which the cache keeps it.
    pub name: String,
    /// Names that the cache can drop.
    pub dropped: Vec<String>,
}

pub(super) type Result = core::result::Result<Option<Installed>, Code>;

impl StatementStore {
    /// Accepts a statement, if it is sound, meant for this device, signed by all who must
    /// sign it, and newer than what is known. `envelopes` are one or more with the same
    /// payload. `None`: it was known, or is out of date.
    ///
    /// # Errors
    /// The code that says why it was refused.
    pub fn install(
        &mut self,
        envelopes: &[Envelope<'_>],
        memory: &DurableState,
        now: Timestamp,
    ) -> Result {
        let Some(first) = envelopes.first() else {
            return Ok(None);
        };
        // A look-up before anything that costs more.
        if !self.may_install(first.kind, envelopes, memory) {
            return Err(Code::UnknownIssuer);
        }
        let installed = match first.kind {
            Kind::Issuers => self.install_issuers(envelopes),
            Kind::Registration => self.install_registration(envelopes, memory),
            Kind::Share => self.install_share(envelopes, now),
            Kind::Revocations => self.install_revocations(envelopes, memory),
            Kind::Roster => self.install_roster(first, memory, now),
            Kind::Release => self.install_release(envelopes),
            Kind::Command
            | Kind::Receipt
            | Kind::State
            | Kind::Approval
            | Kind::Checkpoint
            | Kind::Licence
            | Kind::Notice => Err(Code::WrongType),
        };
        if matches!(installed, Ok(Some(_))) {
            self.is_told();
        }
        installed
    }

    /// Exactly the next version, signed by a threshold of the root keys of this version and
    /// of the next one. What a role signed with keys that it has lost ends with them, except
    /// revocations, which only ever take away.
    fn install_issuers(&mut self, envelopes: &[Envelope<'_>]) -> Result {
        let new: Issuers = primary(envelopes)?.claims()?;
        if new.iss != self.issuers.iss {
            return Err(Code::UnknownIssuer);
        }
        if new.body.version <= self.issuers.body.version {
            return Ok(None);
        }
        if new.body.version != self.issuers.body.version + 1 {
            return Err(Code::UnknownIssuer);
        }
        let mut verified = self.issuers.verify(Role::Root, envelopes)?;
        for envelope in new.verify(Role::Root, envelopes)? {
            if verified.iter().all(|other| other.signer != envelope.signer) {
                verified.push(envelope);
            }
        }
        let roles = Role::ALL.into_iter();
        let roles: Vec<Role> = roles
            .filter(|role| new.role(*role) != self.issuers.role(*role))
            .collect();
        let stays = |role: &Role| new.role(*role).into_iter().flat_map(|now| &now.keys);
        let lost = |role: &Role| !stays(role).any(|key| self.is_trusted(*role, key));
        let replaced = roles.iter().copied().filter(lost).collect();
        let about = new.iss.clone();
        let (seq, iat) = (u64::from(new.body.version), new.iat);
        self.issuers = new;
        let mut dropped = Vec::new();
        if roles.contains(&Role::Shares) {
            let lost: Vec<Bytes<16>> = self
                .shares
                .values()
                .filter(|held| !self.is_signed_enough(&held.signers()))
                .map(|held| held.outline.id)
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
            roles,
            replaced,
            dropped,
            ..new_installed(&verified, about, seq, iat, "")
        }))
    }

    fn install_registration(
        &mut self,
        envelopes: &[Envelope<'_>],
        memory: &DurableState,
    ) -> Result {
        let new: Registration = primary(envelopes)?.claims()?;
        self.check_addressed(&new.aud, &new.iss)?;
        if new.body.device != self.device_key {
            return Err(Code::WrongDevice);
        }
        let held = self.owner.is_some();
        let mark = memory.registration;
        let hash = payload_hash(envelopes)?;
        if check_newer(mark, new.body.seq, new.iat, hash, held) || memory.is_deleted(&hash) {
            return Ok(None);
        }
        let verified = self.signed_or_known(Role::Registry, envelopes, mark)?;
        // After it was deleted it begins anew, so that nothing of before lives again.
        let deleted = mark.filter(|mark| memory.is_deleted(&mark.hash));
        if deleted.is_some_and(|mark| new.body.since <= mark.made) {
            return Err(Code::BadGrant);
        }
        if let Some((old, _)) = &self.owner {
            // Another owner comes by a handover, which ends all that was shared before it.
            let same = old.cnf == new.cnf && old.sub == new.sub;
            let made = mark.map_or(old.iat, |mark| mark.made);
            if new.body.since < old.body.since || (!same && new.body.since <= made) {
                return Err(Code::BadGrant);
            }
        }
        let installed = Installed {
            audience: Some(new.aud.clone()),
            ..new_installed(&verified, self.device.clone(), new.body.seq, new.iat, "")
        };
        let key = PublicKey::checked_before(&new.cnf.0)?;
        self.owner = Some((new, key));
        Ok(Some(installed))
    }

    fn install_revocations(&mut self, envelopes: &[Envelope<'_>], memory: &DurableState) -> Result {
        let new: Revocations = primary(envelopes)?.claims()?;
        self.check_addressed(&new.aud, &new.iss)?;
        let held = self.revocations.contains_key(&new.aud);
        let mark = memory.revocations.get(&new.aud).copied();
        if check_newer(mark, new.body.seq, new.iat, payload_hash(envelopes)?, held) {
            return Ok(None);
        }
        let verified = self.signed_or_known(Role::Revocations, envelopes, mark)?;
        let part = new.aud.to_string();
        let installed = Installed {
            audience: Some(new.aud.clone()),
            ..new_installed(&verified, self.device.clone(), new.body.seq, new.iat, &part)
        };
        self.revocations.insert(new.aud.clone(), new);
        Ok(Some(installed))
    }

    fn install_release(&mut self, envelopes: &[Envelope<'_>]) -> Result {
        let new: Release = primary(envelopes)?.claims()?;
        if new.iss != self.issuers.iss {
            return Err(Code::UnknownIssuer);
        }
        let model = self
            .registration()
            .map(|registration| &registration.body.model);
        if model.is_some_and(|model| *model != new.body.model) {
            return Err(Code::WrongDevice);
        }
        let key = (new.body.model.clone(), new.body.version);
        match self.releases.get(&key) {
            Some(old) if *old == new => return Ok(None),
            // One number, one image.
            Some(_) => return Err(Code::BadImage),
            None => {}
        }
        let verified = self.signed_by(Role::Firmware, envelopes)?;
        let mut dropped = Vec::new();
        if self.releases.len() >= MAX_RELEASES {
            // The oldest goes; one that is older still is not taken.
            let oldest = self.releases.keys().min_by_key(|(_, version)| *version);
            match oldest.cloned() {
                Some(oldest) if oldest.1 < key.1 => {
                    dropped.push(release_name(&oldest));
                    self.releases.remove(&oldest);
                }
                _ => return Err(Code::SlotsFull),
            }
        }
        let about = new.body.vendor.clone();
        let installed = Installed {
            name: release_name(&key),
            dropped,
            ..new_installed(&verified, about, u64::from(key.1), new.iat, "")
        };
        self.releases.insert(key, new);
        Ok(Some(installed))
    }

    /// Whether some key that may sign this kind is named, or the very statement is known.
    fn may_install(&self, kind: Kind, envelopes: &[Envelope<'_>], memory: &DurableState) -> bool {
        // A roster begins with a look-up of its own, and nothing else is taken at all.
        let Some(role) = Role::of(kind) else {
            return true;
        };
        if envelopes.iter().any(|e| self.is_trusted(role, &e.signer)) {
            return true;
        }
        payload_hash(envelopes).is_ok_and(|hash| {
            let mut marks = memory.revocations.values().chain(&memory.registration);
            marks.any(|mark| mark.hash == hash)
        })
    }

    pub(super) fn check_addressed(
        &self,
        audience: &Audience,
        iss: &Id,
    ) -> core::result::Result<(), Code> {
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

    fn is_signed_enough(&self, signers: &[KeyBytes]) -> bool {
        let keys = self.issuers.role(Role::Shares);
        keys.is_some_and(|keys| {
            let count = signers.iter().filter(|key| keys.keys.contains(key)).count();
            count >= usize::from(keys.threshold)
        })
    }

    pub(super) fn signed_by<'e>(
        &self,
        role: Role,
        envelopes: &[Envelope<'e>],
    ) -> core::result::Result<Vec<Envelope<'e>>, Code> {
        Ok(self.issuers.verify(role, envelopes)?)
    }

    /// The very statement that the log remembers was verified when it was accepted, even if
    /// its key has left its role since.
    fn signed_or_known<'e>(
        &self,
        role: Role,
        envelopes: &[Envelope<'e>],
        mark: Option<SeqMark>,
    ) -> core::result::Result<Vec<Envelope<'e>>, Code> {
        let hash = payload_hash(envelopes)?;
        match mark {
            Some(mark) if mark.hash == hash => Ok(envelopes.to_vec()),
            _ => self.signed_by(role, envelopes),
        }
    }
}

pub(super) fn primary<'a, 'b>(
    envelopes: &'a [Envelope<'b>],
) -> core::result::Result<&'a Envelope<'b>, Code> {
    envelopes.first().ok_or(Code::Malformed)
}

/// What a statement is known by, whoever signed it.
pub(super) fn payload_hash(envelopes: &[Envelope<'_>]) -> core::result::Result<Hash, Code> {
    Ok(hash(primary(envelopes)?.payload()))
}

/// Whether a numbered statement brings nothing new. The log remembers the number even when
/// the statement itself is gone from the cache; then the very same one, or a later one, is
/// welcome back. After the keys of its role have changed numbers begin again, and then the
/// time tells old from new.
pub(super) fn check_newer(
    mark: Option<SeqMark>,
    seq: u64,
    made: Timestamp,
    hash: Hash,
    held: bool,
) -> bool {
    match mark {
        None => false,
        Some(mark) if mark.hash == hash => held,
        Some(mark) => seq <= mark.seq || (mark.seq == 0 && made < mark.made),
    }
}

pub(super) fn new_installed(
    verified: &[Envelope<'_>],
    about: Id,
    seq: u64,
    made: Timestamp,
    part: &str,
) -> Installed {
    let first = verified.first();
    let kind = first.map_or(Kind::Issuers, |envelope| envelope.kind);
    Installed {
        kind,
        about,
        audience: None,
        group: None,
        share: None,
        awaits_roster: false,
        seq,
        hash: hash(first.map_or(&[], Envelope::payload)),
        bytes: verified.iter().flat_map(Envelope::bytes).copied().collect(),
        made,
        roles: Vec::new(),
        replaced: Vec::new(),
        name: cache_name(kind, part),
        dropped: Vec::new(),
    }
}

pub(super) fn cache_name(kind: Kind, part: &str) -> String {
    format!("{}/{part}", kind.name())
}

pub(super) fn release_name((model, version): &(crate::wire::Text, u32)) -> String {
    cache_name(Kind::Release, &format!("{model}/{version}"))
}
