//! The wire format: encoding and decoding of all objects. Pure: no clock, no files, no network.
//!
//! Every object is a COSE_Sign1 (RFC 9052) holding a CWT (RFC 8392) in deterministic
//! CBOR (RFC 8949 section 4.2.1); see `docs/protocol.md`.

mod approval;
mod bundle;
mod cbor;
mod chunk;
mod command;
mod defaults;
mod envelope;
mod ids;
mod issuers;
mod key;
mod licence;
mod limits;
mod notification;
mod pairing_text;
mod receipt;
mod registration;
mod release;
mod revocations;
mod roster;
mod share;
mod share_header;
pub mod topics;
mod value;

pub use approval::{Approval, ApprovalBody};
pub use bundle::{Bundle, MAX_BUNDLE, MAX_ITEMS, items};
pub use cbor::{Bytes, Map, decode_exact, to_bytes};
pub use chunk::{Chunk, MAX_CHUNK};
pub use command::{BootTime, Command, CommandBody, MAX_TTL};
pub use defaults::{default_leases, default_plans};
pub use envelope::{Envelope, Kind, Object, sign, to_be_signed};
pub use ids::{Audience, Id, MAX_TIMESTAMP, Operation, Text, Timestamp, check_device_id};
pub use issuers::{Issuers, IssuersBody, Role, RoleKeys};
pub use key::{Confirmation, KeyBytes, PublicKey, SecretKey};
pub use licence::{Licence, LicenceBody, MAX_FEATURES};
pub use limits::{ArgLimit, Limits, Rate, Way, Window as WeeklyWindow, Windows as WeeklyWindows};
pub use notification::{Notice, NoticeBody};
pub use pairing_text::{
    Claim, MAX_PAIRING_TEXT, UNAMBIGUOUS_ALPHABET, decode_issuers, encode_issuers,
    format_fingerprint,
};
pub use receipt::{
    Checkpoint, CheckpointBody, DeviceStanding, LogHead, Outcome, Receipt, ReceiptBody, State,
    StateBody,
};
pub use registration::{Class, Plan, PlanTable, Registration, RegistrationBody};
pub use release::{Release, ReleaseBody};
pub use revocations::{MAX_REVOCATIONS, Revocations, RevocationsBody};
pub use roster::{MAX_MEMBERS, Roster, RosterBody};
pub use share::{OWNER_ONLY, Permission, SELF_SERVICE_OPERATIONS, Share, ShareBody, is_owner_only};
pub use share_header::ShareHeader;
pub use value::{Value, truncate};

use sha2::{Digest, Sha256};

/// A SHA-256 digest, used to name statements, commands and log records.
pub type Hash = Bytes<32>;

/// The SHA-256 of `bytes`.
#[must_use]
pub fn hash(bytes: &[u8]) -> Hash {
    Bytes(Sha256::digest(bytes).into())
}

/// The reason for which bytes are not an acceptable object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireError {
    /// Larger than the maximum size of its kind.
    TooLarge,
    /// Not deterministic CBOR, or a claim violates its rules; with the reason.
    Malformed(&'static str),
    /// Not a doorward envelope: another algorithm, header, tag or shape; with the reason.
    BadEnvelope(&'static str),
    /// A valid envelope of another object type than expected.
    WrongType,
    /// A format version that this build does not support.
    Unsupported,
    /// The signature is not valid for the given key.
    BadSignature,
}

impl core::fmt::Display for WireError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::TooLarge => f.write_str("larger than the maximum size of its kind"),
            Self::Malformed(why) => write!(f, "malformed: {why}"),
            Self::BadEnvelope(why) => write!(f, "not a doorward envelope: {why}"),
            Self::WrongType => f.write_str("the object has another type than expected"),
            Self::Unsupported => f.write_str("the format version is not supported"),
            Self::BadSignature => f.write_str("the signature is not valid"),
        }
    }
}

impl core::error::Error for WireError {}
