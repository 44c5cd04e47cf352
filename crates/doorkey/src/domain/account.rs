//! Accounts: people and their keys, on one platform and in one region.

use email_address::{EmailAddress, Options};

use crate::domain::error::{Refusal, RuleCode};
use doorward_protocol::wire::{Id, KeyBytes, Timestamp};

/// The role of an account on the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountRole {
    /// Uses shares of others; may not share.
    User,
    /// Manages sites for their owners; may share.
    FacilityAdmin,
    /// Manages a group; may share.
    GroupAdmin,
    /// Owns devices; may share.
    Holder,
    /// Platform staff: registers devices and sets plans; sees no shares.
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

    /// The name of the role, for the database and the API.
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
            "expected one of user, facility_admin, group_admin, holder, operator".into()
        })
    }
}

/// A complete e-mail address in lower case. Accounts are found by the whole address only.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Email(String);

impl Email {
    /// Parses an address (RFC 5321 section 4.1.2): ASCII only, a host name with at least two
    /// labels, no quoted local parts, address literals or display names.
    ///
    /// # Errors
    /// [`RuleCode::Invalid`].
    pub fn new(text: &str) -> Result<Self, Refusal> {
        let invalid =
            || RuleCode::Invalid.because(format!("`{text}` is not a complete e-mail address"));
        let options = Options::default()
            .with_required_tld()
            .without_domain_literal()
            .without_display_text();
        let address = EmailAddress::parse_with_options(text, options).map_err(|_| invalid())?;
        // Stricter than the RFC: no quotes and no Unicode, and only host names that DNS can hold.
        let plain = text.bytes().all(|b| b.is_ascii_graphic() && b != b'"');
        let host = address.domain();
        let plain_host = host.len() <= 253
            && host
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b));
        match plain && plain_host {
            true => Ok(Self(text.to_ascii_lowercase())),
            false => Err(invalid()),
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

/// An account: a person with a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The name on this platform.
    pub id: Id,
    /// The e-mail address for messages; the accounts of guests have none.
    pub email: Option<Email>,
    /// The public key. The platform never holds the private key.
    pub key: KeyBytes,
    /// The role.
    pub role: AccountRole,
    /// The enterprise that the account belongs to. A share accepted in one enterprise is not
    /// visible in another.
    pub enterprise: Id,
    /// The region.
    pub region: Id,
    /// The language of messages: en, de or fr.
    pub language: String,
    /// Time of creation.
    pub made: Timestamp,
}

impl Account {
    /// Checks that the role permits sharing.
    ///
    /// # Errors
    /// [`RuleCode::Role`].
    pub fn check_may_share(&self) -> Result<(), Refusal> {
        if self.role.may_share() {
            return Ok(());
        }
        let why = format!(
            "The role of {} ({}) does not permit sharing",
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
        for valid in ["Anna@Example.org", "a.b+c@x-y.co", "o'hara@a.b.c"] {
            assert_eq!(
                Email::new(valid).unwrap().as_str(),
                valid.to_ascii_lowercase()
            );
        }
        for invalid in [
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
            "a..b@example.org",
            "\"a b\"@example.org",
            "Anna <anna@example.org>",
            "anna@[192.0.2.1]",
            "anna@exa_mple.org",
        ] {
            assert_eq!(
                Email::new(invalid).unwrap_err().rule,
                RuleCode::Invalid,
                "{invalid}"
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
