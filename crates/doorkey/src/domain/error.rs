//! Reasons why a request is refused: stable codes, each with a remedy.

/// The class of a refusal, which selects the HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// A value in the request is invalid.
    Invalid,
    /// The caller lacks the permission.
    Forbidden,
    /// Nothing of that name exists, or the caller may not see it.
    Missing,
    /// The request conflicts with the current state.
    Conflict,
    /// The resource has expired or was withdrawn.
    Gone,
}

/// Declares the rules with their codes, classes and remedies in one table.
macro_rules! rules {
    ($($(#[$doc:meta])* $rule:ident $name:literal $class:ident $remedy:literal,)*) => {
        /// The rule that a request breaks. Codes are append-only.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum RuleCode { $($(#[$doc])* $rule,)* }

        impl RuleCode {
            /// Every rule.
            pub const ALL: &'static [Self] = &[$(Self::$rule,)*];

            /// The stable code, for scripts.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$rule => $name,)* }
            }

            /// The class of the refusal.
            #[must_use]
            pub fn class(self) -> ErrorClass {
                match self { $(Self::$rule => ErrorClass::$class,)* }
            }

            /// The remedy for the user, as a sentence.
            #[must_use]
            pub fn remedy(self) -> &'static str {
                match self { $(Self::$rule => $remedy,)* }
            }
        }
    };
}

rules! {
    /// A value cannot be parsed or makes no sense.
    Invalid "invalid" Invalid "Correct the value and try again.",
    /// Nothing of that name exists, or the caller may not see it.
    Unknown "unknown" Missing "Check the name.",
    /// The caller is not the owner.
    NotOwner "not_owner" Forbidden "Ask the owner.",
    /// The account's role does not permit it.
    Role "role" Forbidden "Ask the administrator of your account for another role.",
    /// The session is missing, has expired, or belongs to another account.
    Session "session" Forbidden "Sign in again.",
    /// A recipient cannot share further what was shared with them.
    NotResharable "not_resharable" Forbidden "Ask the owner to share it with them.",
    /// The device has an owner.
    AlreadyOwned "already_owned" Conflict "Ask the owner to transfer or delete the device first.",
    /// The claim secret does not belong to the device.
    WrongClaim "wrong_claim" Forbidden "Use the claim from the label, or the one that `doorward provision` printed.",
    /// The device is for demonstration only.
    Demo "demo" Conflict "Choose another device.",
    /// The plan does not include sharing.
    Plan "plan" Conflict "Upgrade the plan of the device first.",
    /// The device has the maximum number of users.
    SlotsFull "slots_full" Conflict "Cancel a share first, and wait until the device has confirmed that it has ended.",
    /// The device and the account are in different regions.
    WrongRegion "wrong_region" Conflict "Accept with an account in the region of the device.",
    /// The device does not offer the permission, or only its owner may have it.
    Permission "permission" Invalid "Choose from the operations that the device offers.",
    /// The invitation code is wrong.
    WrongCode "wrong_code" Forbidden "Check the code in the message, and enter it again.",
    /// The invitation is locked after too many wrong codes.
    CodeLocked "code_locked" Gone "Ask for a new invitation.",
    /// The invitation was accepted before.
    CodeUsed "code_used" Gone "To list your shares, run `doorkey api GET /v1/shares/with-me`.",
    /// The invitation has expired or was withdrawn.
    NoLongerValid "no_longer_valid" Gone "Ask for a new invitation.",
    /// The share has ended and cannot be changed.
    Ended "ended" Conflict "Create a new share.",
    /// The group has not registered the host of the return address.
    ReturnUrl "return_url" Invalid "Ask the owner of the group to register the host.",
    /// The name is in use.
    Taken "taken" Conflict "Choose another name.",
    /// The rate limit is exceeded.
    TooOften "too_often" Conflict "Wait a minute, then try again.",
}

/// A refusal: the rule, and how the request breaks it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The rule.
    pub rule: RuleCode,
    /// The reason, as a sentence without a full stop.
    pub why: String,
}

impl RuleCode {
    /// A refusal by this rule, with its reason.
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
