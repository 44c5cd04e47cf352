//! Sessions: an account signs in for one hour by signing a challenge with its key.

use crate::IssuerError;
use crate::domain::RuleCode;
use crate::domain::account::Account;
use crate::ledger;
use crate::service::platform::Platform;
use doorward_protocol::wire::{Bytes, Id, PublicKey, Timestamp, hash};
use doorward_transport::files::Doing;
use doorward_transport::random;

/// How long a challenge is valid, in seconds.
const CHALLENGE_LIFETIME: u64 = 120;
/// How long a session is valid, in seconds.
pub const SESSION_LIFETIME: u64 = 3600;

/// The message that an account signs to sign in.
#[must_use]
pub fn sign_in_message(platform: &Id, account: &Id, nonce: &Bytes<32>) -> String {
    format!("doorward session v1\n{platform}\n{account}\n{nonce}")
}

impl Platform {
    /// Issues a challenge for an account. The answer is the same for accounts that do not exist.
    ///
    /// # Errors
    /// If the database cannot be used.
    pub async fn challenge(&self, account: &Id, now: Timestamp) -> Result<Bytes<32>, IssuerError> {
        let nonce = Bytes(random().doing("make a challenge in", &self.issuers_file())?);
        let mut tx = self.ledger.begin().await?;
        let ends = now.plus(CHALLENGE_LIFETIME);
        ledger::add_challenge(&mut tx, &nonce, account, ends).await?;
        tx.commit().await?;
        Ok(nonce)
    }

    /// Signs in with a signed challenge, which can be used once whether or not the signature is
    /// valid. Returns the session token.
    ///
    /// # Errors
    /// [`RuleCode::Session`], or if the database cannot be used.
    pub async fn sign_in(
        &self,
        account: &Id,
        nonce: &Bytes<32>,
        signature: &Bytes<64>,
        now: Timestamp,
    ) -> Result<Bytes<32>, IssuerError> {
        let refused = || {
            RuleCode::Session.because("The challenge is not signed with the key of this account")
        };
        let mut tx = self.ledger.begin().await?;
        let challenge_valid = ledger::use_challenge(&mut tx, nonce, account, now).await?;
        let found = ledger::account(&mut tx, account).await?;
        let key = found.and_then(|account| PublicKey::new(&account.key).ok());
        let message = sign_in_message(self.name(), account, nonce);
        let signature_valid =
            key.is_some_and(|key| key.verify(message.as_bytes(), &signature.0).is_ok());
        let token: Bytes<32> = Bytes(random().doing("make a token in", &self.issuers_file())?);
        let accepted = challenge_valid && signature_valid;
        if accepted {
            let ends = now.plus(SESSION_LIFETIME);
            ledger::add_session(&mut tx, &hash(&token.0), account, ends).await?;
        }
        tx.commit().await?;
        match accepted {
            true => Ok(token),
            false => Err(refused().into()),
        }
    }

    /// Returns the account of a session token.
    ///
    /// # Errors
    /// [`RuleCode::Session`], or if the database cannot be used.
    pub async fn session(&self, token: &Bytes<32>, now: Timestamp) -> Result<Account, IssuerError> {
        let mut connection = self.ledger.read().await?;
        let id = ledger::session(&mut connection, &hash(&token.0), now).await?;
        let refused = || RuleCode::Session.because("The session does not exist or has expired");
        let id = id.ok_or_else(refused)?;
        Ok(ledger::account(&mut connection, &id)
            .await?
            .ok_or_else(refused)?)
    }

    /// Ends a session.
    ///
    /// # Errors
    /// If the database cannot be used.
    pub async fn sign_out(&self, token: &Bytes<32>) -> Result<(), IssuerError> {
        let mut tx = self.ledger.begin().await?;
        ledger::end_session(&mut tx, &hash(&token.0)).await?;
        tx.commit().await?;
        Ok(())
    }
}
