//! Letters on their way to a mail server (SMTP, RFC 5321).

use std::time::Duration;

use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use tokio::sync::mpsc;

use crate::email::templates::EmailMessage;

/// Letters that may wait for the mail server.
const WAITING: usize = 1000;
/// How often a letter is tried, and the pause after the first time; each later one is twice as
/// long.
const TRIES: u32 = 6;
const PAUSE: Duration = Duration::from_secs(5);

/// Letters go in here, and out to the mail server in a task of their own.
#[derive(Debug, Clone)]
pub struct Mail {
    letters: mpsc::Sender<EmailMessage>,
}

/// A mail server and whom letters are from.
#[derive(Debug, Clone)]
pub struct MailServer {
    /// Like `smtps://mail.example.org`, or `smtp://127.0.0.1:25` on the machine itself.
    pub url: String,
    /// The user on it, and the password.
    pub credentials: Option<(String, String)>,
    /// Whom letters are from.
    pub from: String,
}

impl Mail {
    /// Begins to send, in a task of the runtime.
    ///
    /// # Errors
    /// If the address of the server or of the sender is none.
    pub fn start(server: &MailServer) -> Result<Self, String> {
        let from: Mailbox = server.from.parse().map_err(|error| {
            format!("`{}` cannot be whom letters are from: {error}", server.from)
        })?;
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(&server.url)
            .map_err(|error| format!("`{}` is no mail server: {error}", server.url))?
            .timeout(Some(Duration::from_secs(20)));
        if let Some((user, password)) = &server.credentials {
            transport = transport.credentials(Credentials::new(user.clone(), password.clone()));
        }
        let transport = transport.build();
        let (letters, mut waiting) = mpsc::channel::<EmailMessage>(WAITING);
        tokio::spawn(async move {
            while let Some(letter) = waiting.recv().await {
                deliver(&transport, &from, letter).await;
            }
        });
        Ok(Self { letters })
    }

    /// Hands a letter over. `false`: too many are waiting already.
    #[must_use]
    pub fn send(&self, letter: EmailMessage) -> bool {
        self.letters.try_send(letter).is_ok()
    }
}

async fn deliver(
    transport: &AsyncSmtpTransport<Tokio1Executor>,
    from: &Mailbox,
    letter: EmailMessage,
) {
    let message = match message(from, letter) {
        Ok(message) => message,
        Err(error) => return tracing::error!(%error, "a letter cannot be written"),
    };
    let mut pause = PAUSE;
    for attempt in 1..=TRIES {
        match transport.send(message.clone()).await {
            Ok(_) => return,
            Err(error) if error.is_permanent() || attempt == TRIES => {
                // The link is with the sharer, who can pass it on.
                return tracing::error!(%error, "a letter was not taken");
            }
            Err(error) => tracing::warn!(%error, "the mail server does not take letters yet"),
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}

fn message(from: &Mailbox, letter: EmailMessage) -> Result<Message, lettre::error::Error> {
    let to = letter
        .to
        .parse()
        .map_err(|_| lettre::error::Error::MissingTo)?;
    Message::builder()
        .from(from.clone())
        .to(Mailbox::new(None, to))
        .subject(letter.subject)
        .multipart(MultiPart::alternative_plain_html(letter.text, letter.html))
}
