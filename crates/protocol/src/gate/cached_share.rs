//! Shares in memory. One that arrives is checked at once; one that the cache has kept is checked
//! when somebody first needs it, so that a device with very many of them serves at once.

use alloc::boxed::Box;
use alloc::vec::Vec;

use core::cell::OnceCell;

use crate::gate::statements::StatementStore;
use crate::wire::{
    Bundle, Bytes, Envelope, Hash, Issuers, KeyBytes, Kind, PublicKey, Role, Share, ShareHeader,
    Timestamp, hash,
};

/// A share, checked or to be checked.
pub(super) struct CachedShare {
    pub(super) outline: ShareHeader,
    /// As the cache has it; empty if it was checked when it came.
    kept: Box<[u8]>,
    checked: OnceCell<Option<Box<VerifiedShare>>>,
}

/// A share whose signatures were verified.
pub(super) struct VerifiedShare {
    pub(super) share: Share,
    pub(super) hash: Hash,
    /// Whose signatures were verified.
    pub(super) signers: Vec<KeyBytes>,
}

impl CachedShare {
    pub(super) fn new(checked: VerifiedShare) -> Self {
        let share = &checked.share;
        Self {
            outline: ShareHeader {
                id: share.cti,
                holder: share.cnf.0,
                audience: share.aud.clone(),
                made: share.iat,
                end: share.exp,
            },
            kept: Box::default(),
            checked: OnceCell::from(Some(Box::new(checked))),
        }
    }

    /// The share, if it is one: whatever became of the cache, only what the issuer has signed
    /// counts.
    pub(super) fn get(&self, issuers: &Issuers) -> Option<&VerifiedShare> {
        let checked = self
            .checked
            .get_or_init(|| check(&self.kept, issuers).map(Box::new));
        checked.as_deref()
    }

    /// Whose signatures it bears, or says to bear.
    pub(super) fn signers(&self) -> Vec<KeyBytes> {
        match self.checked.get() {
            Some(Some(checked)) => checked.signers.clone(),
            Some(None) => Vec::new(),
            None => {
                let envelopes = envelopes(&self.kept).unwrap_or_default();
                envelopes.iter().map(|envelope| envelope.signer).collect()
            }
        }
    }
}

/// The outline is that of the payload that is checked here: all envelopes have the same.
fn check(kept: &[u8], issuers: &Issuers) -> Option<VerifiedShare> {
    let envelopes = envelopes(kept)?;
    let verified = issuers.verify(Role::Shares, &envelopes).ok()?;
    let first = verified.first()?;
    let share: Share = first.claims().ok()?;
    (share.iss == issuers.iss).then(|| VerifiedShare {
        hash: hash(first.payload()),
        signers: verified.iter().map(|envelope| envelope.signer).collect(),
        share,
    })
}

fn envelopes(kept: &[u8]) -> Option<Vec<Envelope<'_>>> {
    let bundle = Bundle::parse(kept).ok()?;
    bundle.statements.into_iter().collect::<Result<_, _>>().ok()
}

/// A key that shares name, and the shares that name it.
#[derive(Default)]
pub(super) struct HolderEntry {
    /// Decompressed once, when one of its shares was checked.
    key: OnceCell<Option<PublicKey>>,
    pub(super) shares: Vec<Bytes<16>>,
}

impl StatementStore {
    /// Keeps a share as the cache has it, to be checked when it is needed. Whether the bytes are a
    /// share at all; anything else goes the way of what arrives.
    pub fn keep(&mut self, bytes: &[u8], now: Timestamp) -> bool {
        let Some(envelopes) = envelopes(bytes) else {
            return false;
        };
        let Some(first) = envelopes.first().filter(|it| it.kind == Kind::Share) else {
            return false;
        };
        let Ok(outline) = ShareHeader::read(first.payload()) else {
            return true;
        };
        let counts = outline.end > now
            && self.is_mine(&outline.audience)
            && !self.shares.contains_key(&outline.id)
            && self.shares.len() < self.room;
        if counts {
            self.hold(CachedShare {
                outline,
                kept: bytes.into(),
                checked: OnceCell::new(),
            });
        }
        true
    }

    pub(super) fn hold(&mut self, held: CachedShare) {
        self.is_told();
        let outline = &held.outline;
        self.by_age.insert((outline.made, outline.id));
        let holder = self.holders.entry(outline.holder).or_default();
        holder.shares.push(outline.id);
        // What was found of the key may have rested on nothing.
        holder.key = OnceCell::new();
        self.shares.insert(outline.id, held);
    }

    pub(super) fn forget_share(&mut self, id: &Bytes<16>) {
        self.is_told();
        let Some(CachedShare { outline, .. }) = self.shares.remove(id) else {
            return;
        };
        self.by_age.remove(&(outline.made, outline.id));
        if let Some(holder) = self.holders.get_mut(&outline.holder) {
            holder.shares.retain(|other| other != id);
            holder.key = OnceCell::new();
            if holder.shares.is_empty() {
                self.holders.remove(&outline.holder);
            }
        }
    }

    /// The key that at least one share names, which was checked.
    pub(super) fn holder_key(&self, key: &KeyBytes) -> Option<&PublicKey> {
        let holder = self.holders.get(key)?;
        let found = holder.key.get_or_init(|| {
            let named = holder.shares.iter().any(|id| self.share(id).is_some());
            named.then(|| PublicKey::checked_before(key).ok()).flatten()
        });
        found.as_ref()
    }
}
