//! The envelope of every object: COSE_Sign1 (RFC 9052 section 4.2) with a CWT tag
//! (RFC 8392 section 6), explicit type (RFC 9596) and the signer's full key as `kid`.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use minicbor::data::Tag;
use minicbor::encode::write::Cursor;
use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

use crate::wire::cbor::{decode_exact, item_length, to_bytes};
use crate::wire::{Bytes, Hash, KeyBytes, PublicKey, SecretKey, WireError, hash};

/// COSE algorithm Ed25519 (RFC 9864). The polymorphic EdDSA, -8, is refused.
const ALG_ED25519: i64 = -19;
const TAG_CWT: u64 = 61;
const TAG_SIGN1: u64 = 18;

/// The kinds of objects, by the `typ` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The issuer's root keys and the keys of each role.
    Issuers,
    /// The owner and the plan of a device.
    Registration,
    /// The permissions of a recipient on a device or site, with an expiry.
    Share,
    /// The revocation list of a device or site.
    Revocations,
    /// A request to run an operation.
    Command,
    /// The device's answer to a command.
    Receipt,
    /// The device's status and operations.
    State,
    /// The members of a group.
    Roster,
    /// A firmware release that may be installed.
    Release,
    /// Another person's approval of a command.
    Approval,
    /// Size and head of the device's event log.
    Checkpoint,
    /// The features that a manufacturer has licensed for one machine.
    Licence,
    /// A notification to a subscriber.
    Notice,
}

/// Kind, name, and maximum size of the envelope in bytes.
const KINDS: [(Kind, &str, usize); 13] = [
    (Kind::Issuers, "issuers", 4096),
    (Kind::Registration, "registration", 8192),
    (Kind::Share, "share", 2048),
    (Kind::Revocations, "revocations", crate::wire::MAX_BUNDLE),
    (Kind::Command, "command", 4096),
    (Kind::Receipt, "receipt", 16384),
    (Kind::State, "state", 16384),
    (Kind::Roster, "roster", 32768),
    (Kind::Release, "release", 2048),
    (Kind::Approval, "approval", 512),
    (Kind::Checkpoint, "checkpoint", 512),
    // The maximum size of an argument's value.
    (Kind::Licence, "licence", 1024),
    (Kind::Notice, "notice", 2048),
];

impl Kind {
    /// The name in the `typ` header and in topics.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// The kind with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        KINDS
            .iter()
            .find(|row| row.1 == name)
            .map(|&(kind, ..)| kind)
    }

    /// Maximum size of an envelope of this kind, in bytes.
    #[must_use]
    pub fn max_size(self) -> usize {
        self.row().2
    }

    /// Returns whether an issuer or a group signs this kind, so that devices store it.
    #[must_use]
    pub fn is_statement(self) -> bool {
        matches!(
            self,
            Self::Issuers
                | Self::Registration
                | Self::Share
                | Self::Revocations
                | Self::Roster
                | Self::Release
        )
    }

    fn row(self) -> (Self, &'static str, usize) {
        KINDS
            .into_iter()
            .find(|row| row.0 == self)
            .unwrap_or((self, "", 0))
    }

    fn typ(self) -> String {
        format!("application/doorward-{}+cwt", self.name())
    }

    fn from_typ(typ: &str) -> Option<Self> {
        let name = typ
            .strip_prefix("application/doorward-")?
            .strip_suffix("+cwt")?;
        Self::from_name(name)
    }
}

/// Claims that have an envelope of their own kind.
pub trait Object: for<'b> Decode<'b, ()> + Encode<()> {
    /// The kind of the envelope.
    const KIND: Kind;

    /// The format version inside the private claim.
    fn format(&self) -> u64;

    /// Checks the rules that decoding does not enforce.
    ///
    /// # Errors
    /// [`WireError::Malformed`] with the violated rule.
    fn check(&self) -> Result<(), WireError> {
        Ok(())
    }
}

/// The format version that this build reads and writes.
pub(super) const FORMAT: u64 = 1;

/// A well-formed envelope. Its signature has **not** been verified.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    /// The kind in its header.
    pub kind: Kind,
    /// The key in its header.
    pub signer: KeyBytes,
    bytes: &'a [u8],
    protected: &'a [u8],
    payload: &'a [u8],
    signature: [u8; 64],
}

impl<'a> Envelope<'a> {
    /// Decodes one envelope that fills `bytes`.
    ///
    /// # Errors
    /// [`WireError::TooLarge`], [`WireError::Malformed`], [`WireError::BadEnvelope`],
    /// [`WireError::WrongType`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, WireError> {
        if bytes.len() > crate::wire::MAX_BUNDLE {
            return Err(WireError::TooLarge);
        }
        let sign1: Sign1<'a> = decode_exact(bytes).map_err(|error| {
            let is_sign1 = minicbor::decode::<Sign1<'_>>(bytes).is_ok();
            if is_sign1 || item_length(bytes) != Some(bytes.len()) {
                return error;
            }
            WireError::BadEnvelope("not 61(18([protected, {}, payload, signature]))")
        })?;
        let header: Header<'a> = decode_exact(sign1.protected).map_err(|_| {
            WireError::BadEnvelope("the protected header is not exactly alg, kid and typ")
        })?;
        if header.alg != ALG_ED25519 {
            return Err(WireError::BadEnvelope("the algorithm is not -19 (Ed25519)"));
        }
        let kind = Kind::from_typ(header.typ).ok_or(WireError::WrongType)?;
        if bytes.len() > kind.max_size() {
            return Err(WireError::TooLarge);
        }
        Ok(Self {
            kind,
            signer: header.kid,
            bytes,
            protected: sign1.protected,
            payload: sign1.payload,
            signature: sign1.signature.0,
        })
    }

    /// Decodes the claims. They are not trusted until the signature is verified.
    ///
    /// # Errors
    /// [`WireError::WrongType`], [`WireError::Malformed`], [`WireError::Unsupported`].
    pub fn claims<T: Object>(&self) -> Result<T, WireError> {
        if self.kind != T::KIND {
            return Err(WireError::WrongType);
        }
        let claims: T = decode_exact(self.payload)?;
        if claims.format() != FORMAT {
            return Err(WireError::Unsupported);
        }
        claims.check()?;
        Ok(claims)
    }

    /// Verifies the signature over the received bytes with a key that the caller trusts.
    ///
    /// # Errors
    /// [`WireError::BadSignature`], also if `key` is not the key in the header.
    pub fn verify(&self, key: &PublicKey) -> Result<(), WireError> {
        if key.bytes() != self.signer {
            return Err(WireError::BadSignature);
        }
        let mut buffer = [0; STACK_BUFFER];
        match write_to_be_signed(Cursor::new(&mut buffer[..]), self.protected, self.payload) {
            Ok(written) => {
                let length = written.position();
                let message = written.get_ref().get(..length);
                key.verify(message.unwrap_or_default(), &self.signature)
            }
            Err(_) => key.verify(&to_be_signed(self.protected, self.payload), &self.signature),
        }
    }

    /// SHA-256 of the whole envelope, which identifies a command in receipts and in the event log.
    #[must_use]
    pub fn hash(&self) -> Hash {
        hash(self.bytes)
    }

    /// The envelope as received.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The payload, to compare the envelopes of several signers.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// Signs claims into an envelope.
#[must_use]
pub fn sign<T: Object>(claims: &T, key: &SecretKey) -> Vec<u8> {
    let typ = T::KIND.typ();
    let protected = to_bytes(&Header {
        alg: ALG_ED25519,
        kid: key.public(),
        typ: &typ,
    });
    let payload = to_bytes(claims);
    let signature = key.sign(&to_be_signed(&protected, &payload));
    to_bytes(&Sign1 {
        protected: &protected,
        payload: &payload,
        signature: Bytes(signature),
    })
}

/// The signed bytes: the Sig_structure of COSE_Sign1 (RFC 9052 section 4.4) with an empty
/// external_aad.
#[must_use]
pub fn to_be_signed(protected: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(protected.len() + payload.len() + 24);
    // Writing to a Vec cannot fail.
    let written = write_to_be_signed(&mut out, protected, payload);
    debug_assert!(written.is_ok());
    out
}

/// Size of the stack buffer for the signed bytes; most commands fit in it, without allocation.
const STACK_BUFFER: usize = 1024;

fn write_to_be_signed<W: encode::Write>(
    to: W,
    protected: &[u8],
    payload: &[u8],
) -> Result<W, encode::Error<W::Error>> {
    let mut e = Encoder::new(to);
    e.array(4)?
        .str("Signature1")?
        .bytes(protected)?
        .bytes(&[])?
        .bytes(payload)?;
    Ok(e.into_writer())
}

/// The protected header: exactly these three parameters.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Header<'a> {
    #[n(1)]
    alg: i64,
    #[n(4)]
    kid: KeyBytes,
    #[b(16)]
    typ: &'a str,
}

struct Sign1<'a> {
    protected: &'a [u8],
    payload: &'a [u8],
    signature: Bytes<64>,
}

impl<C> Encode<C> for Sign1<'_> {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.tag(Tag::new(TAG_CWT))?
            .tag(Tag::new(TAG_SIGN1))?
            .array(4)?
            .bytes(self.protected)?
            .map(0)?
            .bytes(self.payload)?;
        self.signature.encode(e, ctx)
    }
}

impl<'b, C> Decode<'b, C> for Sign1<'b> {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, decode::Error> {
        let shape = d.tag()? == Tag::new(TAG_CWT)
            && d.tag()? == Tag::new(TAG_SIGN1)
            && d.array()? == Some(4);
        if !shape {
            return Err(decode::Error::message("not a tagged COSE_Sign1"));
        }
        let protected = d.bytes()?;
        if d.map()? != Some(0) {
            return Err(decode::Error::message("unprotected header is not empty"));
        }
        Ok(Self {
            protected,
            payload: d.bytes()?,
            signature: Bytes::decode(d, ctx)?,
        })
    }
}
