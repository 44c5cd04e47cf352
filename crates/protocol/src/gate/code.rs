//! The table of codes. It is append-only: a code never changes its name or its meaning.

/// Whether a refused command can succeed when it is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Not before something else changes.
    No,
    /// Yes, signed again with the epoch and time of this receipt.
    SignAgain,
    /// Later, with the same content.
    Later,
}

impl Retry {
    /// The text for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::No => "no, something else has to change first",
            Self::SignAgain => "yes, signed again",
            Self::Later => "yes, later",
        }
    }
}

macro_rules! codes {
    ($($variant:ident $name:literal $known:ident $ran:ident $retry:ident $sentence:literal $remedy:literal;)*) => {
        /// The reason of a refusal, or of the end of an operation. The order is that of the
        /// checks: the greater of two codes belongs to the later check.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $sentence] $variant,)*
        }

        impl Code {
            /// Every code, in the order of the checks.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stable name, as in receipts.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The explanation, as one sentence.
            #[must_use]
            pub fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence,)* }
            }

            /// The recommended action; empty if there is none.
            #[must_use]
            pub fn remedy(self) -> &'static str {
                match self { $(Self::$variant => $remedy,)* }
            }

            /// Returns whether the sender's signature had been verified, so that a receipt is sent.
            #[must_use]
            pub fn sender_known(self) -> bool {
                match self { $(Self::$variant => codes!(@ $known),)* }
            }

            /// Returns whether the command may have run, now or earlier.
            #[must_use]
            pub fn may_have_run(self) -> bool {
                match self { $(Self::$variant => codes!(@ $ran),)* }
            }

            /// Returns whether the command can succeed when it is sent again.
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
        "The message was retained by the broker, not sent just now; retained commands are never run."
        "Publish commands without the retain flag.";
    TooLarge "too_large" stranger idle No
        "The message, or an object in it, exceeds the maximum size of its kind."
        "Send less: a bundle holds at most 64 KiB and 8 objects, a command 4 KiB, a share 2 KiB.";
    Flood "flood" stranger idle Later
        "Rate limit: too many messages arrived over that link in a short time."
        "Send fewer messages, then try again.";
    Malformed "malformed" stranger idle No
        "The bytes are not deterministic CBOR of the expected shape, or a claim violates its rules."
        "Compare the object with docs/protocol.md; `doorkey inspect` shows the parts that can be decoded.";
    BadEnvelope "bad_envelope" stranger idle No
        "The object is CBOR, but not a doorward envelope: another algorithm, header or shape."
        "Sign with Ed25519 (COSE algorithm -19) and exactly the headers alg, kid and typ.";
    WrongType "wrong_type" stranger idle No
        "The object has another type than expected here."
        "Put the statements first and at most one command last in a bundle.";
    Unsupported "unsupported" known idle No
        "This device does not know the operation or the format version."
        "Check the operations that the device lists in its state.";
    WrongDevice "wrong_device" stranger idle No
        "The object is addressed to another device or site."
        "Address the object to this device's id, and sign it again.";
    NotProvisioned "not_provisioned" stranger idle Later
        "The device has no registration yet, so it accepts no commands."
        "Register the device, and make sure that it receives its registration.";
    NoGrant "no_grant" stranger idle Later
        "The device knows no share for the key that signed this."
        "Ask the owner for a share, and send it together with the command.";
    BadGrant "bad_grant" stranger idle No
        "The share contradicts one with the same id: only its expiry may change, and only to a later time."
        "Issue a new share instead of changing one.";
    UnknownIssuer "unknown_issuer" stranger idle No
        "The statement is not signed by a key that this device trusts for this kind of statement."
        "Use the issuer whose root key was pinned when the device was provisioned.";
    BadSignature "bad_signature" stranger idle No
        "The signature is not valid."
        "Sign the object with the key that it names; it may also have been changed in transit.";
    Epoch "epoch" known idle SignAgain
        "The device has lost its replay protection state since this command was signed, so it accepts no older commands."
        "Sign the command again with the epoch of this receipt.";
    Replay "replay" known ran SignAgain
        "This command, or a later one of the same client, was received before; this copy was not run."
        "Look for the receipt of the first copy, and sign a new command to run it again.";
    ReplayFull "replay_full" known idle Later
        "The replay protection table is full; the device runs no command that it cannot record there."
        "Use a client that has sent commands to the device before, or ask the owner to end shares that are not needed.";
    TtlTooLong "ttl_too_long" known idle SignAgain
        "The command is valid for longer than 300 seconds."
        "Sign it again with an expiry at most 300 seconds after its time of issue.";
    Late "late" known idle SignAgain
        "The command had expired when it arrived."
        "Sign it again, and compare your clock with the time of this receipt.";
    Early "early" known idle SignAgain
        "The command's time is in the future by the device's clock."
        "Sign it again with the time of this receipt, and compare the clocks.";
    NoTime "no_time" known idle SignAgain
        "The device has no trustworthy clock now, so it must not run a disruptive command that may be old."
        "Sign it again with the uptime and boot id of this receipt as its limit.";
    NotYet "not_yet" known idle Later
        "The share is not valid yet."
        "Try again when the share is valid.";
    Expired "expired" known idle No
        "The share has expired."
        "Ask the owner for a new share.";
    Revoked "revoked" known idle No
        "The share was cancelled."
        "Ask the owner for a new share if you still need access.";
    NotMember "not_member" known idle No
        "The share is for a group, and the key that signed is the group's own, not a member's."
        "Sign with the key of a person on the group's member list.";
    Stale "stale" known idle Later
        "The device has not received a recent enough revocation list; the share's offline validity has expired."
        "Connect the device to its cloud, or attach a recent revocation list to the command.";
    Frozen "frozen" known idle Later
        "The owner has suspended all sharing of this device for a time."
        "Ask the owner; shares are valid again when the suspension ends.";
    WrongRegion "wrong_region" known idle No
        "The share was issued for another region than the one this device is registered in."
        "Ask the owner for a share for the device's region.";
    Demo "demo" known idle No
        "This is a demonstration device; it cannot be shared."
        "";
    SlotsFull "slots_full" known idle Later
        "The maximum number of users of this device is reached."
        "Ask the owner to cancel a share that is not needed.";
    OwnerOnly "owner_only" known idle No
        "Only the owner may run this operation; it can never be shared."
        "Ask the owner to run it.";
    NotGranted "not_granted" known idle No
        "The share does not include this operation."
        "Ask the owner for a share that does.";
    Plan "plan" known idle Later
        "The plan of this device does not include this operation."
        "Ask the owner to upgrade the plan; the share is kept and works again then.";
    Param "param" known idle No
        "An argument is missing, unknown or out of range."
        "Compare the arguments with those that the operation and the share accept.";
    Window "window" known idle Later
        "The share is not valid at this time of the week."
        "Try again during the share's weekly window.";
    Origin "origin" known idle No
        "The share does not allow this operation over this connection (local/cloud)."
        "Send it over the other connection: the site's network, or the cloud.";
    Count "count" known idle No
        "The share has no uses left."
        "Ask the owner for a new share.";
    Rate "rate" known idle Later
        "Rate limit: the operation was requested too often in a short time."
        "Wait, then send it again.";
    NeedsApproval "needs_approval" known idle Later
        "The share requires the approval of other people for each command."
        "Ask others who hold this operation to approve exactly this command, and send it again with their approvals.";
    Busy "busy" known idle Later
        "The device is busy with another command."
        "Send it again when the other command has ended.";
    Interlock "interlock" known idle Later
        "An interlock of the device blocks this operation now, for all users."
        "Check the device's status, and send it again when the interlock is no longer active.";
    NoEffect "no_effect" known idle No
        "The device is already in the requested state."
        "";
    BadImage "bad_image" known idle No
        "The device has no signed release of this firmware for its model that it may install."
        "Send the signed release statement for this model and version together with the command.";
    Downgrade "downgrade" known idle No
        "The firmware is not newer than the installed version."
        "Choose a newer release.";
    LogFull "log_full" known idle Later
        "The event log is full; an operation that cannot be recorded is not run."
        "Export the events on the device and free space (`doorward events trim`), then send it again.";
    Store "store" known idle Later
        "The device cannot write to its storage; an operation that cannot be recorded is not run."
        "Check the device's disk and its system log, then restart it.";
    Failed "failed" known ran Later
        "The operation failed or was not started."
        "Read the detail, check the device, then decide whether to send it again.";
    Timeout "timeout" known ran Later
        "The operation exceeded its timeout and was stopped."
        "Check the device before sending it again.";
    Unknown "unknown" known ran Later
        "The device stopped while the operation ran, and cannot tell whether it took effect."
        "Check the device before sending it again.";
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
        let names = [Retry::No, Retry::SignAgain, Retry::Later].map(Retry::name);
        let expected = ["no, ", "yes, signed again", "yes, later"];
        assert!(
            names
                .iter()
                .zip(expected)
                .all(|(name, expected)| name.starts_with(expected))
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
