//! Accounts: people and their keys, on one platform and in one region.

use crate::domain::error::{Refusal, RuleCode};
use doorward_protocol::wire::{Id, KeyBytes, Timestamp};

/// What an account may do on the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountRole {
    /// Uses what others share; shares nothing.
    User,
    /// Looks after sites for somebody; may share.
    FacilityAdmin,
    /// Runs a group; may share.
    GroupAdmin,
    /// Owns devices; may share.
    Holder,
    /// Of the platform's staff: registers devices and sets plans; sees no shares.
    Operator,
}

impl AccountRole {
    /// Every role.
    pub const ALL: [Self; 5] = [
        Self::User,
        Self::FacilityAdmin,
        Self::GroupAdmin,
        Self::Holder,
        Self::Operator,
    ];

    /// The word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::FacilityAdmin => "facility_admin",
            Self::GroupAdmin => "group_admin",
            Self::Holder => "holder",
            Self::Operator => "operator",
        }
    }

    /// Whether the role permits sharing.
    #[must_use]
    pub fn may_share(self) -> bool {
        matches!(self, Self::FacilityAdmin | Self::GroupAdmin | Self::Holder)
    }
}

impl std::str::FromStr for AccountRole {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut all = Self::ALL.into_iter();
        all.find(|role| role.name() == text).ok_or_else(|| {
            "a role is one of user, facility_admin, group_admin, holder, operator".into()
        })
    }
}

/// An e-mail address, whole: compared in lower case and never searched for in parts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Email(String);

impl Email {
    /// Takes an address (RFC 5321 section 4.1.2, without quoted names or address literals).
    ///
    /// # Errors
    /// [`RuleCode::Invalid`].
    pub fn new(text: &str) -> Result<Self, Refusal> {
        let wrong = || RuleCode::Invalid.because(format!("`{text}` is not a whole e-mail address"));
        let (name, host) = text.rsplit_once('@').ok_or_else(wrong)?;
        let name_fits = !name.is_empty()
            && name.len() <= 64
            && !name.starts_with('.')
            && !name.ends_with('.')
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&b));
        let label = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let host_fits = host.len() <= 253 && host.contains('.') && host.split('.').all(label);
        match name_fits && host_fits {
            true => Ok(Self(text.to_ascii_lowercase())),
            false => Err(wrong()),
        }
    }

    /// The address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Email {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Email {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        Self::new(text)
    }
}

/// Somebody with a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The name on this platform.
    pub id: Id,
    /// Where messages go; guests have none.
    pub email: Option<Email>,
    /// The public key; the secret half never comes here.
    pub key: KeyBytes,
    /// What the account may do.
    pub role: AccountRole,
    /// The enterprise that it belongs to; a share accepted in one is not seen in another.
    pub enterprise: Id,
    /// The region.
    pub region: Id,
    /// The language of messages: en, de or fr.
    pub language: String,
    /// When it was made.
    pub made: Timestamp,
}

impl Account {
    /// Whether the role permits sharing.
    ///
    /// # Errors
    /// [`RuleCode::Role`].
    pub fn may_share(&self) -> Result<(), Refusal> {
        if self.role.may_share() {
            return Ok(());
        }
        let why = format!(
            "The role of {}, {}, does not permit sharing",
            self.id,
            self.role.name()
        );
        Err(RuleCode::Role.because(why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s47_only_a_whole_address_is_an_address() {
        for whole in ["Anna@Example.org", "a.b+c@x-y.co", "o'hara@a.b.c"] {
            assert_eq!(
                Email::new(whole).unwrap().as_str(),
                whole.to_ascii_lowercase()
            );
        }
        for part in [
            "",
            "anna",
            "anna@",
            "@example.org",
            "anna@example",
            "anna@.org",
            "anna@-x.org",
            "a b@example.org",
            "anna@example.org\r\nBcc: x@y.z",
            ".a@example.org",
            "ä@example.org",
            "anna@exa%mple.org",
            "an%@",
        ] {
            assert_eq!(
                Email::new(part).unwrap_err().rule,
                RuleCode::Invalid,
                "{part}"
            );
        }
    }

    #[test]
    fn s42_holders_and_admins_may_share_and_users_and_staff_may_not() {
        let may = AccountRole::ALL.map(|role| (role.name(), role.may_share()));
        let expected = [
            ("user", false),
            ("facility_admin", true),
            ("group_admin", true),
            ("holder", true),
            ("operator", false),
        ];
        assert_eq!(may, expected);
    }
}
