//! Sends e-mails through a mail server (SMTP, RFC 5321).

use std::time::Duration;

use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use tokio::sync::mpsc;

use crate::email::templates::EmailMessage;

/// Maximum number of e-mails that wait for the mail server.
const MAX_QUEUED: usize = 1000;
/// Maximum number of attempts to send an e-mail.
const MAX_ATTEMPTS: u32 = 6;
/// Delay after the first attempt. It doubles with every further attempt.
const FIRST_RETRY_DELAY: Duration = Duration::from_secs(5);

/// The queue of e-mails, which a task of its own sends to the mail server.
#[derive(Debug, Clone)]
pub struct Mail {
    queue: mpsc::Sender<EmailMessage>,
}

/// A mail server, and the sender address.
#[derive(Debug, Clone)]
pub struct MailServer {
    /// The URL, for example `smtps://mail.example.org`, or `smtp://127.0.0.1:25` for a local
    /// server.
    pub url: String,
    /// User name and password for the server.
    pub credentials: Option<(String, String)>,
    /// Sender address (From:).
    pub from: String,
}

impl Mail {
    /// Starts the task that sends e-mails.
    ///
    /// # Errors
    /// If the server URL or the sender address is invalid.
    pub fn start(server: &MailServer) -> Result<Self, String> {
        let from: Mailbox = server
            .from
            .parse()
            .map_err(|error| format!("invalid sender address `{}`: {error}", server.from))?;
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(&server.url)
            .map_err(|error| format!("invalid mail server URL `{}`: {error}", server.url))?
            .timeout(Some(Duration::from_secs(20)));
        if let Some((user, password)) = &server.credentials {
            transport = transport.credentials(Credentials::new(user.clone(), password.clone()));
        }
        let transport = transport.build();
        let (queue, mut waiting) = mpsc::channel::<EmailMessage>(MAX_QUEUED);
        tokio::spawn(async move {
            while let Some(email) = waiting.recv().await {
                deliver(&transport, &from, email).await;
            }
        });
        Ok(Self { queue })
    }

    /// Queues an e-mail. Returns `false` if the queue is full.
    #[must_use]
    pub fn send(&self, email: EmailMessage) -> bool {
        self.queue.try_send(email).is_ok()
    }
}

/// Sends one e-mail, with retries after temporary errors.
async fn deliver(
    transport: &AsyncSmtpTransport<Tokio1Executor>,
    from: &Mailbox,
    email: EmailMessage,
) {
    let message = match message(from, email) {
        Ok(message) => message,
        Err(error) => return tracing::error!(%error, "cannot compose an e-mail"),
    };
    let mut delay = FIRST_RETRY_DELAY;
    for attempt in 1..=MAX_ATTEMPTS {
        match transport.send(message.clone()).await {
            Ok(_) => return,
            Err(error) if error.is_permanent() || attempt == MAX_ATTEMPTS => {
                // The sharer has the link and can pass it on.
                return tracing::error!(%error, "cannot send an e-mail, giving up");
            }
            Err(error) => tracing::warn!(%error, "cannot send an e-mail, retrying"),
        }
        tokio::time::sleep(delay).await;
        delay *= 2;
    }
}

fn message(from: &Mailbox, email: EmailMessage) -> Result<Message, lettre::error::Error> {
    let to = email
        .to
        .parse()
        .map_err(|_| lettre::error::Error::MissingTo)?;
    Message::builder()
        .from(from.clone())
        .to(Mailbox::new(None, to))
        .subject(email.subject)
        .multipart(MultiPart::alternative_plain_html(email.text, email.html))
}
