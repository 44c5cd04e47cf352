//! The texts of e-mails, as plain text and as HTML, in English, German and French.

use crate::IssuerError;
use crate::domain::{Account, Invitation, InviteCode};
use crate::email::smtp::Mail;
use crate::service::{CreatedShares, Platform};

/// An e-mail, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmailMessage {
    /// Recipient address.
    pub to: String,
    /// Subject.
    pub subject: String,
    /// The body as plain text.
    pub text: String,
    /// The body as HTML.
    pub html: String,
}

/// The base URL of links, and the mail queue.
#[derive(Debug)]
pub struct Emails {
    base: String,
    mail: Option<Mail>,
}

impl Emails {
    /// `base` is the base URL of links, for example `https://doors.example.org`. Without `mail`, no
    /// e-mails are sent.
    #[must_use]
    pub fn new(base: &str, mail: Option<Mail>) -> Self {
        Self {
            base: base.trim_end_matches('/').to_owned(),
            mail,
        }
    }

    /// The base URL of links, without a slash at the end.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The link that a recipient opens, or passes to `doorkey accept`. The code is in the fragment,
    /// which browsers do not send to servers.
    #[must_use]
    pub fn link(&self, invitation: &Invitation, code: &InviteCode) -> String {
        format!(
            "{}/accept/{}#{}",
            self.base,
            invitation.id,
            code.formatted()
        )
    }

    /// Queues the invitation e-mail. Returns `false` if the recipient is a guest, no mail server is
    /// configured, or the queue is full.
    ///
    /// # Errors
    /// If the database cannot be used.
    pub async fn send_invitation(
        &self,
        platform: &Platform,
        by: &Account,
        created: &CreatedShares,
    ) -> Result<bool, IssuerError> {
        let (Some(mail), Some((invitation, code))) = (&self.mail, &created.invitation) else {
            return Ok(false);
        };
        if invitation.guest {
            return Ok(false);
        }
        let language = platform.language_of(&invitation.address).await?;
        let language = language.unwrap_or_else(|| by.language.clone());
        let devices = created.each.iter().filter(|(_, share)| share.is_ok());
        let devices: Vec<String> = devices.map(|(audience, _)| audience.to_string()).collect();
        let email = invitation_email(
            &language,
            by.id.as_str(),
            invitation,
            &code.formatted(),
            &self.link(invitation, code),
            &devices,
        );
        Ok(mail.send(email))
    }
}

/// The e-mail of an invitation: the sharer, the devices, the code, the link and the expiry date.
#[must_use]
pub fn invitation_email(
    language: &str,
    by: &str,
    invitation: &Invitation,
    code: &str,
    link: &str,
    devices: &[String],
) -> EmailMessage {
    let until = invitation.expires_at.to_string();
    let until = until.get(..10).unwrap_or(&until);
    let (subject, said, code_is, open, ends, nobody) = match language {
        "de" => (
            format!("{by} teilt Geräte mit Ihnen"),
            format!("{by} teilt diese Geräte mit Ihnen:"),
            "Ihr Code:",
            "Zum Annehmen öffnen:",
            format!("Die Einladung gilt bis {until}. Der Code geht einmal."),
            "Wenn Sie niemanden dieses Namens kennen, tun Sie nichts.",
        ),
        "fr" => (
            format!("{by} partage des appareils avec vous"),
            format!("{by} partage ces appareils avec vous :"),
            "Votre code :",
            "Pour accepter, ouvrez :",
            format!("L’invitation est valable jusqu’au {until}. Le code ne sert qu’une fois."),
            "Si vous ne connaissez personne de ce nom, ne faites rien.",
        ),
        _ => (
            format!("{by} shares devices with you"),
            format!("{by} shares these devices with you:"),
            "Your code:",
            "Open to accept:",
            format!("The invitation is good until {until}. The code works once."),
            "If you know nobody of that name, do nothing.",
        ),
    };
    let list: String = devices
        .iter()
        .map(|device| format!("  {device}\n"))
        .collect();
    let items: String = devices
        .iter()
        .map(|device| format!("<li>{}</li>", escaped(device)))
        .collect();
    let link_as_html = escaped(link);
    EmailMessage {
        to: invitation.address.clone(),
        text: format!("{said}\n\n{list}\n{code_is} {code}\n\n{open}\n{link}\n\n{ends}\n{nobody}\n"),
        html: format!(
            "<!doctype html><html lang=\"{language}\"><meta charset=\"utf-8\"><p>{}</p><ul>{items}\
             </ul><p>{code_is} <strong>{}</strong></p><p>{open}<br><a href=\"{link_as_html}\">\
             {link_as_html}</a></p><p>{ends}<br>{nobody}</p></html>\n",
            escaped(&said),
            escaped(code),
        ),
        subject,
    }
}

/// Escapes text for HTML.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::InvitationState;
    use doorward_protocol::wire::{Bytes, Id, Timestamp};

    #[test]
    fn s16_a_letter_holds_code_link_and_devices_as_text_and_as_html_in_three_languages() {
        let invitation = Invitation {
            id: Bytes([1; 16]),
            address: "anna@example.org".into(),
            code: Bytes([0; 32]),
            tries: 0,
            expires_at: Timestamp(1_800_000_000),
            stage: InvitationState::Open,
            by: Id::new("ole").unwrap(),
            guest: false,
        };
        for (language, word) in [
            ("en", "shares"),
            ("de", "teilt"),
            ("fr", "partage"),
            ("xx", "shares"),
        ] {
            let link = "https://doors.example/accept/01#A<B";
            let devices = ["ups-7".to_owned(), "site:depot".to_owned()];
            let email = invitation_email(language, "ole", &invitation, "A<B", link, &devices);
            assert_eq!(email.to, "anna@example.org");
            assert!(email.subject.contains(word), "{}", email.subject);
            for part in ["ole", "A<B", link, "ups-7", "site:depot", "2027-01-15"] {
                assert!(email.text.contains(part), "{part} in {}", email.text);
            }
            assert!(email.html.contains("A&lt;B") && !email.html.contains("A<B"));
        }
    }
}
