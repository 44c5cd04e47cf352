//! Shares in memory. A received share is verified at once; one that is loaded from the cache is
//! verified on first use, so that a device with very many shares starts without delay.

use alloc::boxed::Box;
use alloc::vec::Vec;

use core::cell::OnceCell;

use crate::gate::statements::StatementStore;
use crate::wire::{
    Bundle, Bytes, Envelope, Hash, Issuers, KeyBytes, Kind, PublicKey, Role, Share, ShareHeader,
    Timestamp, hash,
};

/// A share whose signatures are verified on first use.
pub(super) struct CachedShare {
    pub(super) header: ShareHeader,
    /// The bundle from the cache; empty if the share was verified when it was received.
    bytes: Box<[u8]>,
    verified: OnceCell<Option<Box<VerifiedShare>>>,
}

/// A share whose signatures were verified.
pub(super) struct VerifiedShare {
    pub(super) share: Share,
    pub(super) hash: Hash,
    /// The keys whose signatures were verified.
    pub(super) signers: Vec<KeyBytes>,
}

impl CachedShare {
    pub(super) fn new(verified: VerifiedShare) -> Self {
        let share = &verified.share;
        Self {
            header: ShareHeader {
                id: share.cti,
                holder: share.cnf.0,
                audience: share.aud.clone(),
                issued_at: share.iat,
                expires_at: share.exp,
            },
            bytes: Box::default(),
            verified: OnceCell::from(Some(Box::new(verified))),
        }
    }

    /// The share, verified; `None` if the cached bytes are not signed by the issuer.
    pub(super) fn get(&self, issuers: &Issuers) -> Option<&VerifiedShare> {
        let verified = self
            .verified
            .get_or_init(|| verify(&self.bytes, issuers).map(Box::new));
        verified.as_deref()
    }

    /// The keys of its signatures, verified or not.
    pub(super) fn signers(&self) -> Vec<KeyBytes> {
        match self.verified.get() {
            Some(Some(verified)) => verified.signers.clone(),
            Some(None) => Vec::new(),
            None => {
                let envelopes = envelopes(&self.bytes).unwrap_or_default();
                envelopes.iter().map(|envelope| envelope.signer).collect()
            }
        }
    }
}

/// Verifies a cached share. All envelopes must have the payload from which the header was read.
fn verify(bytes: &[u8], issuers: &Issuers) -> Option<VerifiedShare> {
    let envelopes = envelopes(bytes)?;
    let verified = issuers.verify(Role::Shares, &envelopes).ok()?;
    let first = verified.first()?;
    let share: Share = first.claims().ok()?;
    (share.iss == issuers.iss).then(|| VerifiedShare {
        hash: hash(first.payload()),
        signers: verified.iter().map(|envelope| envelope.signer).collect(),
        share,
    })
}

fn envelopes(bytes: &[u8]) -> Option<Vec<Envelope<'_>>> {
    let bundle = Bundle::parse(bytes).ok()?;
    bundle.statements.into_iter().collect::<Result<_, _>>().ok()
}

/// A key that one or more shares name, and the ids of those shares.
#[derive(Default)]
pub(super) struct HolderEntry {
    /// Decompressed once, when one of its shares has been verified.
    key: OnceCell<Option<PublicKey>>,
    pub(super) shares: Vec<Bytes<16>>,
}

impl StatementStore {
    /// Adds a share from the cache, to be verified on first use. Returns whether the bytes are a
    /// share; other statements are installed like received ones.
    pub fn keep(&mut self, bytes: &[u8], now: Timestamp) -> bool {
        let Some(envelopes) = envelopes(bytes) else {
            return false;
        };
        let Some(first) = envelopes.first().filter(|it| it.kind == Kind::Share) else {
            return false;
        };
        let Ok(header) = ShareHeader::read(first.payload()) else {
            return true;
        };
        let is_usable = header.expires_at > now
            && self.is_mine(&header.audience)
            && !self.shares.contains_key(&header.id)
            && self.shares.len() < self.capacity;
        if is_usable {
            self.insert_share(CachedShare {
                header,
                bytes: bytes.into(),
                verified: OnceCell::new(),
            });
        }
        true
    }

    pub(super) fn insert_share(&mut self, cached: CachedShare) {
        self.bump_generation();
        let header = &cached.header;
        self.by_age.insert((header.issued_at, header.id));
        let holder = self.holders.entry(header.holder).or_default();
        holder.shares.push(header.id);
        // Invalidate the cached key: it may have been looked up before any share was verified.
        holder.key = OnceCell::new();
        self.shares.insert(header.id, cached);
    }

    pub(super) fn remove_share(&mut self, id: &Bytes<16>) {
        self.bump_generation();
        let Some(CachedShare { header, .. }) = self.shares.remove(id) else {
            return;
        };
        self.by_age.remove(&(header.issued_at, header.id));
        if let Some(holder) = self.holders.get_mut(&header.holder) {
            holder.shares.retain(|other| other != id);
            // Invalidate the cached key: the share it came from may be gone.
            holder.key = OnceCell::new();
            if holder.shares.is_empty() {
                self.holders.remove(&header.holder);
            }
        }
    }

    /// The key of a holder, if at least one share that names it was verified.
    pub(super) fn holder_key(&self, key: &KeyBytes) -> Option<&PublicKey> {
        let holder = self.holders.get(key)?;
        let found = holder.key.get_or_init(|| {
            let is_named = holder.shares.iter().any(|id| self.share(id).is_some());
            let decompress = || PublicKey::checked_before(key).ok();
            is_named.then(decompress).flatten()
        });
        found.as_ref()
    }
}
