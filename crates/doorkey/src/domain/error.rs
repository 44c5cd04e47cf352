//! Why the sharing side refuses: stable codes, each with what to do.

/// What kind of no it is, for exit codes and HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// What was asked makes no sense.
    Invalid,
    /// Who asks may not.
    Forbidden,
    /// There is no such thing, or none that the asker may know of.
    Missing,
    /// It does not go together with how things are.
    Conflict,
    /// It was there, and is over.
    Gone,
}

/// Declares the rules with their codes, natures and remedies in one table.
macro_rules! rules {
    ($($(#[$doc:meta])* $rule:ident $name:literal $class:ident $remedy:literal,)*) => {
        /// A rule of sharing that something breaks. Codes are append-only.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum RuleCode { $($(#[$doc])* $rule,)* }

        impl RuleCode {
            /// Every rule.
            pub const ALL: &'static [Self] = &[$(Self::$rule,)*];

            /// The code, for scripts.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$rule => $name,)* }
            }

            /// What kind of no it is.
            #[must_use]
            pub fn class(self) -> ErrorClass {
                match self { $(Self::$rule => ErrorClass::$class,)* }
            }

            /// What to do about it.
            #[must_use]
            pub fn remedy(self) -> &'static str {
                match self { $(Self::$rule => $remedy,)* }
            }
        }
    };
}

rules! {
    /// It cannot be read, or says nothing that makes sense.
    Invalid "invalid" Invalid "Correct it and try again.",
    /// There is nothing of that name that the asker may see.
    Unknown "unknown" Missing "Check the name.",
    /// Who asks is not the owner.
    NotOwner "not_owner" Forbidden "Ask the owner.",
    /// The account's role does not permit it.
    Role "role" Forbidden "Ask whoever manages your accounts for another role.",
    /// The session is missing, over, or of somebody else.
    Session "session" Forbidden "Sign in again.",
    /// A share of somebody else cannot be shared on.
    NotResharable "not_resharable" Forbidden "Ask the owner to share it with them.",
    /// The device has an owner.
    AlreadyOwned "already_owned" Conflict "The owner hands it over, or deletes it first.",
    /// The claim secret is not that of the device.
    WrongClaim "wrong_claim" Forbidden "Take it from the label, or from what `doorward provision` printed.",
    /// It is for demonstration only.
    Demo "demo" Conflict "Demonstration devices cannot be shared.",
    /// The plan lacks sharing.
    Plan "plan" Conflict "Upgrade the plan of the device first.",
    /// All slots are taken.
    SlotsFull "slots_full" Conflict "Cancel a share first, and wait until the device has said that it is applied.",
    /// The device and the account are in different regions.
    WrongRegion "wrong_region" Conflict "Make an account in the region of the device, and accept with that one.",
    /// A permission that the device does not offer, or that is the owner's alone.
    Permission "permission" Invalid "Choose from what the device offers.",
    /// The code is wrong.
    WrongCode "wrong_code" Forbidden "Read the code again from the message.",
    /// Too many wrong codes.
    CodeLocked "code_locked" Gone "Ask for a new invitation.",
    /// The code was used.
    CodeUsed "code_used" Gone "You have it already: `doorkey shares --with-me`.",
    /// The invitation is over or was withdrawn.
    NoLongerValid "no_longer_valid" Gone "Ask for a new invitation.",
    /// What has ended cannot be changed.
    Ended "ended" Conflict "Make a new share.",
    /// An address to return to that the group has not registered.
    ReturnUrl "return_url" Invalid "The owner of the group registers its host first.",
    /// Somebody else has that name.
    Taken "taken" Conflict "Choose another name.",
    /// Asked too often.
    TooOften "too_often" Conflict "Wait a minute.",
}

/// A rule, and what breaks it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The rule.
    pub rule: RuleCode,
    /// What exactly, as a sentence.
    pub why: String,
}

impl RuleCode {
    /// This rule is broken.
    #[must_use]
    pub fn because(self, why: impl Into<String>) -> Refusal {
        Refusal {
            rule: self,
            why: why.into(),
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { rule, why } = self;
        write!(f, "{why} ({}). {}", rule.name(), rule.remedy())
    }
}

impl std::error::Error for Refusal {}
