//! Groups of people who act together, and the links by which they request access.

use url::Url;

use crate::domain::error::{Refusal, RuleCode};
use doorward_protocol::wire::{Id, KeyBytes};

/// Maximum number of return hosts of a group.
pub(crate) const MAX_HOSTS: usize = 16;

/// A group, such as an installer's team.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The group's id, which shares contain.
    pub id: Id,
    /// The short code by which approvers look the group up; it is public.
    pub lookup_key: LookupKey,
    /// The display name.
    pub name: String,
    /// The account that owns the group.
    pub owner: Id,
    /// The group's own public key, which signs its member lists.
    pub key: KeyBytes,
    /// Registered hosts that approvers may be sent back to.
    pub hosts: Vec<String>,
    /// Sequence number of the newest member list; 0 if there is none.
    pub roster: u64,
}

/// A short code that leads to a group's public name and to nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookupKey(String);

impl LookupKey {
    /// Parses 4 to 16 letters and digits; case is ignored.
    ///
    /// # Errors
    /// [`RuleCode::Invalid`].
    pub fn new(text: &str) -> Result<Self, Refusal> {
        let fits =
            (4..=16).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric());
        match fits {
            true => Ok(Self(text.to_ascii_uppercase())),
            false => {
                Err(RuleCode::Invalid
                    .because("A lookup key consists of 4 to 16 letters and digits"))
            }
        }
    }

    /// The key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for LookupKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for LookupKey {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        Self::new(text)
    }
}

impl Group {
    /// Returns the address to which the approver is sent back, with the decision in its query. Only
    /// HTTPS addresses on a host that the group has registered are accepted.
    ///
    /// # Errors
    /// [`RuleCode::ReturnUrl`].
    pub fn return_to(
        &self,
        url: &str,
        site: Option<&Id>,
        granted: bool,
    ) -> Result<String, Refusal> {
        let refused = || {
            RuleCode::ReturnUrl.because(format!(
                "{} has not registered the host of the return address",
                self.name
            ))
        };
        let parsed = Url::parse(url).map_err(|_| refused())?;
        // Stricter than the URL standard, by which parsers normalize backslashes, control
        // characters and host names: the text has to begin with a registered host, exactly as
        // registered.
        let registered = self.hosts.iter().any(|host| {
            let rest = url
                .strip_prefix("https://")
                .and_then(|rest| rest.strip_prefix(host.as_str()));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
                && Url::parse(&format!("https://{host}"))
                    .is_ok_and(|host| host.origin() == parsed.origin())
        });
        let plain = |b: u8| b.is_ascii_graphic() && !b"\"<>\\^`{|}#".contains(&b);
        if !registered || url.len() > 1024 || !url.bytes().all(plain) {
            return Err(refused());
        }
        let separator = if parsed.query().is_some() { '&' } else { '?' };
        let site = site.map_or_else(String::new, |site| format!("&installationId={site}"));
        Ok(format!("{url}{separator}success={granted}{site}"))
    }
}

/// Checks a host that a group registers: a host name in lower case, with or without a port.
///
/// # Errors
/// [`RuleCode::Invalid`].
pub(crate) fn check_host(text: &str) -> Result<String, Refusal> {
    let (name, port) = text.split_once(':').unwrap_or((text, "443"));
    let plain_name = (1..=253).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b));
    let valid = plain_name && port.parse::<u16>().is_ok();
    match valid && Url::parse(&format!("https://{text}")).is_ok() {
        true => Ok(text.to_owned()),
        false => {
            Err(RuleCode::Invalid
                .because(format!("`{text}` is not a host like portal.example.org")))
        }
    }
}

/// Returns the supported language for a requested one such as `de-CH`; English if there is none.
#[must_use]
pub fn supported_language(requested: &str) -> &'static str {
    let matches = |language: &&str| {
        let start = requested
            .get(..2)
            .filter(|start| start.eq_ignore_ascii_case(language));
        start.is_some() && !requested[2..].starts_with(|c: char| c.is_ascii_alphabetic())
    };
    ["en", "de", "fr"].into_iter().find(matches).unwrap_or("en")
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorward_protocol::wire::Bytes;

    fn group() -> Group {
        Group {
            id: Id::new("tzbv").unwrap(),
            lookup_key: LookupKey::new("tzbv").unwrap(),
            name: "Test Zonnepanelen BV".into(),
            owner: Id::new("tess").unwrap(),
            key: Bytes([9; 32]),
            hosts: vec!["portal.tzbv.example".into(), "x.example:8443".into()],
            roster: 0,
        }
    }

    #[test]
    fn s41_people_are_sent_back_only_to_a_registered_host_with_the_answer() {
        let (group, site) = (group(), Id::new("depot").unwrap());
        assert_eq!(
            group
                .return_to("https://portal.tzbv.example/back?x=1", Some(&site), true)
                .unwrap(),
            "https://portal.tzbv.example/back?x=1&success=true&installationId=depot"
        );
        assert_eq!(
            group
                .return_to("https://x.example:8443", None, false)
                .unwrap(),
            "https://x.example:8443?success=false"
        );
        for elsewhere in [
            "https://evil.example/",
            "http://portal.tzbv.example/",
            "https://portal.tzbv.example@evil.example/",
            "https://portal.tzbv.example:444/",
            "https://portal.tzbv.example.evil.example/",
            "https://evil.example\\@portal.tzbv.example/",
            "javascript:alert(1)",
            "//portal.tzbv.example/",
            "https://portal.tzbv.example/#x",
            "https://portal.tzbv.example/\r\nSet-Cookie: a=b",
            "https://PORTAL.tzbv.example/",
            "https:portal.tzbv.example/",
            "https://user@portal.tzbv.example/",
            "https://portal.tzbv.example\t/",
            "",
        ] {
            let refusal = group.return_to(elsewhere, None, true).unwrap_err();
            assert_eq!(refusal.rule, RuleCode::ReturnUrl, "{elsewhere}");
        }
    }

    #[test]
    fn s40_an_unknown_language_falls_back_to_english() {
        let languages =
            ["fr", "de-CH", "FR", "xx", "", "f", "friulian", "é"].map(supported_language);
        assert_eq!(languages, ["fr", "de", "fr", "en", "en", "en", "en", "en"]);
    }

    #[test]
    fn s27_a_lookup_key_is_short_and_plain() {
        assert_eq!(LookupKey::new("Tzbv").unwrap().as_str(), "TZBV");
        for wrong in ["abc", "a b c d", "x/../../y", "ABCDEFGHIJKLMNOPQ", "tzbv%"] {
            assert!(LookupKey::new(wrong).is_err(), "{wrong}");
        }
        assert!(check_host("portal.example.org:8443").is_ok());
        for wrong in [
            "",
            "Portal.example",
            "a/b",
            "a:b",
            "a@b",
            "https://a",
            "a:443/b",
            "a:",
            "a:+5",
        ] {
            assert!(check_host(wrong).is_err(), "{wrong}");
        }
    }
}
