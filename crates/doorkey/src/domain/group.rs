//! Groups of people who act together, and the link by which they ask for access.

use crate::domain::error::{Refusal, RuleCode};
use doorward_protocol::wire::{Id, KeyBytes};

/// Most hosts that a group may have people sent back to.
pub(crate) const MAX_HOSTS: usize = 16;

/// A group, such as an installer's team.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The group's id, as shares name it.
    pub id: Id,
    /// The key by which it is looked up; everybody may know it.
    pub lookup_key: LookupKey,
    /// The name for people.
    pub name: String,
    /// The account that owns the group.
    pub owner: Id,
    /// The group's own key, which signs its rosters.
    pub key: KeyBytes,
    /// Hosts that people may be sent back to.
    pub hosts: Vec<String>,
    /// Sequence number of the newest roster; 0 for none.
    pub roster: u64,
}

/// A short name that leads to a group's public name and to nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookupKey(String);

impl LookupKey {
    /// Takes 4 to 16 letters and digits; case does not matter.
    ///
    /// # Errors
    /// [`RuleCode::Invalid`].
    pub fn new(text: &str) -> Result<Self, Refusal> {
        let fits =
            (4..=16).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric());
        match fits {
            true => Ok(Self(text.to_ascii_uppercase())),
            false => Err(RuleCode::Invalid.because("A lookup key is 4 to 16 letters and digits")),
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
    /// Where the approver is sent back to, with the answer: only to a host that the group has
    /// registered, over HTTPS.
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
                "{} has not registered the host of that address",
                self.name
            ))
        };
        let rest = url.strip_prefix("https://").ok_or_else(refused)?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let plain = |b: u8| b.is_ascii_graphic() && !b"\"<>\\^`{|}#".contains(&b);
        let known = self.hosts.iter().any(|host| host == authority);
        if !known || url.len() > 1024 || !path.bytes().all(plain) {
            return Err(refused());
        }
        let separator = if path.contains('?') { '&' } else { '?' };
        let site = site.map_or_else(String::new, |site| format!("&installationId={site}"));
        Ok(format!("{url}{separator}success={granted}{site}"))
    }
}

/// Checks a host that a group registers: a name or a name and a port, in lower case.
///
/// # Errors
/// [`RuleCode::Invalid`].
pub(crate) fn host(text: &str) -> Result<String, Refusal> {
    let (name, port) = text.split_once(':').unwrap_or((text, "443"));
    let name_fits = (1..=253).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b));
    match name_fits && port.parse::<u16>().is_ok() {
        true => Ok(text.to_owned()),
        false => {
            Err(RuleCode::Invalid
                .because(format!("`{text}` is not a host like portal.example.org")))
        }
    }
}

/// The language for somebody who asked for one: English if it is none of ours.
#[must_use]
pub fn language(asked: &str) -> &'static str {
    let of = |language: &&str| {
        let rest = asked
            .get(..2)
            .filter(|start| start.eq_ignore_ascii_case(language));
        rest.is_some() && !asked[2..].starts_with(|c: char| c.is_ascii_alphabetic())
    };
    ["en", "de", "fr"].into_iter().find(of).unwrap_or("en")
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
            "",
        ] {
            let refusal = group.return_to(elsewhere, None, true).unwrap_err();
            assert_eq!(refusal.rule, RuleCode::ReturnUrl, "{elsewhere}");
        }
    }

    #[test]
    fn s40_an_unknown_language_falls_back_to_english() {
        let languages = ["fr", "de-CH", "FR", "xx", "", "f", "friulian", "é"].map(language);
        assert_eq!(languages, ["fr", "de", "fr", "en", "en", "en", "en", "en"]);
    }

    #[test]
    fn s27_a_lookup_key_is_short_and_plain() {
        assert_eq!(LookupKey::new("Tzbv").unwrap().as_str(), "TZBV");
        for wrong in ["abc", "a b c d", "x/../../y", "ABCDEFGHIJKLMNOPQ", "tzbv%"] {
            assert!(LookupKey::new(wrong).is_err(), "{wrong}");
        }
        assert!(host("portal.example.org:8443").is_ok());
        for wrong in ["", "Portal.example", "a/b", "a:b", "a@b", "https://a"] {
            assert!(host(wrong).is_err(), "{wrong}");
        }
    }
}
