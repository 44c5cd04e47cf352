//! The rules by which a newer statement replaces an older one.

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

/// Maximum number of stored releases.
pub const MAX_RELEASES: usize = 64;

/// A statement that was accepted, and the changes that it caused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Its kind.
    pub kind: Kind,
    /// Its subject: a device, a recipient, a group, a platform or a vendor.
    pub about: Id,
    /// Its audience, if it has one.
    pub audience: Option<Audience>,
    /// The group's key of a roster, or of a share with a group.
    pub group: Option<KeyBytes>,
    /// The id of a share.
    pub share: Option<Bytes<16>>,
    /// Whether it is a share of a group whose roster is missing.
    pub awaits_roster: bool,
    /// Its sequence number or version.
    pub seq: u64,
    /// SHA-256 of its claims: the same for every set of signatures.
    pub hash: Hash,
    /// The envelopes whose signatures were verified, without others in the bundle.
    pub bytes: Vec<u8>,
    /// Time of issue.
    pub issued_at: Timestamp,
    /// Roles whose keys it changed.
    pub roles: Vec<Role>,
    /// Those of the changed roles of which no old key remains.
    pub replaced: Vec<Role>,
    /// The name under which the cache stores it.
    pub name: String,
    /// Names of cache entries that can be deleted.
    pub dropped: Vec<String>,
}

/// The accepted statement; `None` if it is already known or out of date.
pub(super) type InstallResult = Result<Option<Installed>, Code>;

impl StatementStore {
    /// Accepts a statement that is valid, addressed to this device, signed by a threshold of keys,
    /// and newer than the stored one. `envelopes` are one or more with the same payload. Returns
    /// `None` if the statement is already known or out of date.
    ///
    /// # Errors
    /// The code of the first check that fails.
    pub fn install(
        &mut self,
        envelopes: &[Envelope<'_>],
        state: &DurableState,
        now: Timestamp,
    ) -> InstallResult {
        let Some(first) = envelopes.first() else {
            return Ok(None);
        };
        // A cheap look-up before any signature is verified.
        if !self.may_install(first.kind, envelopes, state) {
            return Err(Code::UnknownIssuer);
        }
        let installed = match first.kind {
            Kind::Issuers => self.install_issuers(envelopes),
            Kind::Registration => self.install_registration(envelopes, state),
            Kind::Share => self.install_share(envelopes, now),
            Kind::Revocations => self.install_revocations(envelopes, state),
            Kind::Roster => self.install_roster(first, state, now),
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
            self.bump_generation();
        }
        installed
    }

    /// Accepts exactly the next version, signed by a threshold of the root keys of the current
    /// version and of the new one. Shares and releases whose keys have left their role end;
    /// revocation lists stay in force, since they only end shares.
    fn install_issuers(&mut self, envelopes: &[Envelope<'_>]) -> InstallResult {
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
        let new_keys = |role: &Role| new.role(*role).into_iter().flat_map(|now| &now.keys);
        let is_replaced = |role: &Role| !new_keys(role).any(|key| self.is_trusted(*role, key));
        let replaced = roles.iter().copied().filter(is_replaced).collect();
        let about = new.iss.clone();
        let (seq, iat) = (u64::from(new.body.version), new.iat);
        self.issuers = new;
        let mut dropped = Vec::new();
        if roles.contains(&Role::Shares) {
            let lost: Vec<Bytes<16>> = self
                .shares
                .values()
                .filter(|cached| !self.is_signed_enough(&cached.signers()))
                .map(|cached| cached.header.id)
                .collect();
            for id in lost {
                self.remove_share(&id);
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
        state: &DurableState,
    ) -> InstallResult {
        let new: Registration = primary(envelopes)?.claims()?;
        self.check_addressed(&new.aud, &new.iss)?;
        if new.body.device != self.device_key {
            return Err(Code::WrongDevice);
        }
        let held = self.owner.is_some();
        let mark = state.registration;
        let hash = payload_hash(envelopes)?;
        if is_outdated(mark, new.body.seq, new.iat, hash, held) || state.is_deleted(&hash) {
            return Ok(None);
        }
        let verified = self.signed_or_known(Role::Registry, envelopes, mark)?;
        // After a deletion, ownership must start later, so that no earlier share is valid again.
        let deleted = mark.filter(|mark| state.is_deleted(&mark.hash));
        if deleted.is_some_and(|mark| new.body.since <= mark.issued_at) {
            return Err(Code::BadGrant);
        }
        if let Some((old, _)) = &self.owner {
            // Another owner requires a transfer of ownership, which ends all earlier shares.
            let same = old.cnf == new.cnf && old.sub == new.sub;
            let issued_at = mark.map_or(old.iat, |mark| mark.issued_at);
            if new.body.since < old.body.since || (!same && new.body.since <= issued_at) {
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

    fn install_revocations(
        &mut self,
        envelopes: &[Envelope<'_>],
        state: &DurableState,
    ) -> InstallResult {
        let new: Revocations = primary(envelopes)?.claims()?;
        self.check_addressed(&new.aud, &new.iss)?;
        let held = self.revocations.contains_key(&new.aud);
        let mark = state.revocations.get(&new.aud).copied();
        if is_outdated(mark, new.body.seq, new.iat, payload_hash(envelopes)?, held) {
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

    fn install_release(&mut self, envelopes: &[Envelope<'_>]) -> InstallResult {
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
            // A version number identifies one image.
            Some(_) => return Err(Code::BadImage),
            None => {}
        }
        let verified = self.signed_by(Role::Firmware, envelopes)?;
        let mut dropped = Vec::new();
        if self.releases.len() >= MAX_RELEASES {
            // Delete the oldest release; refuse one that is even older.
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

    /// Returns whether an envelope names a key that may sign this kind, or this exact statement was
    /// accepted before.
    fn may_install(&self, kind: Kind, envelopes: &[Envelope<'_>], state: &DurableState) -> bool {
        // A roster has a look-up of its own, and other kinds are not accepted.
        let Some(role) = Role::of(kind) else {
            return true;
        };
        if envelopes.iter().any(|e| self.is_trusted(role, &e.signer)) {
            return true;
        }
        payload_hash(envelopes).is_ok_and(|hash| {
            let mut marks = state.revocations.values().chain(&state.registration);
            marks.any(|mark| mark.hash == hash)
        })
    }

    pub(super) fn check_addressed(&self, audience: &Audience, iss: &Id) -> Result<(), Code> {
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
    ) -> Result<Vec<Envelope<'e>>, Code> {
        Ok(self.issuers.verify(role, envelopes)?)
    }

    /// Verifies a statement, unless the event log records that exactly this one was accepted
    /// before: its key may have left the role since.
    fn signed_or_known<'e>(
        &self,
        role: Role,
        envelopes: &[Envelope<'e>],
        mark: Option<SeqMark>,
    ) -> Result<Vec<Envelope<'e>>, Code> {
        let hash = payload_hash(envelopes)?;
        match mark {
            Some(mark) if mark.hash == hash => Ok(envelopes.to_vec()),
            _ => self.signed_by(role, envelopes),
        }
    }
}

pub(super) fn primary<'a, 'b>(envelopes: &'a [Envelope<'b>]) -> Result<&'a Envelope<'b>, Code> {
    envelopes.first().ok_or(Code::Malformed)
}

/// The hash that identifies a statement, independent of its signatures.
pub(super) fn payload_hash(envelopes: &[Envelope<'_>]) -> Result<Hash, Code> {
    Ok(hash(primary(envelopes)?.payload()))
}

/// Returns whether a statement with a sequence number is known or out of date. `mark` is the newest
/// one that the event log records, `is_stored` whether the store has it: if the cache was lost, the
/// same statement is accepted again. After the keys of a role have changed, sequence numbers
/// restart at 1, and the time of issue decides.
pub(super) fn is_outdated(
    mark: Option<SeqMark>,
    seq: u64,
    issued_at: Timestamp,
    hash: Hash,
    is_stored: bool,
) -> bool {
    match mark {
        None => false,
        Some(mark) if mark.hash == hash => is_stored,
        Some(mark) => seq <= mark.seq || (mark.seq == 0 && issued_at < mark.issued_at),
    }
}

pub(super) fn new_installed(
    verified: &[Envelope<'_>],
    about: Id,
    seq: u64,
    issued_at: Timestamp,
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
        issued_at,
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
