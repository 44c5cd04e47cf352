//! The table of codes. Append-only: a code never changes its name or its meaning.

/// When it makes sense to ask again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Not before something else changes.
    No,
    /// The same wish, signed anew with what this receipt says of epoch and time.
    SignAgain,
    /// Later, unchanged in substance.
    Later,
}

impl Retry {
    /// For people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::No => "no, something else has to change first",
            Self::SignAgain => "yes, signed anew",
            Self::Later => "yes, later",
        }
    }
}

macro_rules! codes {
    ($($variant:ident $name:literal $known:ident $ran:ident $retry:ident $sentence:literal $remedy:literal;)*) => {
        /// Why something was refused, or how it ended. The order is the order of the checks,
        /// so of two codes the greater one came further.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $sentence] $variant,)*
        }

        impl Code {
            /// Every code, in the order of the checks.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stable name, as it stands in receipts.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What happened, in a sentence for people.
            #[must_use]
            pub fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence,)* }
            }

            /// What to do about it; empty if there is nothing to do.
            #[must_use]
            pub fn remedy(self) -> &'static str {
                match self { $(Self::$variant => $remedy,)* }
            }

            /// Whether the sender's signature had been verified, so that a receipt is sent.
            #[must_use]
            pub fn sender_known(self) -> bool {
                match self { $(Self::$variant => codes!(@ $known),)* }
            }

            /// Whether the command may have run, now or earlier.
            #[must_use]
            pub fn may_have_run(self) -> bool {
                match self { $(Self::$variant => codes!(@ $ran),)* }
            }

            /// Whether to ask again.
            #[must_use]
            pub fn retry(self) -> Retry {
                match self { $(Self::$variant => Retry::$retry,)* }
            }
        }
    };
    (@ known) => { true };
    (@ stranger) => { false };
    (@ ran) => { true };
    (@ idle) => { false };
}

codes! {
    Retained "retained" stranger idle SignAgain
        "The message was kept by the broker and not sent just now; commands are never taken from a broker's memory."
        "Publish commands without the retain flag.";
    TooLarge "too_large" stranger idle No
        "The message, or an object in it, is larger than its kind may be."
        "Send less: a bundle holds at most 64 KiB and 8 objects, a command 4 KiB, a share 2 KiB.";
    Flood "flood" stranger idle Later
        "Too many messages came that way in a short time."
        "Send less.";
    Malformed "malformed" stranger idle No
        "The bytes are not deterministic CBOR of the expected shape, or a claim breaks its rules."
        "Compare with docs/protocol.md; `doorkey inspect` shows what can be read.";
    BadEnvelope "bad_envelope" stranger idle No
        "The object is CBOR, but not a doorward envelope: another algorithm, header or shape."
        "Sign with Ed25519 (COSE algorithm -19) and exactly the headers alg, kid and typ.";
    WrongType "wrong_type" stranger idle No
        "The object is of another type than belongs in this place."
        "A bundle holds statements first and at most one command, last.";
    Unsupported "unsupported" known idle No
        "This device does not know the operation or the format version."
        "Look at the operations that the device offers in its state.";
    WrongDevice "wrong_device" stranger idle No
        "The object is addressed to another device or site."
        "Sign for the id of this device.";
    NotProvisioned "not_provisioned" stranger idle Later
        "The device has no registration yet, so nobody may command it."
        "Register the device and let its registration reach it.";
    NoGrant "no_grant" stranger idle Later
        "The device knows no share for the key that signed this."
        "Ask the owner for a share, and send it along with the command.";
    BadGrant "bad_grant" stranger idle No
        "The share contradicts one with the same id: only the end may move, and only later."
        "Make a new share instead of changing one.";
    UnknownIssuer "unknown_issuer" stranger idle No
        "The statement is not signed by a key that this device trusts for its kind."
        "Use the issuer whose root key was pinned when the device was provisioned.";
    BadSignature "bad_signature" stranger idle No
        "The signature does not hold."
        "The object was changed on its way, or signed with another key than it names.";
    Epoch "epoch" known idle SignAgain
        "The device has lost its replay memory since this command was signed, so older commands no longer count."
        "Sign the command anew with the epoch of this receipt.";
    Replay "replay" known ran SignAgain
        "This command, or a later one of the same client, was seen before; this copy was not run."
        "Look for the receipt of the first copy, and sign a new command if it is to run again.";
    ReplayFull "replay_full" known idle Later
        "The device cannot remember any more clients, and runs nothing that it could not remember."
        "Use a client that the device knows already, or let the owner end shares that are not needed.";
    TtlTooLong "ttl_too_long" known idle SignAgain
        "The command is valid for longer than 300 seconds."
        "Sign it with an end at most 300 seconds after its time.";
    Late "late" known idle SignAgain
        "The command arrived after its end."
        "Sign it anew; compare your clock with the time of this receipt.";
    Early "early" known idle SignAgain
        "The command was signed in what is the future for the device."
        "Sign it anew with the time of this receipt, and compare the clocks.";
    NoTime "no_time" known idle SignAgain
        "The device has no trustworthy clock now, so it must not interrupt service on a command that may be old."
        "Sign it anew with the uptime and boot id of this receipt as its limit.";
    NotYet "not_yet" known idle Later
        "The share has not begun."
        "Wait until it begins.";
    Expired "expired" known idle No
        "The share has ended."
        "Ask the owner for a new share.";
    Revoked "revoked" known idle No
        "The share was cancelled."
        "Ask the owner whether a new share is meant.";
    NotMember "not_member" known idle No
        "The share is for a group, and the key that signed is the group's own, not a member's."
        "Sign with the key of a person on the group's roster.";
    Stale "stale" known idle Later
        "The device has had no news of cancelled shares for longer than this share's lease allows."
        "Bring the device a fresh revocation list: connect it, or send one along with the command.";
    Frozen "frozen" known idle Later
        "The owner has suspended all sharing of this device for a time."
        "Ask the owner; the share works again when the freeze ends.";
    WrongRegion "wrong_region" known idle No
        "The share was made in another region than the one this device is registered in."
        "Ask the owner for a share made in the device's region.";
    Demo "demo" known idle No
        "This is a demonstration device; it cannot be shared."
        "";
    SlotsFull "slots_full" known idle Later
        "As many people as this device allows hold older shares."
        "Let the owner cancel a share that is not needed.";
    OwnerOnly "owner_only" known idle No
        "Only the owner may do this; it can never be shared."
        "Ask the owner to do it.";
    NotGranted "not_granted" known idle No
        "The share does not include this operation."
        "Ask the owner for a share that does.";
    Plan "plan" known idle Later
        "The plan of this device does not include this."
        "Ask the owner to upgrade the plan; the share stays and works again then.";
    Param "param" known idle No
        "An argument is missing, unknown or out of range."
        "Compare the arguments with what the operation takes.";
    Window "window" known idle Later
        "The share does not count at this time of the week."
        "Try again when its weekly window is open.";
    Origin "origin" known idle No
        "The share does not allow this operation by the way the command came."
        "Send it by the other link: on the site's network, or through the cloud.";
    Count "count" known idle No
        "The share has been used as often as it allows."
        "Ask the owner for a new share.";
    Rate "rate" known idle Later
        "The operation was asked for too often in a short time."
        "Wait, then send it again.";
    NeedsApproval "needs_approval" known idle Later
        "The share needs the consent of other people to each command."
        "Let others who hold this operation approve this very command, and send it again with their approvals.";
    Busy "busy" known idle Later
        "The device is busy with another command."
        "Send it again when the other one has ended.";
    Interlock "interlock" known idle Later
        "A condition of the device forbids this operation now, whoever asks."
        "Look at the device's status; send it again when the condition has ended.";
    NoEffect "no_effect" known idle No
        "The device is already in the state that was asked for."
        "";
    BadImage "bad_image" known idle No
        "The device knows no release of this firmware for its model that it may install."
        "Bring the signed release statement for this model and version along.";
    Downgrade "downgrade" known idle No
        "The firmware is not newer than the one that is installed."
        "Choose a newer release.";
    LogFull "log_full" known idle Later
        "The event log is full, and what cannot be written down is not done."
        "Let somebody at the device keep the events and make room (`doorward events trim`), then send it again.";
    Store "store" known idle Later
        "The device cannot write to its storage, and what cannot be written down is not done."
        "Check the device's disk and its log, then restart it.";
    Failed "failed" known ran Later
        "The operation ended badly, or never began."
        "Read the detail, look at the device, then decide whether to send it again.";
    Timeout "timeout" known ran Later
        "The operation did not end in the time set for it, and was stopped."
        "Look at the device before sending it again.";
    Unknown "unknown" known ran Later
        "The device stopped while the operation ran, and cannot say whether it took effect."
        "Look at the device before sending it again.";
}

impl Code {
    /// The code with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.name() == name)
    }
}

impl core::fmt::Display for Code {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

impl From<crate::wire::WireError> for Code {
    fn from(error: crate::wire::WireError) -> Self {
        use crate::wire::WireError as E;
        match error {
            E::TooLarge => Self::TooLarge,
            E::Malformed(_) => Self::Malformed,
            E::BadEnvelope(_) => Self::BadEnvelope,
            E::WrongType => Self::WrongType,
            E::Unsupported => Self::Unsupported,
            E::BadSignature => Self::BadSignature,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::prelude::v1::*;

    #[test]
    fn people_read_when_to_ask_again() {
        let words = [Retry::No, Retry::SignAgain, Retry::Later].map(Retry::name);
        let begin = ["no, ", "yes, signed anew", "yes, later"];
        assert!(
            words
                .iter()
                .zip(begin)
                .all(|(word, begin)| word.starts_with(begin))
        );
    }

    #[test]
    fn every_code_has_one_name_and_a_sentence() {
        for &code in Code::ALL {
            assert_eq!(Code::from_name(code.name()), Some(code));
            assert!(code.sentence().ends_with('.'), "{code}");
        }
        assert_eq!(Code::from_name("nonsense"), None);
    }

    #[test]
    fn only_what_was_verified_may_have_run() {
        for &code in Code::ALL {
            assert!(code.sender_known() || !code.may_have_run(), "{code}");
        }
    }
}
